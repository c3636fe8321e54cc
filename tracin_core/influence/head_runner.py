"""Forward passes at several checkpoints, where they are all that the last layer needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from tracin_core.gradients.capture import CapturedPass, CoveredLayer
from tracin_core.gradients.plan import Plan
from tracin_core.gradients.weights import WeightSlots
from tracin_core.influence.batches import Batch
from tracin_core.influence.chain import Chain, ChainWeights, find_chain
from tracin_core.influence.head import capture_chain, capture_head


class HeadRunner:
    """Captures a head at some checkpoints: together in a plain chain, else one after the other.

    Args:
        model: The model.
        slots: Where its weights hang.
        read_weights: Returns a checkpoint's tensors by name, on the device.
    """

    def __init__(
        self,
        model: nn.Module,
        slots: WeightSlots,
        read_weights: Callable[[int], Mapping[str, Tensor]],
    ) -> None:
        self._model, self._slots, self._read_weights = model, slots, read_weights
        self._chain: Chain | None = None
        self._side_by_side: dict[tuple[int, ...], ChainWeights] = {}

    def open(self, plan: Plan) -> Chain | None:
        """Look at the model as it is now; return its layers if it is a plain chain."""
        self._chain = None if plan.head is None else find_chain(self._model, plan.head.layer)
        return self._chain

    def capture(
        self, head: CoveredLayer, batch: Batch, checkpoints: Sequence[int], parts: Sequence[Batch]
    ) -> list[CapturedPass] | None:
        """Return a pass over the batch for each checkpoint.

        Args:
            head: The last layer.
            batch: Examples, on the device.
            checkpoints: Which; several only where ``open`` found a chain.
            parts: The same examples as they go through the model.

        Returns:
            ``None`` where a forward pass is not enough after all.
        """
        if len(checkpoints) > 1 and self._chain is not None:
            weights = self._put_side_by_side(self._chain, tuple(checkpoints))
            found = capture_chain(self._chain, weights, head, batch, parts)
            if found is not None:
                return found
        passes = []
        for index in checkpoints:
            with self._slots.hold(self._read_weights(index)):
                captured = capture_head(self._model, head, batch, parts)
            if captured is None:
                return None
            passes.append(captured)
        return passes

    def _put_side_by_side(self, chain: Chain, checkpoints: tuple[int, ...]) -> ChainWeights:
        """Return the checkpoints' weights as the chain takes them; the latest are kept."""
        if checkpoints not in self._side_by_side:
            weights = [self._read_weights(index) for index in checkpoints]
            self._side_by_side = {checkpoints: chain.prepare(weights)}
        return self._side_by_side[checkpoints]
