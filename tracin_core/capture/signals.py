"""Scores, signals and vectors of N examples at C checkpoints, filled pass by pass.

The ``collect_`` functions turn a run's passes into one result each: self-influence ``(N,)``,
projected or exact vectors ``(N, D)``, or a ``Capture`` with every signal from one pass (influence
``(N, M)`` is in ``influence``). All results are on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from tracin_core.capture.batching import is_labelled
from tracin_core.capture.runner import ExamplePass, RunContext
from tracin_core.capture.targets import Predictions, read_predictions
from tracin_core.capture.transfer import ResultBuffer
from tracin_core.checkpoints.learning_rates import Rates, sum_tensors
from tracin_core.errors import ConfigurationError
from tracin_core.gradients.factored import instantiate_chunks, measure
from tracin_core.losses import Loss
from tracin_core.projection import EXACT_LAST_NUMBERS
from tracin_core.projection.config import Projection
from tracin_core.projection.projector import Projector
from tracin_core.projection.sketch import Sketch


@dataclass(frozen=True)
class Capture:
    """Signals and vectors of N examples at C checkpoints; all tensors are on the CPU.

    Norms, losses and margins are per checkpoint and not multiplied by learning rates. Rows
    are examples in the order they were given.

    Attributes:
        squared_norms_all: Squared gradient norm over the chosen layers, shape ``(C, N)``.
        squared_norms_last: The same over the last layer, shape ``(C, N)``.
        losses: Loss (nats for cross-entropy), shape ``(C, N)``; NaN without a label.
        margins: Logit of the given label minus the best other, ``(C, N)``; NaN for regression,
            and for a label that a loss of one's own ignores.
        predicted: Predicted class, shape ``(C, N)``, int64; the output itself for regression.
            Under a loss of one's own the first output where targets are numbers, and NaN where
            they are neither numbers nor class indices.
        given_probability: Probability of the given label, ``(C, N)``; NaN where margins are.
        probabilities: Class probabilities at the last checkpoint, shape ``(N, K)``; the outputs
            themselves where they are no classes.
        vectors: Projected gradients of the chosen layers, shape ``(N, D)``, if asked for.
        last_vectors: Exact last-layer gradients of all checkpoints end to end, shape
            ``(N, C * P_last)``, or projected ones, shape ``(N, D)``, if asked for.
        rates: Rates the vectors are weighted with, shape ``(C,)``; NaN at a checkpoint whose
            parameters have different rates.
        rated_norms_all: ``sum_p rate_p |gradient_p|^2`` over the chosen layers, shape
            ``(C, N)``, where at some checkpoint parameters have different rates; else ``None``,
            because ``rates`` times the norms says it.
        rated_norms_last: The same over the last layer.
    """

    squared_norms_all: Tensor
    squared_norms_last: Tensor
    losses: Tensor
    margins: Tensor
    predicted: Tensor
    given_probability: Tensor
    probabilities: Tensor
    vectors: Tensor | None
    last_vectors: Tensor | None
    rates: Tensor
    rated_norms_all: Tensor | None = None
    rated_norms_last: Tensor | None = None

    def __repr__(self) -> str:
        checkpoints, examples = self.losses.shape
        have = [
            f"{name} {tuple(value.shape)}"
            for name in ("vectors", "last_vectors")
            if (value := getattr(self, name)) is not None
        ]
        plural = "" if checkpoints == 1 else "s"
        return (
            f"Capture({examples:,} examples, {checkpoints} checkpoint{plural}, "
            f"{' and '.join(have) or 'no vectors'})"
        )

    def self_influence(self, layers: str = "all") -> Tensor:
        """Return ``sum_i sum_p rate_ip |gradient_ip|^2``, shape ``(N,)``.

        Args:
            layers: Over "all" chosen layers, or the "last" one.
        """
        is_last = layers == "last"
        rated = self.rated_norms_last if is_last else self.rated_norms_all
        if rated is not None:
            return rated.sum(0, dtype=torch.float64).to(rated.dtype)
        norms = self.squared_norms_last if is_last else self.squared_norms_all
        return (self.rates.double().unsqueeze(1) * norms).sum(0).to(norms.dtype)


# No, yes (exact where they are short), or how whatever their length.
LastVectors = bool | Literal["exact"] | Projection


def collect_capture(
    context: RunContext,
    rates: Rates,
    projection: Projection | None,
    last_layer_vectors: LastVectors,
    loss: Loss,
) -> Capture:
    """Return every signal from one pass per batch and checkpoint."""
    signals = SignalBuilder(context, rates, loss)
    vectors = VectorBuilder(context, context.chosen, rates, projection) if projection else None
    last_vectors = None
    if last_layer_vectors is not False:
        how = _choose_last_projection(context, projection, last_layer_vectors)
        last_vectors = VectorBuilder(context, context.last, rates, how)

    def consume(step: ExamplePass, buffer: ResultBuffer) -> None:
        sketch = vectors.open(step) if vectors else None
        norms = measure_pass(step, context.names, sketch, context.chosen)
        signals.add(step, norms, buffer)
        if vectors and sketch:
            vectors.close(step, sketch, buffer)
        if last_vectors:
            last_vectors.add(step, buffer)

    context.run(consume)
    return signals.finish(
        vectors.result if vectors else None, last_vectors.result if last_vectors else None
    )


def collect_self_influence(context: RunContext, rates: Rates) -> Tensor:
    """Return ``sum_i sum_p rate_ip |gradient_ip|^2`` over the chosen layers, shape ``(N,)``."""
    scores = torch.zeros(context.num_checkpoints, context.total, dtype=context.dtype)

    def consume(step: ExamplePass, buffer: ResultBuffer) -> None:
        norms = sum_norms(measure_pass(step, context.chosen), context.chosen, step, rates)
        target = scores[step.checkpoint, rows_of(step)]
        buffer.put(target, norms, lambda values: context.check_finite(values, step))

    context.run(consume)
    return scores.sum(0, dtype=torch.float64).to(context.dtype)


def collect_vectors(context: RunContext, rates: Rates, projection: Projection | None) -> Tensor:
    """Return projected or exact gradients of the chosen layers, shape ``(N, D)``."""
    vectors = VectorBuilder(context, context.chosen, rates, projection, checks=True)
    context.run(vectors.add)
    return vectors.result


def hand_over_gradients(context: RunContext, handle: Callable[[int, Tensor], None]) -> None:
    """Call ``handle`` with each pass's first position and gradients ``(B, P)``, on the device."""

    @torch.no_grad()
    def consume(step: ExamplePass, buffer: ResultBuffer) -> None:
        size = step.batch.size
        parts = []
        for name in context.chosen:
            uses = step.captured.gradients.get(name)
            if uses:
                parts.append(torch.cat([p.reshape(len(p), -1) for p in instantiate_chunks(uses)]))
            else:
                parts.append(step.captured.values.new_zeros(size, context.count_numbers([name])))
        rows = torch.cat([part.to(context.dtype) for part in parts], 1)
        context.check_finite(rows.cpu(), step)
        handle(step.batch.start, rows)

    context.run(consume)


def _choose_last_projection(
    context: RunContext, projection: Projection | None, requested: LastVectors
) -> Projection | None:
    """Return how last-layer vectors are projected; ``None`` for exact ones."""
    if isinstance(requested, Projection):
        return requested
    if requested not in (True, "exact"):
        raise ConfigurationError(
            f"Found last_layer_vectors={requested!r}; expected True, False, 'exact' or a "
            "Projection. Use True, which keeps them exact where they are short."
        )
    numbers = context.num_checkpoints * context.count_numbers(context.last)
    exact = requested == "exact" or numbers <= EXACT_LAST_NUMBERS
    return None if exact else projection or Projection()


class SignalBuilder:
    """Keeps the signals of a capture pass.

    Args:
        context: The run.
        rates: Of each parameter at each checkpoint.
        loss: Which tells a regression from a classifier.
    """

    def __init__(self, context: RunContext, rates: Rates, loss: Loss) -> None:
        self._context, self._rates, self._loss = context, rates, loss
        self._names = ["all", "last", "losses", "margins", "given"]
        self._names += [] if rates.are_common else ["rated all", "rated last"]
        shape = (len(self._names), context.num_checkpoints, context.total)
        self._signals = torch.full(shape, torch.nan, dtype=context.dtype)
        self._predicted = torch.full(shape[1:], torch.nan, dtype=context.dtype)
        self._are_classes, self._are_strange = True, False
        self._probabilities = torch.zeros(0, 0)

    def add(self, step: ExamplePass, norms: Mapping[str, Tensor], buffer: ResultBuffer) -> None:
        """Stage the signals of one pass, whose squared gradient norms are ``norms``."""
        context, rows, at = self._context, rows_of(step), step.checkpoint
        batch = step.batch
        predictions = read_predictions(step.captured.outputs, batch.targets, self._loss, batch.size)
        signals = [
            sum_norms(norms, context.chosen, step),
            sum_norms(norms, context.last, step),
            self._find_losses(step),
            predictions.margins,
            predictions.given_probability,
        ]
        if batch.missing:
            # Substitutes for missing targets say nothing.
            signals[2:] = [_leave_out(values, batch.missing) for values in signals[2:]]
        if not self._rates.are_common:
            selections = (context.chosen, context.last)
            signals += [sum_norms(norms, names, step, self._rates) for names in selections]
        buffer.put(
            self._signals[:, at, rows],
            torch.stack(signals),
            lambda values: context.check_finite(values[:2].T, step),
        )
        if not self._probabilities.numel():
            self._prepare(predictions)
        self._are_classes &= not predictions.predicted.is_floating_point()
        buffer.put(self._predicted[at, rows], predictions.predicted)
        if predictions.strange is not None:
            buffer.check(predictions.strange, self._note_strange)
        if at == context.num_checkpoints - 1:
            buffer.put(self._probabilities[rows], predictions.probabilities)

    def finish(self, vectors: Tensor | None, last_vectors: Tensor | None) -> Capture:
        """Return the signals together with the vectors that were asked for."""
        signals = dict(zip(self._names, self._signals, strict=True))
        predicted = self._predicted
        if self._are_strange:
            # A label that is no class shows that no other is one either.
            for values in (
                *(predicted, self._probabilities, signals["margins"]),
                signals["given"],
            ):
                values.fill_(torch.nan)
        elif self._are_classes:
            predicted = predicted.to(torch.int64)
        return Capture(
            squared_norms_all=signals["all"],
            squared_norms_last=signals["last"],
            losses=signals["losses"],
            margins=signals["margins"],
            predicted=predicted,
            given_probability=signals["given"],
            probabilities=self._probabilities,
            vectors=vectors,
            last_vectors=last_vectors,
            rates=self._rates.as_tensor(self._context.dtype),
            rated_norms_all=signals.get("rated all"),
            rated_norms_last=signals.get("rated last"),
        )

    def _prepare(self, says: Predictions) -> None:
        """Make room for probabilities, as many as the first pass shows."""
        shape = (self._context.total, says.probabilities.shape[1])
        self._probabilities = torch.zeros(shape, dtype=self._context.dtype)

    def _note_strange(self, found: Tensor) -> None:
        self._are_strange |= bool(found)

    def _find_losses(self, step: ExamplePass) -> Tensor:
        if self._context.objective is self._context.loss:
            return step.captured.values
        if not is_labelled(step.batch.targets):
            return torch.full_like(step.captured.values, torch.nan)
        with torch.no_grad():
            losses: Tensor = self._context.loss(step.captured.outputs, step.batch.targets)
            return losses


class VectorBuilder:
    """Sums the vectors of all examples, ``G sqrt(rate_i) gradient_i``, over checkpoints.

    Args:
        context: The run.
        names: Parameters that make the vectors.
        rates: Of each parameter at each checkpoint.
        projection: How, or ``None`` for exact blocks end to end.
        checks: Whether numbers are seen to be finite; not where the norms are looked at anyway.

    Attributes:
        result: The vectors, shape ``(N, D)``.
    """

    def __init__(
        self,
        context: RunContext,
        names: tuple[str, ...],
        rates: Rates,
        projection: Projection | None,
        *,
        checks: bool = False,
    ) -> None:
        self._checks = checks
        self._context, self._names, self._projection = context, names, projection
        self._rates = rates
        self._numbers = context.count_numbers(names)
        width = projection.dim if projection else context.num_checkpoints * self._numbers
        self.result = torch.zeros(context.total, width, dtype=context.dtype)
        self._projectors: dict[int, Projector] = {}

    def add(self, step: ExamplePass, buffer: ResultBuffer) -> None:
        """Add one pass to the vectors of its examples."""
        if self._projection is None:
            self._add_exact(step, buffer)
            return
        sketch = self.open(step)
        for name in self._names:
            for contribution in step.captured.gradients.get(name, ()):
                contribution.add_to_sketch(sketch, name)
        self.close(step, sketch, buffer)

    def open(self, step: ExamplePass) -> Sketch:
        """Return an empty sketch for one pass."""
        assert self._projection is not None  # noqa: S101 - only projected vectors are opened
        at = step.checkpoint
        if at not in self._projectors:
            self._projectors[at] = self._make_projector(self._projection, at)
        return self._projectors[at].open(step.batch.size)

    def close(self, step: ExamplePass, sketch: Sketch, buffer: ResultBuffer) -> None:
        """Add a filled sketch to the vectors of its examples."""
        block = sketch.finish()
        if block is None:
            return
        common = self._rates.common(step.checkpoint)
        if common is not None:  # else each parameter's map is scaled by its own rate
            block = block * math.sqrt(common)
        target = self.result[rows_of(step)]
        buffer.add(target, block, self._make_check(step))

    def _make_projector(self, projection: Projection, at: int) -> Projector:
        runner = self._context.runner
        shapes = {name: runner.trainable[name] for name in self._names}
        scales = None
        if self._rates.common(at) is None:
            scales = {name: math.sqrt(self._rates.of(at, name)) for name in self._names}
        return Projector(projection, at, shapes, runner.device, self._context.dtype, scales)

    def _add_exact(self, step: ExamplePass, buffer: ResultBuffer) -> None:
        at = step.checkpoint * self._numbers
        rows = self.result[rows_of(step)]
        for name in self._names:
            size = self._context.runner.trainable[name].numel()
            uses = step.captured.gradients.get(name)
            first = 0
            for part in instantiate_chunks(uses) if uses else ():
                scaled = part.reshape(len(part), -1) * math.sqrt(
                    self._rates.of(step.checkpoint, name)
                )
                target = rows[first : first + len(part), at : at + size]
                buffer.put(target, scaled, self._make_check(step))
                first += len(part)
            at += size

    def _make_check(self, step: ExamplePass) -> Callable[[Tensor], None] | None:
        return partial(self._context.check_finite, step=step) if self._checks else None


def measure_pass(
    step: ExamplePass,
    names: Sequence[str],
    sketch: Sketch | None = None,
    sketched: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Return each parameter's squared gradient norms ``(B,)``, and fill a sketch on the way."""
    wanted = set(sketched)
    with torch.no_grad():
        return {
            name: measure(uses, sketch if name in wanted else None, name)
            for name, uses in step.captured.gradients.items()
            if name in names
        }


def sum_norms(
    norms: Mapping[str, Tensor],
    names: Sequence[str],
    step: ExamplePass,
    rates: Rates | None = None,
) -> Tensor:
    """Return ``sum_p rate_p |gradient_p|^2`` over some parameters, shape ``(B,)``.

    Args:
        norms: What ``measure_pass`` returned; a parameter that nothing reaches is not there.
        names: The parameters.
        step: The pass.
        rates: What norms are multiplied by; ``None`` for one.
    """
    found = {name: norms[name] for name in names if name in norms}
    if not found:
        return torch.zeros_like(step.captured.values)
    return sum_tensors(found.values()) if rates is None else rates.weigh(step.checkpoint, found)


def rows_of(step: ExamplePass) -> slice:
    """Return where the examples of a pass stand in the results."""
    return slice(step.batch.start, step.batch.start + step.batch.size)


def _leave_out(values: Tensor, places: tuple[int, ...]) -> Tensor:
    left = values.clone()
    left[list(places)] = torch.nan
    return left
