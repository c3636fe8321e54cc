"""Turn passes into results: scores, vectors, and everything at once."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tracin_core.errors import ConfigurationError
from tracin_core.gradients.projection import Projection
from tracin_core.influence.exact_limit import EXACT_LAST_NUMBERS
from tracin_core.influence.losses import Loss
from tracin_core.influence.measures import measure_pass, rows_of, sum_norms
from tracin_core.influence.outbox import Outbox
from tracin_core.influence.passes import ExamplePass
from tracin_core.influence.rates import Rates
from tracin_core.influence.signal_builder import SignalBuilder
from tracin_core.influence.signals import Capture
from tracin_core.influence.vector_builder import VectorBuilder
from tracin_core.influence.work import Work

# No, yes (exact where they are short), or how whatever their length.
LastVectors = bool | Literal["exact"] | Projection


def collect_self_influence(work: Work, rates: Rates) -> Tensor:
    """Return ``sum_i sum_p rate_ip |gradient_ip|^2`` over the chosen layers, shape ``(N,)``."""
    scores = torch.zeros(work.num_checkpoints, work.total, dtype=work.dtype)

    def consume(step: ExamplePass, outbox: Outbox) -> None:
        found = sum_norms(measure_pass(step, work.chosen), work.chosen, step, rates)
        target = scores[step.checkpoint, rows_of(step)]
        outbox.put(target, found, lambda values: work.check_finite(values, step))

    work.run(consume)
    return scores.sum(0, dtype=torch.float64).to(work.dtype)


def collect_vectors(work: Work, rates: Rates, projection: Projection | None) -> Tensor:
    """Return projected or exact gradients of the chosen layers, shape ``(N, D)``."""
    vectors = VectorBuilder(work, work.chosen, rates, projection, checks=True)
    work.run(vectors.add)
    return vectors.result


def collect_capture(
    work: Work,
    rates: Rates,
    projection: Projection | None,
    last_layer_vectors: LastVectors,
    loss: Loss,
) -> Capture:
    """Return every signal from one pass per batch and checkpoint."""
    signals = SignalBuilder(work, rates, loss)
    vectors = VectorBuilder(work, work.chosen, rates, projection) if projection else None
    last_vectors = None
    if last_layer_vectors is not False:
        how = _choose_last_projection(work, projection, last_layer_vectors)
        last_vectors = VectorBuilder(work, work.last, rates, how)

    def consume(step: ExamplePass, outbox: Outbox) -> None:
        sketch = vectors.open(step) if vectors else None
        norms = measure_pass(step, work.names, sketch, work.chosen)
        signals.add(step, norms, outbox)
        if vectors and sketch:
            vectors.close(step, sketch, outbox)
        if last_vectors:
            last_vectors.add(step, outbox)

    work.run(consume)
    return signals.finish(
        vectors.result if vectors else None, last_vectors.result if last_vectors else None
    )


def _choose_last_projection(
    work: Work, projection: Projection | None, wanted: LastVectors
) -> Projection | None:
    """Return how last-layer vectors are projected; ``None`` for exact ones."""
    if isinstance(wanted, Projection):
        return wanted
    if wanted not in (True, "exact"):
        raise ConfigurationError(
            f"Found last_layer_vectors={wanted!r}; expected True, False, 'exact' or a Projection. "
            "Use True, which keeps them exact where they are short."
        )
    numbers = work.num_checkpoints * work.count_numbers(work.last)
    exact = wanted == "exact" or numbers <= EXACT_LAST_NUMBERS
    return None if exact else projection or Projection()
