"""Check that a loss gives each example a number of its own, whatever stands beside it.

A loss that divides by the length of the batch, weights classes by how often they are in it, or
takes the other examples as negatives has no gradient for one example: scores would follow how
batches are cut, and a short last batch would lead every ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tracin_core.capture.batch_size import is_out_of_memory
from tracin_core.capture.batching import Batch, is_labelled
from tracin_core.errors import ConfigurationError, GradientError
from tracin_core.gradients.inspection import (
    LOOSE_TOLERANCE,
    TRIAL_SIZE,
    find_output_tensors,
    map_outputs,
    take_rows,
)
from tracin_core.gradients.nested import map_tensors
from tracin_core.gradients.precision import HALF
from tracin_core.losses import LossFunction

# Largest difference between two answers about one example that is rounding: relative to the
# answer, and to the largest of the batch. What a batch changes is of order 1 / B and more.
TOLERANCE, ROUNDING = 1e-3, 1e-4
# The same where the model, too, is asked again; ``LOOSE_TOLERANCE`` in half precision.
MODEL_TOLERANCE = 1e-2
# The same of the gradient that reaches another example's outputs.
LEAK = 1e-4
# Batches of so many different sizes are looked at; loaders may cut every batch anew.
MOST_SIZES = 8

EXPECTED = (
    "Expected a number that depends on its own example alone, because scores would follow how "
    "batches are cut. Leave out what is taken over the batch (a division by len(targets), a mean, "
    "class weights counted or normalised in it, other examples as negatives); write "
    "F.cross_entropy(outputs, targets, reduction='none'), times weights fixed beforehand."
)

# Inputs of a few examples -> what the model returns for them.
Run = Callable[[Any], Any]


class LossCheck:
    """Checks a loss on three examples, and again on the first batch of each size.

    Args:
        loss: Takes outputs and targets; returns the loss of each example.
    """

    def __init__(self, loss: LossFunction) -> None:
        self._loss = loss
        self._sizes: set[int] = set()

    def try_on(self, batch: Batch, run: Run) -> None:
        """Check the loss of a batch.

        Args:
            batch: The examples.
            run: Returns the model's outputs for inputs.

        Raises:
            ConfigurationError: If it is not one number for each example that has a gradient and
                depends on that example alone.
            GradientError: If it is NaN or infinite for outputs that are not.
        """
        with torch.enable_grad():
            # Run anew: a loss may read what the model's latest run has left elsewhere.
            _LossProbe(self._loss, run(batch.inputs), batch, run).confirm()
        self._sizes.add(batch.size)

    def concerns(self, batch: Batch, objective: LossFunction) -> bool:
        """Return whether the loss is asked for: it is differentiated, or there are labels."""
        return objective is self._loss or is_labelled(batch.targets)

    def look(self, batch: Batch, run: Run) -> None:
        """Check the loss on a batch, unless one of its size has been looked at before."""
        if batch.size not in self._sizes and len(self._sizes) < MOST_SIZES:
            self.try_on(batch, run)


class _LossProbe:
    """The loss of one batch, asked for in several ways."""

    def __init__(self, loss: LossFunction, outputs: Any, batch: Batch, run: Run) -> None:
        self._loss, self._batch, self._run = loss, batch, run
        self._problem: Exception | None = None
        self._outputs = map_outputs(_make_leaf, outputs)
        tensors = [t for t in find_output_tensors(self._outputs) if t.dim()]
        self._leaves = [t for t in tensors if t.requires_grad and len(t) == batch.size]
        in_half = any(leaf.dtype in HALF for leaf in self._leaves)
        self._model_rounding = LOOSE_TOLERANCE if in_half else MODEL_TOLERANCE
        # Where another axis is as long as the batch, the first may be something else.
        self._is_plain = all(t.shape[0] == batch.size not in t.shape[1:] for t in tensors)

    def confirm(self) -> None:
        losses = self._ask_first()
        self._check_form(losses)
        if self._is_plain:
            self._check_reach(losses)
        elif self._batch.size == TRIAL_SIZE:
            self._check_reach_of_two()
        losses = losses.detach()
        for indices in self._choose_parts():
            self._compare(losses, indices)
        if self._batch.size == TRIAL_SIZE:
            # What else the model returns may know of the other examples, and the loss read it.
            again = self._run_again([2, 0])
            if not self._agree(again, losses, [2, 0], self._model_rounding):
                self._compare_with(again, losses, [2, 0], TOLERANCE)
        self._check_values(losses)

    def _ask_first(self) -> Tensor:
        try:
            return self._loss(self._outputs, self._batch.targets)
        except (TypeError, AttributeError) as error:
            if not is_labelled(self._batch.targets):
                raise GradientError(
                    f"The examples have no targets, and the loss raised {type(error).__name__}: "
                    f'{error}. Put (input, target), or ask with explain="score", which needs no '
                    "target (influence, vectors, capture)."
                ) from error
            self._note_size(error)
            raise
        except (RuntimeError, ValueError, IndexError, KeyError) as error:
            self._note_size(error)
            raise

    def _note_size(self, error: Exception) -> None:
        error.add_note(f"Raised by the loss for a batch of {self._batch.size} examples.")

    def _check_form(self, losses: Tensor) -> None:
        size = self._batch.size
        if len(losses) != size:
            raise ConfigurationError(
                f"The loss returned shape ({len(losses)},) for {size} examples; expected one "
                "number for each, shape (B,). Use reduction='none', and where an example has "
                "several numbers (tokens, pixels, labels) .view(len(targets), -1).sum(1)."
            )
        if self._leaves and not losses.requires_grad:
            raise ConfigurationError(
                "The loss returned values without a gradient; expected them to be computed from "
                "the outputs by operations that can be differentiated. Leave out .detach(), "
                ".item(), argmax and torch.no_grad(), or pass the loss that was trained with."
            )

    def _check_reach(self, losses: Tensor) -> None:
        """Refuse a loss whose gradient for one example reaches the outputs of another."""
        if not losses.requires_grad:
            return
        for index in self._choose_few():
            found = torch.autograd.grad(
                losses[index], self._leaves, retain_graph=True, allow_unused=True
            )
            sizes = torch.zeros(self._batch.size, dtype=torch.float64)
            for gradient in found:
                if gradient is not None and gradient.numel():
                    rows = gradient.detach().reshape(len(gradient), -1).abs().amax(1)
                    sizes = sizes.maximum(rows.to("cpu", torch.float64))
            own, largest = float(sizes[index]), float(sizes.max())
            sizes[index] = 0.0
            other = int(sizes.argmax())
            if float(sizes[other]) > LEAK * largest:
                raise ConfigurationError(
                    f"The loss of example {self._name(index)} changes with the outputs of example "
                    f"{self._name(other)}, which stood in the same batch: its gradient is "
                    f"{float(sizes[other]):.4g} there and {own:.4g} at its own. {EXPECTED}"
                )

    def _check_reach_of_two(self) -> None:
        """Check the reach with two examples, where three are as many as something else."""
        pair = self._batch.pick([0, 1])
        losses: Tensor | None = None
        with self._noted_errors():
            smaller = _LossProbe(self._loss, self._run(pair.inputs), pair, self._run)
            losses = self._loss(smaller._outputs, pair.targets)
        # Of another number there is none to be told apart: ``_compare`` says so.
        if losses is not None and len(losses) == pair.size and smaller._is_plain:
            smaller._check_reach(losses)

    def _compare(self, losses: Tensor, indices: Sequence[int]) -> None:
        """Compute the losses of some examples again; refuse other answers."""
        outputs = take_rows(self._outputs, indices, self._batch.size)
        found = None
        if outputs is not None:
            with self._noted_errors():
                found = self._ask(outputs, indices)
            if self._agree(found, losses, indices, TOLERANCE):
                return
        # Perhaps what the model returns cannot be cut like this, or the loss reads what the model
        # has left elsewhere; the model itself decides.
        again = None
        with self._noted_errors():
            again = self._run_again(indices)
        if again is None or not self._agree(again, losses, indices, self._model_rounding):
            self._compare_with(found if again is None else again, losses, indices, TOLERANCE)

    def _run_again(self, indices: Sequence[int]) -> Tensor | None:
        return self._ask(self._run(self._batch.pick(list(indices)).inputs), indices)

    def _ask(self, outputs: Any, indices: Sequence[int]) -> Tensor | None:
        """Return the losses of some examples; ``None`` if they are not as many."""
        targets = map_tensors(lambda t: t[list(indices)], self._batch.targets)
        losses = self._loss(outputs, targets).detach()
        return losses if len(losses) == len(indices) else None

    def _agree(
        self, found: Tensor | None, losses: Tensor, indices: Sequence[int], tolerance: float
    ) -> bool:
        return found is not None and not self._find_other(found, losses, indices, tolerance).numel()

    def _find_other(
        self, found: Tensor, losses: Tensor, indices: Sequence[int], tolerance: float
    ) -> Tensor:
        """Return where two answers differ by more than rounding."""
        before = losses[list(indices)]
        sizes = torch.nan_to_num(losses.abs(), 0.0, 0.0, 0.0)
        allowed = max(ROUNDING, tolerance / 10) * float(sizes.max()) + tolerance * before.abs()
        same = (found - before).abs() <= allowed
        # Infinities and NaN are equal to themselves here.
        same |= (found == before) | (found.isnan() & before.isnan())
        return (~same).nonzero().flatten()

    def _compare_with(
        self, recomputed: Tensor | None, losses: Tensor, indices: Sequence[int], tolerance: float
    ) -> None:
        if recomputed is None:
            problem = self._problem
            why = "" if problem is None else f" ({type(problem).__name__}: {problem})"
            raise ConfigurationError(
                f"The loss could be computed for a batch of {self._batch.size} examples, and not "
                f"for {len(indices)} of them{why}; expected one number for each of however many "
                "examples, because the last batch may be shorter. Leave fixed batch sizes out "
                "of the loss and of the model's forward."
            ) from problem
        differing = self._find_other(recomputed, losses, indices, tolerance)
        if not differing.numel():
            return
        first = int(differing[0])
        index = indices[first]
        was, now = float(losses[index]), float(recomputed[first])
        everyone = list(range(self._batch.size))
        if indices == everyone:
            raise ConfigurationError(
                f"The loss of example {self._name(index)} is {was:.6g}, and {now:.6g} when it is "
                "asked for again with the same outputs and targets. Expected the same number at "
                "every call: leave random numbers, dropout, counters of calls and running "
                "averages out of the loss, or give them a fixed value."
            )
        beside = f"with {len(indices) - 1} of the others" if len(indices) > 1 else "alone"
        if sorted(indices) == everyone:
            beside = "in the same batch in another order"
        raise ConfigurationError(
            f"The loss of example {self._name(index)} is {was:.6g} in a batch of "
            f"{self._batch.size} examples and {now:.6g} {beside}. {EXPECTED}"
        )

    def _check_values(self, losses: Tensor) -> None:
        broken = (~torch.isfinite(losses)).nonzero().flatten().tolist()
        for index in broken:
            rows = [leaf.detach()[index] for leaf in self._leaves]
            if rows and all(bool(torch.isfinite(row).all()) for row in rows):
                raise GradientError(
                    f"The loss of example {self._name(index)} is {float(losses[index])}, and the "
                    "model's outputs for it are finite; expected a finite loss. Look at its "
                    "target, and for a logarithm of zero or a division by zero in the loss."
                )

    def _choose_few(self) -> list[int]:
        last = self._batch.size - 1
        return sorted({0, last // 2, last})

    def _choose_parts(self) -> Iterator[list[int]]:
        """Yield all examples again, then some alone, in other company, in another order."""
        size, few = self._batch.size, self._choose_few()
        everyone = list(range(size))
        yield everyone
        yield from ([index] for index in few)
        yield from ([few[at], few[at - 1]] for at in range(len(few)) if len(few) > 1)
        if size > TRIAL_SIZE:
            yield everyone[: size // 2]
            yield everyone[size // 2 :]
        yield everyone[::-1]

    @contextmanager
    def _noted_errors(self) -> Iterator[None]:
        """Record what the loss or the model raises about fewer examples, but for lack of memory."""
        try:
            yield
        except Exception as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            self._problem = error

    def _name(self, index: int) -> int:
        return self._batch.offset + self._batch.start + index


def _make_leaf(tensor: Tensor) -> Tensor:
    """Return a tensor that ends the gradient graph of a loss."""
    leaf = tensor.detach()
    return leaf.requires_grad_() if leaf.is_floating_point() or leaf.is_complex() else leaf
