"""Results on their way from the device to the CPU.

A copy from an accelerator waits until all work queued there is done. So results are laid aside
while a batch goes through its checkpoints, and delivered together when it is through.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# Results that wait take memory on the device: 64 MB at most.
WAITING_BYTES = 64_000_000


class Outbox:
    """Takes results of passes and brings them to their places on the CPU.

    What a pass lays out counts only when it is committed as a whole, so a pass that fails
    half-way can be run again.

    Args:
        waits: Whether results wait until ``deliver`` is called; else they are brought at once.
    """

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._staged: list[tuple[Tensor, Callable[[Tensor], None]]] = []
        self._committed: list[tuple[Tensor, Callable[[Tensor], None]]] = []

    def put(
        self, target: Tensor, values: Tensor, check: Callable[[Tensor], None] | None = None
    ) -> None:
        """Lay out values that are to replace those of ``target``, a view on the CPU.

        Args:
            target: Where they go.
            values: On the device, of the same shape.
            check: Called with the values before they go there.
        """
        self._stage(values.to(target.dtype), target.copy_, check)

    def add(
        self, target: Tensor, values: Tensor, check: Callable[[Tensor], None] | None = None
    ) -> None:
        """Lay out values that are to be added to those of ``target``; else as ``put``."""
        self._stage(values.to(target.dtype), target.add_, check)

    def check(self, values: Tensor, check: Callable[[Tensor], None]) -> None:
        """Lay out values that are only looked at."""
        self._stage(values, check, None)

    def commit(self) -> None:
        """Let what was laid out since the last time count."""
        self._committed += self._staged
        self._staged = []
        waiting = sum(values.nbytes for values, _ in self._committed) if self._waits else 0
        if not self._waits or waiting > WAITING_BYTES:
            self.deliver()

    def discard(self) -> None:
        """Forget what was laid out since the last commit."""
        self._staged = []

    def deliver(self) -> None:
        """Bring what counts to its places, in the order in which it was laid out."""
        ready, self._committed = self._committed, []
        for values, bring in ready:
            bring(values.to("cpu"))

    def _stage(
        self,
        values: Tensor,
        bring: Callable[[Tensor], object],
        check: Callable[[Tensor], None] | None,
    ) -> None:
        def checked(arrived: Tensor) -> None:
            if check is not None:
                check(arrived)
            bring(arrived)

        self._staged.append((values.detach(), checked))
