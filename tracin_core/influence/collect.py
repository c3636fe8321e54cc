"""Turn passes into results: norms, vectors, and everything at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tracin_core.gradients.projection import ParameterHash, Projection, Sketch, make_hashes
from tracin_core.gradients.uses import instantiate_chunks, measure
from tracin_core.influence.batches import is_labelled
from tracin_core.influence.losses import Loss, read_predictions
from tracin_core.influence.passes import ExamplePass
from tracin_core.influence.rates import Rates, add_up
from tracin_core.influence.signals import Capture
from tracin_core.influence.work import Work

# Exact last-layer vectors up to this many numbers for an example: 32 KB in single precision,
# so that 100,000 examples stay near 3 GB.
EXACT_LAST_NUMBERS = 8192


def collect_self_influence(work: Work, rates: Rates) -> Tensor:
    """Return ``sum_i sum_p rate_ip |gradient_ip|^2`` over the chosen layers, shape ``(N,)``."""
    scores = torch.zeros(work.num_checkpoints, work.total, dtype=work.dtype)
    for step in work.passes():
        rows = _rows(step)
        found = _weigh(rates, measure_pass(step, work.chosen), work.chosen, step)
        scores[step.checkpoint, rows] = found.to("cpu", work.dtype)
        work.check_finite(scores[step.checkpoint, rows], step.batch.start, step.checkpoint)
    return scores.sum(0)


def collect_vectors(work: Work, rates: Rates, projection: Projection | None) -> Tensor:
    """Return projected or exact gradients of the chosen layers, shape ``(N, D)``."""
    vectors = VectorBuilder(work, work.chosen, rates, projection)
    for step in work.passes():
        block = vectors.add(step)
        work.check_finite(block, step.batch.start, step.checkpoint)
    return vectors.result


def collect_capture(
    work: Work,
    rates: Rates,
    projection: Projection | None,
    last_layer_vectors: bool,
    loss: Loss,
) -> Capture:
    """Return every signal from one pass per batch and checkpoint."""
    shape = (work.num_checkpoints, work.total)
    names: tuple[str, ...] = ("all", "last", "losses", "margins", "given")
    names += () if rates.are_common else ("rated all", "rated last")
    signals = {name: torch.full(shape, torch.nan, dtype=work.dtype) for name in names}
    predicted: Tensor | None = None
    probabilities: Tensor | None = None
    vectors = VectorBuilder(work, work.chosen, rates, projection) if projection else None
    last_vectors = _make_last_builder(work, rates, projection) if last_layer_vectors else None
    for step in work.passes():
        at, rows = step.checkpoint, _rows(step)
        sketch = vectors.open(step) if vectors else None
        norms = measure_pass(step, work.names, sketch, work.chosen)
        says = read_predictions(step.captured.outputs, step.batch.targets, loss)
        losses = _losses(work, step)
        found = [
            _sum_norms(norms, work.chosen, step),
            _sum_norms(norms, work.last, step),
            losses,
            says.margins,
            says.given_probability,
        ]
        if not rates.are_common:
            found += [_weigh(rates, norms, of, step) for of in (work.chosen, work.last)]
        for name, values in zip(names, torch.stack(found).to("cpu", work.dtype), strict=True):
            signals[name][at, rows] = values
        for name in ("all", "last"):
            work.check_finite(signals[name][at, rows], step.batch.start, at)
        if predicted is None or probabilities is None:
            dtype = work.dtype if says.predicted.is_floating_point() else torch.int64
            predicted = torch.zeros(shape, dtype=dtype)
            probabilities = torch.zeros(work.total, says.probabilities.shape[1], dtype=work.dtype)
        predicted[at, rows] = says.predicted.to("cpu", predicted.dtype)
        if at == work.num_checkpoints - 1:
            probabilities[rows] = says.probabilities.to("cpu", work.dtype)
        if vectors and sketch:
            vectors.close(step, sketch)
        if last_vectors:
            last_vectors.add(step)
    return Capture(
        squared_norms_all=signals["all"],
        squared_norms_last=signals["last"],
        losses=signals["losses"],
        margins=signals["margins"],
        predicted=torch.zeros(shape, dtype=torch.int64) if predicted is None else predicted,
        given_probability=signals["given"],
        probabilities=torch.zeros(0, 0) if probabilities is None else probabilities,
        vectors=vectors.result if vectors else None,
        last_vectors=last_vectors.result if last_vectors else None,
        rates=rates.as_tensor(work.dtype),
        rated_norms_all=signals.get("rated all"),
        rated_norms_last=signals.get("rated last"),
    )


class VectorBuilder:
    """Sums the vectors of all examples, ``G sqrt(rate_i) gradient_i``, over checkpoints.

    Args:
        work: The run.
        names: Parameters that make the vectors.
        rates: Of each parameter at each checkpoint.
        projection: How, or ``None`` for exact blocks end to end.
    """

    def __init__(
        self,
        work: Work,
        names: tuple[str, ...],
        rates: Rates,
        projection: Projection | None,
    ) -> None:
        self._work, self._names, self._projection = work, names, projection
        self._rates = rates
        self._numbers = work.count_numbers(names)
        width = projection.dim if projection else work.num_checkpoints * self._numbers
        self.result = torch.zeros(work.total, width, dtype=work.dtype)
        self._hashes: dict[int, dict[str, ParameterHash]] = {}

    def add(self, step: ExamplePass) -> Tensor:
        """Add one pass; return what it added, on the CPU, shape ``(B, ...)``."""
        if self._projection is None:
            return self._add_exact(step)
        sketch = self.open(step)
        for name in self._names:
            for contribution in step.captured.gradients.get(name, ()):
                contribution.add_to_sketch(sketch, name)
        return self.close(step, sketch)

    def open(self, step: ExamplePass) -> Sketch:
        """Return an empty sketch for one pass."""
        assert self._projection is not None  # noqa: S101 - only projected vectors are opened
        at = step.checkpoint
        if at not in self._hashes:
            shapes = {name: self._work.runner.trainable[name] for name in self._names}
            device = self._work.runner.device
            hashes = make_hashes(self._projection, at, shapes, device, self._work.dtype)
            if self._rates.common(at) is None:
                for name, found in hashes.items():
                    found.scale(math.sqrt(self._rates.of(at, name)))
            self._hashes[at] = hashes
        return Sketch(self._projection.dim, self._hashes[at], step.batch.size)

    def close(self, step: ExamplePass, sketch: Sketch) -> Tensor:
        """Add a filled sketch to the vectors of its examples."""
        block = sketch.finish()
        if block is None:
            return self.result[_rows(step)]
        common = self._rates.common(step.checkpoint)
        if common is not None:  # else the hashes are scaled, each by its own rate
            block = block * math.sqrt(common)
        block = block.to("cpu", self._work.dtype)
        self.result[_rows(step)] += block
        return block

    def _add_exact(self, step: ExamplePass) -> Tensor:
        at = step.checkpoint * self._numbers
        rows = self.result[_rows(step)]
        for name in self._names:
            size = self._work.runner.trainable[name].numel()
            uses = step.captured.gradients.get(name)
            if uses:
                whole = torch.cat(
                    [part.reshape(len(part), -1) for part in instantiate_chunks(uses)]
                )
                scale = math.sqrt(self._rates.of(step.checkpoint, name))
                rows[:, at : at + size] = whole.to("cpu", rows.dtype) * scale
            at += size
        return rows[:, at - self._numbers : at]


def sum_norms(step: ExamplePass, names: Sequence[str]) -> Tensor:
    """Return squared gradient norms over the named parameters, shape ``(B,)``, on the device."""
    return _sum_norms(measure_pass(step, names), names, step)


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


def _sum_norms(norms: Mapping[str, Tensor], names: Sequence[str], step: ExamplePass) -> Tensor:
    found = [norms[name] for name in names if name in norms]
    return add_up(found) if found else torch.zeros_like(step.captured.values)


def _weigh(
    rates: Rates, norms: Mapping[str, Tensor], names: Sequence[str], step: ExamplePass
) -> Tensor:
    """Return ``sum_p rate_p |gradient_p|^2`` over the named parameters, shape ``(B,)``."""
    found = {name: norms[name] for name in names if name in norms}
    if not found:
        return torch.zeros_like(step.captured.values)
    return rates.weigh(step.checkpoint, found)


def _losses(work: Work, step: ExamplePass) -> Tensor:
    if work.objective is work.loss:
        return step.captured.values
    if not is_labelled(step.batch.targets):
        return torch.full_like(step.captured.values, torch.nan)
    with torch.no_grad():
        losses: Tensor = work.loss(step.captured.outputs, step.batch.targets)
        return losses


def _make_last_builder(work: Work, rates: Rates, projection: Projection | None) -> VectorBuilder:
    numbers = work.num_checkpoints * work.count_numbers(work.last)
    exact = numbers <= EXACT_LAST_NUMBERS
    return VectorBuilder(work, work.last, rates, None if exact else projection or Projection())


def _rows(step: ExamplePass) -> slice:
    return slice(step.batch.start, step.batch.start + step.batch.size)
