"""Run the model over examples at every checkpoint and hand out per-example gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.gradients.agreement import TRIAL_SIZE
from tracin_core.gradients.capture import CapturedPass, Objective, capture_pass
from tracin_core.gradients.contributions import Dense
from tracin_core.gradients.fallback import FALLBACK_NUMBERS, FallbackMethod, fallback_gradients
from tracin_core.gradients.held import count_held_bytes
from tracin_core.gradients.inspection import (
    find_last_layer,
    mistakes_single_examples,
    refuse_mixed_examples,
    refuse_mixing_layers,
)
from tracin_core.gradients.plan import Plan, confirm_plan, draft_plan
from tracin_core.gradients.recompute import PASSES, computed_once
from tracin_core.gradients.structure import call_model, find_tensors, map_tensors
from tracin_core.gradients.weights import WeightSlots, evaluation_mode
from tracin_core.influence.batches import Batch
from tracin_core.influence.checkpoints import Checkpoint, read_weights
from tracin_core.influence.head import mark_head
from tracin_core.influence.head_runner import HeadRunner
from tracin_core.influence.loss_check import LossCheck
from tracin_core.influence.losses import SCORES, get_logits, warn_of_probabilities
from tracin_core.influence.number_types import number_types_explained
from tracin_core.influence.room import TooManyExamplesError
from tracin_core.influence.targets import TargetCheck, refuse_missing

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
        self._resident: dict[int, dict[str, Tensor]] = {}
        self.heads = HeadRunner(model, self._slots, lambda index: self._weights(index, ()))
        size = sum(value.nbytes for value in model.state_dict().values())
        self._most_resident = max(1, RESIDENT_BYTES // max(1, size))

    @property
    def groups(self) -> list[range]:
        """Checkpoints that are on the device together; examples are read once for each group."""
        total, most = len(self.checkpoints), self._most_resident
        return [range(first, min(first + most, total)) for first in range(0, total, most)]

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Open the context in which passes run: evaluation mode, random state kept.

        Threads take turns: a pass puts a checkpoint's weights into the model, which another
        thread's pass would read.
        """
        with PASSES, computed_once(), evaluation_mode(self.model, self.device):
            yield

    def find_last_layer(self, batch: Batch) -> str:
        """Return the module that holds the last trainable parameters (see ``inspection``)."""
        trial = _take_trial(batch).to(self.device)
        weights = self._weights(0, self.trainable)
        with self._slots.hold(weights), number_types_explained(self.model, trial.inputs):
            return find_last_layer(self.model, trial.inputs)

    def plan(self, batch: Batch, names: Sequence[str], objective: Objective) -> Plan:
        """Decide how the gradients of the named parameters are computed, and check it."""
        refuse_mixing_layers(self.model)
        draft = draft_plan(self.model, names)
        trial = _take_trial(batch).to(self.device)
        with self._slots.hold(self._weights(0, names)):
            with number_types_explained(self.model, trial.inputs):
                outputs = refuse_mixed_examples(self.model, trial.inputs)
            # An example that is broken tells nothing of the plan; it is named when it is scored.
            sound = (
                torch.isfinite(outputs.reshape(TRIAL_SIZE, -1)).all(1).nonzero().flatten().tolist()
            )
            if 0 < len(sound) < TRIAL_SIZE:
                trial = _take_trial(trial.pick(sound))
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
            held = count_held_bytes(self.model, trial.inputs, TRIAL_SIZE)
        return replace(plan, held_bytes=held)

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
        fallback_numbers = sum(self.trainable[name].numel() for name in plan.fallback)
        largest = max(1, FALLBACK_NUMBERS // max(1, fallback_numbers))
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
        """See that whole gradients of parameters the plan had rules for fit the memory."""
        numbers = batch.size * sum(weights[name].numel() for name in missing)
        if batch.size > 1 and numbers > FALLBACK_NUMBERS:
            raise TooManyExamplesError(
                f"Whole gradients of {batch.size} examples would take {numbers:,} numbers."
            )

    def _note(self, missing: Mapping[str, str], plan: Plan) -> None:
        """Say the first time that a parameter goes a slower way than planned."""
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
        own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        return {
            name: state.get(name, value).detach().to(self.device, value.dtype, copy=True)
            for name, value in own.items()
        }


def _to_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _take_trial(batch: Batch) -> Batch:
    """Return the three examples that plans are checked on, repeated if there are fewer."""
    return batch.pick([index % batch.size for index in range(TRIAL_SIZE)])


def describe_inputs(batch: Batch) -> tuple[Any, ...]:
    """Return what plans are remembered by: number types and axes of a batch's tensors."""
    tensors = find_tensors((batch.inputs, batch.targets))
    return tuple((tensor.dtype, tensor.dim()) for tensor in tensors)


def count_numbers(batch: Batch | None) -> int:
    """Return the numbers in the inputs of one example of a batch."""
    if batch is None:
        return 0
    return sum(tensor[0].numel() for tensor in find_tensors(batch.inputs))
