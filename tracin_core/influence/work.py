"""One run over a set of examples: what is to be computed, and how."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tracin_core.errors import GradientError
from tracin_core.gradients.capture import Objective
from tracin_core.gradients.plan import Plan
from tracin_core.gradients.precision import half_precision
from tracin_core.influence.batches import Batch, read_batches
from tracin_core.influence.joining import Sizes, choose_budget
from tracin_core.influence.outbox import Outbox
from tracin_core.influence.passes import ExamplePass, Runner
from tracin_core.influence.room import Room, is_out_of_memory
from tracin_core.influence.sending import send_batches

# (examples done, all of them), each example counted once per checkpoint.
Progress = Callable[[int, int], None]
# What is done with a pass, and where its results are laid out.
Consume = Callable[[ExamplePass, Outbox], None]


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
        room: How many examples fit the memory at a time.
        numbers_each: Numbers in the input of one example.
        offset: What messages add to positions.
        in_half_precision: Whether passes compute in bfloat16 what autocast lets them.
        reads_targets: Whether anything asks for the targets, which are then checked.
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
    room: Room
    numbers_each: int = 0
    offset: int = 0
    in_half_precision: bool = False
    reads_targets: bool = True

    @property
    def num_checkpoints(self) -> int:
        """Number of checkpoints C."""
        return len(self.runner.checkpoints)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the results: the weights', but at least single precision."""
        return self.runner.dtype

    def run(self, consume: Consume) -> None:
        """Hand every batch at every checkpoint to ``consume``, and tell the progress.

        Examples are read once for all checkpoints that are on the device together.

        Args:
            consume: Called with each pass and the outbox for what comes of it; it changes nothing
                else before its end, so that it can be called again after a lack of memory.
        """
        if not self.total:
            return
        outbox = Outbox(waits=self.runner.device.type != "cpu")
        done = 0

        def count(examples: int) -> None:
            nonlocal done
            done += examples
            if self.on_progress is not None:
                self.on_progress(done, self.total * self.num_checkpoints)

        for group in self.runner.groups:
            read = read_batches(self.examples, self._sizes.read, self.offset)
            batches = send_batches(read, self.runner.device, self._check)
            batch = next(batches, None)
            while batch is not None:
                for checkpoints in self._cut(group):
                    self._run_batch(batch, checkpoints, consume, outbox, count)
                # What is waited for lies a batch back, so the device always has work.
                outbox.send()
                outbox.deliver_earlier()
                batch = next(batches, None)
            outbox.deliver()

    def run_over(self, batch: Batch, consume: Consume) -> None:
        """Do the same for one batch at every checkpoint, without telling the progress."""
        outbox = Outbox(waits=self.runner.device.type != "cpu")
        self._check(batch)
        moved = batch.to(self.runner.device)
        for checkpoints in self._cut(range(self.num_checkpoints)):
            self._run_batch(moved, checkpoints, consume, outbox, lambda examples: None)
        outbox.deliver()

    def _check(self, batch: Batch) -> None:
        if self.reads_targets:
            self.runner.check(batch, needs_targets=self.objective is self.loss)

    def _cut(self, group: range) -> list[range]:
        """Return the checkpoints that go through passes together: one, but of plain chains."""
        size = self._sizes.checkpoints
        return [group[first : first + size] for first in range(0, len(group), size)]

    def _run_batch(
        self,
        batch: Batch,
        checkpoints: range,
        consume: Consume,
        outbox: Outbox,
        count: Callable[[int], None],
    ) -> None:
        """Run some checkpoints, in smaller and smaller passes where memory runs out."""
        done = 0

        def finish(step: ExamplePass) -> None:
            nonlocal done
            outbox.commit()
            done += step.batch.size
            count(step.batch.size * len(checkpoints))

        while done < batch.size:
            rest = batch if not done else batch.cut(done, batch.size)
            size = self.room.fit(min(rest.size, self._sizes.read))
            error = self._try(rest, checkpoints, consume, outbox, finish)
            if error is not None:
                outbox.discard()
                outbox.deliver()
                self.room.halve(size, self.runner.device, error)

    def _try(
        self,
        batch: Batch,
        checkpoints: range,
        consume: Consume,
        outbox: Outbox,
        finish: Callable[[ExamplePass], None],
    ) -> RuntimeError | None:
        """Run passes; return the error if memory ran out. Nothing of them is held afterwards."""
        try:
            for part in batch.split(self.room.fit(batch.size)):
                passes = self.runner.passes(
                    part,
                    checkpoints,
                    self.plan,
                    self.names,
                    self.objective,
                    self.room.fit(self._sizes.full_pass),
                    self.room.fit(self._sizes.forward),
                )
                while (step := self._advance(passes)) is not None:
                    consume(step, outbox)
                    # Examples are through when they are through all of these checkpoints.
                    if step.checkpoint == checkpoints[-1]:
                        finish(step)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # Without its traceback, which holds what the passes held.
            return error.with_traceback(None)
        return None

    def _advance(self, passes: Iterator[ExamplePass]) -> ExamplePass | None:
        """Run the next pass, in half precision if that is wanted; what follows never is."""
        if not self.in_half_precision:
            return next(passes, None)
        with half_precision(self.runner.device):
            return next(passes, None)

    @cached_property
    def _sizes(self) -> Sizes:
        runner, most = self.runner, max(map(len, self.runner.groups))
        budget, chain = choose_budget(runner.device), runner.heads.open(self.plan)
        size, each = self.batch_size, self.numbers_each
        return Sizes(runner.model, self.plan, size, each, budget, chain, most)

    def count_numbers(self, names: Sequence[str]) -> int:
        """Return how many numbers P the named parameters have."""
        return sum(self.runner.trainable[name].numel() for name in names)

    def check_finite(self, values: Tensor, step: ExamplePass) -> None:
        """See that a value for each example of a pass is finite.

        Args:
            values: On the CPU, shape ``(B,)`` or ``(B, ...)``.
            step: The pass.

        Raises:
            GradientError: If one is not; it names the example and the checkpoint.
        """
        # One sum tells that all are finite, in a tenth of the time of asking each.
        if math.isfinite(float(values.sum())):
            return
        if values.dim() > 1:
            values = values.flatten(1).abs().amax(1) if values[0].numel() else values.new_zeros(0)
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            batch, checkpoint = step.batch, step.checkpoint
            example = batch.offset + batch.start + int((~finite).long().argmax())
            title = self.runner.checkpoints[checkpoint].title
            raise GradientError(
                f"The gradient of example {example} at checkpoint {checkpoint} ({title}) is not "
                "finite (NaN, or too large); expected finite numbers, and a score over the rest "
                "would be wrong. Look at this example's input and target, or leave the "
                "checkpoint out."
            )
