"""Vectors of all examples, filled pass by pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tracin_core.gradients.projection import Projection
from tracin_core.gradients.projector import Projector
from tracin_core.gradients.sketch import Sketch
from tracin_core.gradients.uses import instantiate_chunks
from tracin_core.influence.measures import rows_of
from tracin_core.influence.outbox import Outbox
from tracin_core.influence.passes import ExamplePass
from tracin_core.influence.rates import Rates
from tracin_core.influence.work import Work


class VectorBuilder:
    """Sums the vectors of all examples, ``G sqrt(rate_i) gradient_i``, over checkpoints.

    Args:
        work: The run.
        names: Parameters that make the vectors.
        rates: Of each parameter at each checkpoint.
        projection: How, or ``None`` for exact blocks end to end.
        checks: Whether numbers are seen to be finite; not where the norms are looked at anyway.

    Attributes:
        result: The vectors, shape ``(N, D)``.
    """

    def __init__(
        self,
        work: Work,
        names: tuple[str, ...],
        rates: Rates,
        projection: Projection | None,
        *,
        checks: bool = False,
    ) -> None:
        self._checks = checks
        self._work, self._names, self._projection = work, names, projection
        self._rates = rates
        self._numbers = work.count_numbers(names)
        width = projection.dim if projection else work.num_checkpoints * self._numbers
        self.result = torch.zeros(work.total, width, dtype=work.dtype)
        self._projectors: dict[int, Projector] = {}

    def add(self, step: ExamplePass, outbox: Outbox) -> None:
        """Add one pass to the vectors of its examples."""
        if self._projection is None:
            self._add_exact(step, outbox)
            return
        sketch = self.open(step)
        for name in self._names:
            for contribution in step.captured.gradients.get(name, ()):
                contribution.add_to_sketch(sketch, name)
        self.close(step, sketch, outbox)

    def open(self, step: ExamplePass) -> Sketch:
        """Return an empty sketch for one pass."""
        assert self._projection is not None  # noqa: S101 - only projected vectors are opened
        at = step.checkpoint
        if at not in self._projectors:
            self._projectors[at] = self._make_projector(self._projection, at)
        return self._projectors[at].open(step.batch.size)

    def close(self, step: ExamplePass, sketch: Sketch, outbox: Outbox) -> None:
        """Add a filled sketch to the vectors of its examples."""
        block = sketch.finish()
        if block is None:
            return
        common = self._rates.common(step.checkpoint)
        if common is not None:  # else each parameter's map is scaled by its own rate
            block = block * math.sqrt(common)
        target = self.result[rows_of(step)]
        outbox.add(target, block, self._make_check(step))

    def _make_projector(self, projection: Projection, at: int) -> Projector:
        runner = self._work.runner
        shapes = {name: runner.trainable[name] for name in self._names}
        scales = None
        if self._rates.common(at) is None:
            scales = {name: math.sqrt(self._rates.of(at, name)) for name in self._names}
        return Projector(projection, at, shapes, runner.device, self._work.dtype, scales)

    def _add_exact(self, step: ExamplePass, outbox: Outbox) -> None:
        at = step.checkpoint * self._numbers
        rows = self.result[rows_of(step)]
        for name in self._names:
            size = self._work.runner.trainable[name].numel()
            uses = step.captured.gradients.get(name)
            first = 0
            for part in instantiate_chunks(uses) if uses else ():
                scaled = part.reshape(len(part), -1) * math.sqrt(
                    self._rates.of(step.checkpoint, name)
                )
                target = rows[first : first + len(part), at : at + size]
                outbox.put(target, scaled, self._make_check(step))
                first += len(part)
            at += size

    def _make_check(self, step: ExamplePass) -> Callable[[Tensor], None] | None:
        return partial(self._work.check_finite, step=step) if self._checks else None
