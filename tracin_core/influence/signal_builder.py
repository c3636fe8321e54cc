"""Signals of all examples at all checkpoints, filled pass by pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tracin_core.influence.batches import is_labelled
from tracin_core.influence.losses import Loss
from tracin_core.influence.measures import rows_of, sum_norms
from tracin_core.influence.outbox import Outbox
from tracin_core.influence.passes import ExamplePass
from tracin_core.influence.predictions import Predictions, read_predictions
from tracin_core.influence.rates import Rates
from tracin_core.influence.signals import Capture
from tracin_core.influence.work import Work


class SignalBuilder:
    """Keeps the signals of a capture pass.

    Args:
        work: The run.
        rates: Of each parameter at each checkpoint.
        loss: Which tells a regression from a classifier.
    """

    def __init__(self, work: Work, rates: Rates, loss: Loss) -> None:
        self._work, self._rates, self._loss = work, rates, loss
        self._names = ["all", "last", "losses", "margins", "given"]
        self._names += [] if rates.are_common else ["rated all", "rated last"]
        shape = (len(self._names), work.num_checkpoints, work.total)
        self._signals = torch.full(shape, torch.nan, dtype=work.dtype)
        self._predicted = torch.full(shape[1:], torch.nan, dtype=work.dtype)
        self._are_classes, self._are_strange = True, False
        self._probabilities = torch.zeros(0, 0)

    def add(self, step: ExamplePass, norms: Mapping[str, Tensor], outbox: Outbox) -> None:
        """Lay out the signals of one pass, whose squared gradient norms are ``norms``."""
        work, rows, at = self._work, rows_of(step), step.checkpoint
        batch = step.batch
        says = read_predictions(step.captured.outputs, batch.targets, self._loss, batch.size)
        found = [
            sum_norms(norms, work.chosen, step),
            sum_norms(norms, work.last, step),
            self._find_losses(step),
            says.margins,
            says.given_probability,
        ]
        if batch.missing:
            # Stand-ins for targets that are not there say nothing.
            found[2:] = [_leave_out(values, batch.missing) for values in found[2:]]
        if not self._rates.are_common:
            found += [sum_norms(norms, of, step, self._rates) for of in (work.chosen, work.last)]
        outbox.put(
            self._signals[:, at, rows],
            torch.stack(found),
            lambda values: work.check_finite(values[:2].T, step),
        )
        if not self._probabilities.numel():
            self._prepare(says)
        self._are_classes &= not says.predicted.is_floating_point()
        outbox.put(self._predicted[at, rows], says.predicted)
        if says.strange is not None:
            outbox.check(says.strange, self._note_strange)
        if at == work.num_checkpoints - 1:
            outbox.put(self._probabilities[rows], says.probabilities)

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
            rates=self._rates.as_tensor(self._work.dtype),
            rated_norms_all=signals.get("rated all"),
            rated_norms_last=signals.get("rated last"),
        )

    def _prepare(self, says: Predictions) -> None:
        """Make room for probabilities, as many as the first pass shows."""
        shape = (self._work.total, says.probabilities.shape[1])
        self._probabilities = torch.zeros(shape, dtype=self._work.dtype)

    def _note_strange(self, found: Tensor) -> None:
        self._are_strange |= bool(found)

    def _find_losses(self, step: ExamplePass) -> Tensor:
        if self._work.objective is self._work.loss:
            return step.captured.values
        if not is_labelled(step.batch.targets):
            return torch.full_like(step.captured.values, torch.nan)
        with torch.no_grad():
            losses: Tensor = self._work.loss(step.captured.outputs, step.batch.targets)
            return losses


def _leave_out(values: Tensor, places: tuple[int, ...]) -> Tensor:
    left = values.clone()
    left[list(places)] = torch.nan
    return left
