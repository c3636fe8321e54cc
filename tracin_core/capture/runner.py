"""Passes of a model over N examples at C checkpoints, which give every example's gradients.

A ``Runner`` holds the model with its checkpoints' weights and gives it back as it was; a
``RunContext`` is one run over a set of examples: what is to be computed, how, and in which
batches.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.capture.batch_size import (
    AdaptiveBatchSize,
    BatchSizes,
    TooManyExamplesError,
    choose_budget,
    is_out_of_memory,
)
from tracin_core.capture.batching import Batch, read_batches
from tracin_core.capture.channels_last import ChannelsLast
from tracin_core.capture.last_layer import HeadRunner, mark_head
from tracin_core.capture.loss_check import LossCheck
from tracin_core.capture.targets import TargetCheck, explain_number_types, refuse_missing
from tracin_core.capture.transfer import ResultBuffer, send_batches
from tracin_core.checkpoints import Checkpoint, read_weights, refuse_broken
from tracin_core.errors import GradientError
from tracin_core.gradients.evaluation import Evaluation
from tracin_core.gradients.factored import Dense
from tracin_core.gradients.functorch import FALLBACK_NUMBERS, FallbackMethod, fallback_gradients
from tracin_core.gradients.hooks import CapturedPass, Objective, capture_pass
from tracin_core.gradients.inspection import (
    TRIAL_SIZE,
    mistakes_single_examples,
    refuse_mixed_examples,
    refuse_mixing_layers,
)
from tracin_core.gradients.last_layer import LastLayer, find_last_layer, run_for_outputs
from tracin_core.gradients.module_states import PASSES, WeightSlots, skip_recomputation
from tracin_core.gradients.nested import (
    call_model,
    map_tensors,
    measure_activation_bytes,
)
from tracin_core.gradients.plan import Plan, confirm_plan, draft_plan
from tracin_core.gradients.precision import half_precision
from tracin_core.losses import SCORES, get_logits, warn_of_probabilities
from tracin_core.progress import Progress

# As many checkpoints stay on the device together as need less than this, and the examples are
# read once for all of them. 2 GiB is small beside what a machine that trains models has.
RESIDENT_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class ExamplePass:
    """One batch at one checkpoint.

    Attributes:
        batch: The batch, on the device.
        checkpoint: Index of the checkpoint.
        captured: Outputs, objective and the gradients of the chosen parameters.
    """

    batch: Batch
    checkpoint: int
    captured: CapturedPass


class Runner:
    """Holds a model with its checkpoints' weights and runs passes; the model stays as it is.

    Args:
        model: Any module.
        checkpoints: Weights to put in place, one after the other.
        device: Where to compute.
        targets: Looks at the targets of a loss of ours.
        loss_check: Looks at a loss that is not one of ours.

    Attributes:
        heads: What runs forward passes alone.
    """

    def __init__(
        self,
        model: nn.Module,
        checkpoints: Sequence[Checkpoint],
        device: torch.device,
        *,
        targets: TargetCheck | None = None,
        loss_check: LossCheck | None = None,
    ) -> None:
        self.model = model
        self.checkpoints = tuple(checkpoints)
        self.device = device
        self.trainable = {
            name: value.shape for name, value in model.named_parameters() if value.requires_grad
        }
        dtypes = {value.dtype for value in model.parameters()}
        self.dtype = torch.float64 if torch.float64 in dtypes else torch.float32
        self._is_double = dtypes <= {torch.float64}
        self._targets, self._loss_check = targets, loss_check
        self._mistakes_single = mistakes_single_examples(model)
        self._slots = WeightSlots(model)
        self._evaluation = Evaluation(model, self._slots)
        self._resident: dict[int, dict[str, Tensor]] = {}
        self._layout = ChannelsLast(model, device)
        self.heads = HeadRunner(model, self._slots, lambda index: self._weights(index, ()))
        size = sum(value.nbytes for value in (*model.parameters(), *model.buffers()))
        self._most_resident = max(1, RESIDENT_BYTES // max(1, size))

    @property
    def groups(self) -> list[range]:
        """Checkpoints that are on the device together; examples are read once for each group."""
        total, most = len(self.checkpoints), self._most_resident
        return [range(first, min(first + most, total)) for first in range(0, total, most)]

    @property
    def training_only(self) -> frozenset[str]:
        """Parameters that reach the outputs in training mode only; known once there is a plan."""
        return self._evaluation.training_only

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Open the context in which passes run: evaluation mode, random state kept.

        Threads take turns: a pass puts a checkpoint's weights into the model, which another
        thread's pass would read.
        """
        with PASSES, skip_recomputation(), self._evaluation.opened(self.device):
            yield

    def find_last_layer(self, batch: Batch, objective: Objective | None) -> LastLayer:
        """Return the last layer (see ``last_layer``).

        Args:
            batch: A few examples.
            objective: What is differentiated, where that decides which outputs count.
        """
        trial = _select_trial_examples(batch).to(self.device)
        weights = self._weights(0, self.trainable)
        with explain_number_types(self.model, trial.inputs):
            self._evaluation.settle(weights, trial.inputs)
        with self._slots.hold(weights), explain_number_types(self.model, trial.inputs):
            return find_last_layer(
                self.model,
                lambda: run_for_outputs(self.model, trial.inputs, trial.targets, objective),
                trial.inputs,
            )

    def plan(self, batch: Batch, names: Sequence[str], objective: Objective) -> Plan:
        """Decide how the gradients of the named parameters are computed, and check it."""
        refuse_mixing_layers(self.model)
        draft = draft_plan(self.model, names)
        trial = _select_trial_examples(batch).to(self.device)
        with explain_number_types(self.model, trial.inputs):
            self._evaluation.settle(self._weights(0, self.trainable), trial.inputs)
            call = partial(self._call_with, inputs=trial.inputs)
            if self._layout.choose(call, self._weights(0, self.trainable)):
                self._resident.clear()
        with self._slots.hold(self._weights(0, names)):
            with explain_number_types(self.model, trial.inputs):
                outputs = refuse_mixed_examples(self.model, trial.inputs)
            # An example that is broken tells nothing of the plan; it is named when it is scored.
            sound = (
                torch.isfinite(outputs.reshape(TRIAL_SIZE, -1)).all(1).nonzero().flatten().tolist()
            )
            if 0 < len(sound) < TRIAL_SIZE:
                trial = _select_trial_examples(trial.pick(sound))
            if self._targets is not None:
                with torch.enable_grad():
                    outputs = get_logits(self._call(trial.inputs))
                self._targets.learn(outputs)
                if objective not in SCORES:
                    self._targets.check(trial, needs_targets=True)
                warn_of_probabilities(outputs, self._targets.loss)
            if self._loss_check is not None and self._loss_check.concerns(trial, objective):
                self._loss_check.try_on(trial, self._call)
        plan = None
        if not self._is_double:
            plan = self._confirm_in_double(draft, trial, names, objective)
        with self._slots.hold(self._weights(0, names)):
            if plan is None:
                plan = confirm_plan(self.model, draft, trial.inputs, trial.targets, objective)
            plan = mark_head(self.model, plan, objective, trial)
        if self.device.type == "cpu":
            return plan
        everything = [
            name for name, value in self.model.named_parameters() if value.is_floating_point()
        ]
        with self._slots.hold(self._weights(0, everything)):
            held = measure_activation_bytes(self.model, trial.inputs, TRIAL_SIZE)
        return replace(plan, held_bytes=held)

    def _call_with(self, weights: Mapping[str, Tensor], inputs: Any) -> Any:
        with self._slots.hold(weights):
            return self._call(inputs)

    def _confirm_in_double(
        self, draft: Plan, trial: Batch, names: Sequence[str], objective: Objective
    ) -> Plan | None:
        """Try a plan in float64, where a small gradient and rounding are told apart.

        Returns:
            The confirmed plan, or ``None`` if the model does not run in float64 or does not
            pass there; its own number type decides then, and tells what is wrong.
        """
        try:
            inputs, targets = map_tensors(_to_double, (trial.inputs, trial.targets))
            weights = self._weights(0, names, in_double=True)
            with self._slots.hold(weights):
                return confirm_plan(self.model, draft, inputs, targets, objective)
        except Exception:
            # Whatever a model raises here that is not for float64 (casts of its own, constants
            # in float32, a device without float64) says nothing against its gradients.
            return None

    def check(self, batch: Batch, *, needs_targets: bool) -> None:
        """Check that targets are what the loss reads, while they are on the CPU."""
        if needs_targets:
            refuse_missing(batch)
        if self._targets is not None:
            self._targets.check(batch, needs_targets=needs_targets)

    def passes(
        self,
        batch: Batch,
        checkpoints: Sequence[int],
        plan: Plan,
        names: Sequence[str],
        objective: Objective,
        batch_size: int,
        forward_size: int,
    ) -> Iterator[ExamplePass]:
        """Yield a batch at each of the checkpoints, in parts of at most ``batch_size``.

        Where a forward pass is enough, parts have at most ``forward_size`` examples.
        """
        whole_numbers = sum(self.trainable[name].numel() for name in plan.fallback)
        whole_numbers += plan.written_numbers
        largest = max(1, FALLBACK_NUMBERS // max(1, whole_numbers))
        for piece in batch.split(largest):
            moved = piece.to(self.device)
            if plan.head is not None:
                parts = moved.split(forward_size)
                captured = self.heads.capture(plan.head, moved, checkpoints, parts)
                if captured is not None:
                    yield from map(ExamplePass, repeat(moved), checkpoints, captured)
                    continue
            # A part is through when it is through all checkpoints; only then comes the next.
            for part in moved.split(batch_size):
                for index in checkpoints:
                    yield self._run(part, index, plan, names, objective)

    def _run(
        self, batch: Batch, index: int, plan: Plan, names: Sequence[str], objective: Objective
    ) -> ExamplePass:
        try:
            return self._run_once(batch, index, plan, names, objective)
        except RuntimeError as error:
            if not self._layout.take_back(error):
                raise
        self._resident.clear()
        return self._run_once(batch, index, plan, names, objective)

    def _run_once(
        self, batch: Batch, index: int, plan: Plan, names: Sequence[str], objective: Objective
    ) -> ExamplePass:
        weights = self._weights(index, names)
        with self._slots.hold(weights):
            captured = self._capture(batch, plan, objective)
            if self._loss_check is not None and self._loss_check.concerns(batch, objective):
                self._loss_check.look(batch, self._call)
            self._refuse_too_many(batch, captured.missing, weights)
            # What could not be told apart goes the way that is always open.
            slow: list[tuple[Iterable[str], FallbackMethod]] = [
                (plan.fallback, plan.method),
                (captured.missing, "one example at a time"),
            ]
            for chosen, method in slow:
                wanted = {name: weights[name] for name in chosen}
                if not wanted:
                    continue
                found = fallback_gradients(
                    self.model, wanted, batch.inputs, batch.targets, objective, method
                )
                for name, gradients in found.items():
                    captured.gradients[name] = [Dense(gradients, weights[name].shape)]
        self._note(captured.missing, plan)
        return ExamplePass(batch, index, captured)

    def _call(self, inputs: Any) -> Any:
        return call_model(self.model, inputs)

    def _capture(self, batch: Batch, plan: Plan, objective: Objective) -> CapturedPass:
        """Run a pass; a single example goes in its own company where alone it goes otherwise."""
        if batch.size > 1:
            return self._capture_once(batch, plan, objective)
        if not self._mistakes_single:
            captured = self._capture_once(batch, plan, objective)
            if not captured.missing:
                return captured
        # Alone, an example may take operations that the trial has not seen.
        return self._capture_once(batch.pick([0, 0]), plan, objective).take_first()

    def _capture_once(self, batch: Batch, plan: Plan, objective: Objective) -> CapturedPass:
        return capture_pass(
            self.model, plan.layers, batch.inputs, batch.targets, objective, plan.known, plan.proofs
        )

    def _refuse_too_many(
        self, batch: Batch, missing: Iterable[str], weights: Mapping[str, Tensor]
    ) -> None:
        """Check that whole gradients of parameters the plan had rules for fit the memory."""
        numbers = batch.size * sum(weights[name].numel() for name in missing)
        if batch.size > 1 and numbers > FALLBACK_NUMBERS:
            raise TooManyExamplesError(
                f"Whole gradients of {batch.size} examples would take {numbers:,} numbers."
            )

    def _note(self, missing: Mapping[str, str], plan: Plan) -> None:
        """Warn the first time that a parameter goes a slower way than planned."""
        new = missing.keys() - plan.proofs.notes.keys()
        plan.proofs.notes.update(missing)
        if new:
            names = sorted(new)
            warnings.warn(
                f"The gradients of {len(names)} parameters ({', '.join(names[:3])}"
                f"{', ...' if len(names) > 3 else ''}) are computed one example at a time in "
                f"some batches, because {missing[names[0]]}. The scores are exact; it takes "
                "longer. `coverage` says it for each parameter.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _weights(self, index: int, names: Any, *, in_double: bool = False) -> dict[str, Tensor]:
        """Return a checkpoint's tensors on the device; only ``names`` require gradients."""
        if index not in self._resident:
            if len(self._resident) >= self._most_resident:
                self._resident.clear()
            self._resident[index] = self._load(index)
        held = self._resident[index]
        if in_double:
            held = {name: _to_double(value) for name, value in held.items()}
        wanted = set(names)
        return {
            name: value.detach().requires_grad_() if name in wanted else value
            for name, value in held.items()
        }

    def _load(self, index: int) -> dict[str, Tensor]:
        """Read a checkpoint; copied, so that nothing a forward pass does reaches the caller."""
        state = read_weights(self.checkpoints[index], self.model)
        title = f"{index} ({self.checkpoints[index].title})"
        refuse_broken(state, self.trainable, title)
        own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        weights = {
            name: state.get(name, value).detach().to(self.device, value.dtype, copy=True)
            for name, value in own.items()
        }
        return self._layout.lay_out(weights)


def _to_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _select_trial_examples(batch: Batch) -> Batch:
    """Return the three examples that plans are checked on, repeated if there are fewer."""
    return batch.pick([index % batch.size for index in range(TRIAL_SIZE)])


# What is done with a pass, and where its results are staged.
Consume = Callable[[ExamplePass, ResultBuffer], None]


@dataclass(frozen=True)
class RunContext:
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
    room: AdaptiveBatchSize
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

    def run(self, consume: Consume, checkpoints: range | None = None) -> None:
        """Pass every batch at every checkpoint to ``consume``, and report the progress.

        Examples are read once for all checkpoints that are on the device together.

        Args:
            consume: Called with each pass and the buffer for what comes of it; it changes nothing
                else before its end, so that it can be called again after a lack of memory.
            checkpoints: Some of the checkpoints only.
        """
        if not self.total:
            return
        buffer = ResultBuffer(waits=self.runner.device.type != "cpu")
        done = 0

        def count(examples: int) -> None:
            nonlocal done
            done += examples
            if self.on_progress is not None:
                self.on_progress(done, self.total * self.num_checkpoints)

        for group in self._select(checkpoints):
            read = read_batches(self.examples, self._sizes.read, self.offset)
            batches = send_batches(read, self.runner.device, self._check)
            batch = next(batches, None)
            while batch is not None:
                for checkpoints in self._cut(group):
                    self._run_batch(batch, checkpoints, consume, buffer, count)
                # What is waited for lies a batch back, so the device always has work.
                buffer.send()
                buffer.deliver_earlier()
                batch = next(batches, None)
            buffer.deliver()

    def run_over(self, batch: Batch, consume: Consume, checkpoints: range | None = None) -> None:
        """Pass one batch at every checkpoint to ``consume``, without a report of the progress."""
        buffer = ResultBuffer(waits=self.runner.device.type != "cpu")
        self._check(batch)
        moved = batch.to(self.runner.device)
        for group in self._select(checkpoints):
            for some in self._cut(group):
                self._run_batch(moved, some, consume, buffer, lambda examples: None)
        buffer.deliver()

    def _select(self, checkpoints: range | None) -> list[range]:
        """Return the checkpoints that are on the device together, of some or of all."""
        if checkpoints is None:
            return self.runner.groups
        first, stop = checkpoints.start, checkpoints.stop
        groups = [range(max(g.start, first), min(g.stop, stop)) for g in self.runner.groups]
        return [group for group in groups if group]

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
        buffer: ResultBuffer,
        count: Callable[[int], None],
    ) -> None:
        """Run some checkpoints, in smaller and smaller passes where memory runs out."""
        done = 0

        def finish(step: ExamplePass) -> None:
            nonlocal done
            buffer.commit()
            done += step.batch.size
            count(step.batch.size * len(checkpoints))

        while done < batch.size:
            rest = batch if not done else batch.cut(done, batch.size)
            size = self.room.fit(min(rest.size, self._sizes.read))
            error = self._try(rest, checkpoints, consume, buffer, finish)
            if error is not None:
                buffer.discard()
                buffer.deliver()
                self.room.halve(size, self.runner.device, error)

    def _try(
        self,
        batch: Batch,
        checkpoints: range,
        consume: Consume,
        buffer: ResultBuffer,
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
                    consume(step, buffer)
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
    def _sizes(self) -> BatchSizes:
        runner, most = self.runner, max(map(len, self.runner.groups))
        budget, chain = choose_budget(runner.device), runner.heads.open(self.plan)
        size, each = self.batch_size, self.numbers_each
        return BatchSizes(runner.model, self.plan, size, each, budget, chain, most)

    def count_numbers(self, names: Sequence[str]) -> int:
        """Return how many numbers P the named parameters have."""
        return sum(self.runner.trainable[name].numel() for name in names)

    def check_finite(self, values: Tensor, step: ExamplePass) -> None:
        """Check that a value for each example of a pass is finite.

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
