"""One run over a set of examples: what is to be computed, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracin_core.errors import GradientError
from tracin_core.gradients.capture import Objective
from tracin_core.gradients.plan import Plan
from tracin_core.influence.batches import Batch, read_batches
from tracin_core.influence.passes import ExamplePass, Runner

# Inputs held at once where several batches are read together: 16 MB in single precision.
JOINED_NUMBERS = 4_000_000

# (examples done, all of them), each example counted once per checkpoint.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """One run over N examples at C checkpoints.

    Attributes:
        runner: Model and weights.
        examples: The examples.
        total: Number of examples N.
        batch_size: Examples in a pass.
        plan: How gradients are computed.
        names: All parameters whose gradients are computed.
        chosen: Those of the chosen layers.
        last: Those of the last layer, where it is needed.
        objective: What is differentiated.
        loss: The loss, also where something else is differentiated.
        on_progress: Whom to tell.
        numbers_each: Numbers in the input of one example.
    """

    runner: Runner
    examples: Any
    total: int
    batch_size: int
    plan: Plan
    names: tuple[str, ...]
    chosen: tuple[str, ...]
    last: tuple[str, ...]
    objective: Objective
    loss: Objective
    on_progress: Progress | None
    numbers_each: int = 0

    @property
    def num_checkpoints(self) -> int:
        """Number of checkpoints C."""
        return len(self.runner.checkpoints)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the results: the weights', but at least single precision."""
        return self.runner.dtype

    def passes(self) -> Iterator[ExamplePass]:
        """Yield every batch at every checkpoint, and tell the progress after each."""
        if not self.total:
            return
        done, all_passes = 0, self.total * self.num_checkpoints
        for step in self._run(lambda: read_batches(self.examples, self._examples_read)):
            yield step
            done += step.batch.size
            if self.on_progress is not None:
                self.on_progress(done, all_passes)

    def passes_over(self, batch: Batch) -> Iterator[ExamplePass]:
        """Yield one batch at every checkpoint."""
        return self._run(lambda: [batch])

    def _run(self, read: Callable[[], Iterable[Batch]]) -> Iterator[ExamplePass]:
        return self.runner.passes(read, self.plan, self.names, self.objective, self.batch_size)

    @property
    def _examples_read(self) -> int:
        """Number of examples read at once.

        A head's forward pass can be so short that what is done around it costs as much, so it
        is done for several batches at once, as many as have small inputs.
        """
        if self.plan.head is None:
            return self.batch_size
        together = JOINED_NUMBERS // max(1, self.numbers_each * self.batch_size)
        return self.batch_size * max(1, together)

    def count_numbers(self, names: Sequence[str]) -> int:
        """Return how many numbers P the named parameters have."""
        return sum(self.runner.trainable[name].numel() for name in names)

    def check_finite(self, values: Tensor, start: int, checkpoint: int) -> None:
        """See that a value for each example of a batch is finite.

        Args:
            values: On the CPU, shape ``(B,)`` or ``(B, ...)``.
            start: Position of the first example.
            checkpoint: Index of the checkpoint.

        Raises:
            GradientError: If one is not; it names the example and the checkpoint.
        """
        if values.dim() > 1:
            values = values.flatten(1).abs().amax(1) if values[0].numel() else values.new_zeros(0)
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            example = start + int((~finite).long().argmax())
            title = self.runner.checkpoints[checkpoint].title
            raise GradientError(
                f"The gradient of example {example} at checkpoint {checkpoint} ({title}) is not "
                "finite (NaN, or too large); expected finite numbers, and a score over the rest "
                "would be wrong. Look at this example's input and target, or leave the "
                "checkpoint out."
            )
