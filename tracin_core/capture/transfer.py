"""Batches on their way to the device, and results on their way back, without waiting for either.

A copy from an accelerator waits until all work queued there is done. So results are laid aside
while a batch goes through its checkpoints; then their copies are queued behind its work, and are
delivered when the device is busy with the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from tracin_core.capture.batching import Batch

# Results that wait take memory on the device: 64 MB at most.
WAITING_BYTES = 64_000_000


class PendingCopy:
    """Results whose copies are queued on the device, or made when they are asked for.

    Args:
        results: Values, and what brings them to their places once they are on the CPU.
    """

    def __init__(self, results: list[tuple[Tensor, Callable[[Tensor], None]]]) -> None:
        self._results = results
        self._event: torch.cuda.Event | None = None
        device = results[0][0].device
        if device.type == "cuda":
            # To page-locked memory, which torch takes for copies that do not block.
            self._results = [(v.to("cpu", non_blocking=True), bring) for v, bring in results]
            self._event = torch.cuda.current_stream(device).record_event()

    def bring(self) -> None:
        """Wait for the copies and bring them to their places."""
        if self._event is not None:
            self._event.synchronize()
        for values, bring in self._results:
            bring(values.to("cpu"))


class ResultBuffer:
    """Takes results of passes and copies them to their places on the CPU.

    What a pass stages counts only when it is committed as a whole, so a pass that fails
    half-way can be run again.

    Args:
        waits: Whether results wait until ``deliver`` is called; else they are brought at once.
    """

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._staged: list[tuple[Tensor, Callable[[Tensor], None]]] = []
        self._committed: list[tuple[Tensor, Callable[[Tensor], None]]] = []
        self._sent: list[PendingCopy] = []

    def put(
        self, target: Tensor, values: Tensor, check: Callable[[Tensor], None] | None = None
    ) -> None:
        """Stage values that are to replace those of ``target``, a view on the CPU.

        Args:
            target: Where they go.
            values: On the device, of the same shape.
            check: Called with the values before they go there.
        """
        self._stage(values.to(target.dtype), target.copy_, check)

    def add(
        self, target: Tensor, values: Tensor, check: Callable[[Tensor], None] | None = None
    ) -> None:
        """Stage values that are to be added to those of ``target``; else as ``put``."""
        # They turn into the target's number type where that surely exists: on the CPU.
        self._stage(values, target.add_, check)

    def check(self, values: Tensor, check: Callable[[Tensor], None]) -> None:
        """Stage values that are only looked at."""
        self._stage(values, check, None)

    def commit(self) -> None:
        """Commit what was staged since the last time."""
        self._committed += self._staged
        self._staged = []
        waiting = sum(values.nbytes for values, _ in self._committed) if self._waits else 0
        if not self._waits or waiting > WAITING_BYTES:
            self.deliver()

    def discard(self) -> None:
        """Discard what was staged since the last commit."""
        self._staged = []

    def send(self) -> None:
        """Queue the copies of what counts behind the device's work; it stays on its way."""
        if self._committed:
            self._sent.append(PendingCopy(self._committed))
            self._committed = []

    def deliver_earlier(self) -> None:
        """Deliver all that was sent but the last."""
        while len(self._sent) > 1:
            self._sent.pop(0).bring()

    def deliver(self) -> None:
        """Deliver everything committed, in the order in which it was staged."""
        self.send()
        while self._sent:
            self._sent.pop(0).bring()

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


def send_batches(
    batches: Iterable[Batch], device: torch.device, check: Callable[[Batch], None]
) -> Iterator[Batch]:
    """Yield the batches in order, on the device or on their way there.

    On CUDA a batch goes through page-locked memory on a stream of its own: who asks for the next
    batch while the device is busy with the last has it read and sent meanwhile. Elsewhere a
    batch is simply moved.

    Args:
        batches: On the CPU, or wherever the examples are.
        device: Where to compute.
        check: Called with each batch before it is sent.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    for batch in batches:
        check(batch)
        yield batch.to(device) if stream is None else _send(batch, device, stream)


def _send(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    with torch.cuda.stream(stream):
        sent = batch.map(_pin).to(device)
    current = torch.cuda.current_stream(device)
    current.wait_event(stream.record_event())

    def keep(tensor: Tensor) -> Tensor:
        # Its memory belongs to the sending stream, which must not reuse it under the passes.
        tensor.record_stream(current)
        return tensor

    return sent.map(keep)


def _pin(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.device.type == "cpu" else tensor
