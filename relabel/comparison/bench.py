"""Run one contender after the other on a run's network and examples. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy import Engine

from relabel.comparison.agreement import TOP
from relabel.comparison.contenders import RANDOM, Contender
from relabel.comparison.meter import Meter
from relabel.comparison.saved import (
    Outcome,
    Pairs,
    Sides,
    find_folder,
    name_example,
    read_outcome,
    write_outcome,
)
from relabel.db.runs import Run, stream_scores
from relabel.fitting.data import Datasets, ExampleSource, read_in_batches
from relabel.fitting.network import TrainedNetwork, list_checkpoints
from relabel.models.user.code import explain_network_errors
from relabel.progress import OnProgress, Progress
from relabel.runs.config import ProjectionEntry, hash_json
from relabel.runs.folder import RunFolder
from relabel.runs.scoring_version import mark_scoring_version
from relabel.scoring.spec import make_attributor
from relabel.text import SPLITS, Layers, Split
from relabel.workspace import find_program_name
from tracin_core.attribution import Attributor, FittedAttributor, get_method
from tracin_core.errors import ConfigurationError, TracInError
from tracin_core.tracin import TracIn

STAGE = "comparing"
# What a method may raise on a network that it does not suit. Torch raises RuntimeErrors where
# memory runs out and where a matrix cannot be decomposed.
_FAILURES = (TracInError, RuntimeError)
_WARM_UP = 3  # examples, on which is decided how gradients are computed
Place = tuple[Split, int]


class Bench:
    """A run's network and examples, on which one contender after the other is run."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        folder: RunFolder,
        network: TrainedNetwork,
        datasets: Datasets,
        device: str,
        on_progress: OnProgress,
    ) -> None:
        self._engine = engine
        self._run = run
        self._folder = folder
        self._config = folder.read_config()
        self._network = network
        self._datasets = datasets
        self._device = device
        self._on_progress = on_progress
        self._now = (0, 1)
        self._place = find_folder(folder)
        self.keys = [""] * run.num_ranked
        for row in stream_scores(engine, run, run.signals[0]):
            self.keys[row.position] = row.key

    def report(self, number: int, total: int) -> None:
        """Tell which contender comes now."""
        self._now = (number, total)
        self._watch()

    def _watch(self) -> None:
        self._on_progress(Progress(STAGE, *self._now))

    def run_contender(self, contender: Contender, places: Sequence[Place]) -> None:
        """Compute and keep what is not there of a contender."""
        if not contender.method:
            self._read_ranking(contender)
            return
        failed = Outcome(name=contender.name, title=contender.title)
        try:
            with self._explain_errors():
                tracin, attributor = self._make(contender)
                outcome = self._score(contender, tracin, attributor)
        except _FAILURES as error:
            write_outcome(self._place, replace(failed, reason=_tell(error)))
            return
        missing = [place for place in places if name_example(*place) not in outcome.sides]
        if not missing:
            return
        try:
            with self._explain_errors():
                outcome = self._explain(outcome, tracin, attributor, missing)
        except _FAILURES as error:
            outcome = replace(outcome, unattributed=_tell(error))
        write_outcome(self._place, outcome)

    def _explain_errors(self) -> AbstractContextManager[None]:
        return explain_network_errors(self._network.own_file, "The network")

    def _make(self, contender: Contender) -> tuple[TracIn, Attributor]:
        """Return the engine for the last layer, and a method that computes with it."""
        config = self._config
        tracin = TracIn(
            self._network.model,
            list_checkpoints(self._folder, config.checkpoints),
            self._network.loss,
            layers="last",
            device=self._device,
            rates=contender.rates,
            last_layer=config.layers["last"],
            progress=False,
        )
        # Outside of what is measured: the first look loads what later ones share.
        tracin.examine(self._read("train", tracin, range(min(_WARM_UP, len(self.keys)))))
        # The run's own method keeps the options that it was scored with.
        is_own = contender.method == config.method and contender.rates == config.rates
        options = dict(config.method_configuration) if is_own else {}
        projection: dict[Layers, ProjectionEntry | None] = {"last": config.projection["last"]}
        return tracin, make_attributor(
            contender.method, tracin, contender.rates, projection, options
        )

    def _digest(self, contender: Contender, attributor: Attributor) -> str:
        return hash_json(
            {
                "method": contender.method,
                "rates": contender.rates,
                "configuration": dict(attributor.configuration),
                "code": mark_scoring_version(),
            }
        )

    def _score(self, contender: Contender, tracin: TracIn, attributor: Attributor) -> Outcome:
        """Return the outcome with its scores on the disk, computed now or kept from before."""
        digest = self._digest(contender, attributor)
        kept = read_outcome(self._place, contender.name, len(self.keys))
        if kept is not None and kept[0].digest == digest and not kept[0].reason:
            return kept[0]
        with Meter() as meter:
            if isinstance(attributor, FittedAttributor):
                attributor.fit(self._read("train", tracin))
            found = attributor.scores(self._read("train", tracin))
            name = next(iter(get_method(contender.method).scores))
            scores = found[name].detach().to("cpu", torch.float32).numpy()
        if not np.isfinite(scores).all():
            raise ConfigurationError(
                f"{int((~np.isfinite(scores)).sum()):,} of its {len(scores):,} scores are not "
                "finite numbers, so they rank nothing. Give the method other options with "
                f"{find_program_name()} score --method."
            )
        outcome = Outcome(
            name=contender.name,
            title=contender.title,
            digest=digest,
            seconds=meter.seconds,
            peak_bytes=meter.peak_bytes,
            report=_plain(getattr(attributor, "report", {})),
        )
        write_outcome(self._place, outcome, scores)
        return outcome

    def _explain(
        self,
        outcome: Outcome,
        tracin: TracIn,
        attributor: Attributor,
        places: Sequence[Place],
    ) -> Outcome:
        """Return the outcome with the proponents and opponents of further examples."""
        sides = dict(outcome.sides)
        with Meter() as meter:
            for split in SPLITS:
                positions = [position for one, position in places if one == split]
                if not positions:
                    continue
                influence = attributor.influence(
                    self._read("train", tracin), self._read(split, tracin, positions)
                )
                values = influence.detach().to("cpu", torch.float32).numpy()
                for column, position in enumerate(positions):
                    itself = position if split == "train" else None
                    sides[name_example(split, position)] = pick_sides(values[:, column], itself)
        peaks = [one for one in (outcome.peak_bytes, meter.peak_bytes) if one is not None]
        done = replace(outcome, unattributed="", peak_bytes=max(peaks, default=None), sides=sides)
        if len(places) < outcome.num_explained:
            return done  # what many took says more than what one more did
        return replace(done, influence_seconds=meter.seconds, num_explained=len(places))

    def _read_ranking(self, contender: Contender) -> None:
        """Keep the scores of a signal that the run has, or of an order that is random."""
        outcome = Outcome(name=contender.name, title=contender.title)
        scores = np.zeros(len(self.keys), dtype=np.float32)
        if contender.name != RANDOM:
            if contender.signal not in self._run.signals:
                reason = "The run was not scored with it, or lacks what it is made of."
                write_outcome(self._place, replace(outcome, reason=reason))
                return
            for row in stream_scores(self._engine, self._run, contender.signal):
                scores[row.position] = row.score
        write_outcome(self._place, outcome, scores)

    def _read(self, split: Split, tracin: TracIn, positions: Sequence[int] | None = None) -> Any:
        source = _Watched(self._datasets[split], self._watch)
        chosen = np.arange(len(source)) if positions is None else np.asarray(positions)
        return read_in_batches(source, chosen, tracin.batch_size)


class _Watched:
    """Examples whose every batch is reported, so that a person can end the work between two."""

    def __init__(self, examples: ExampleSource, watch: Callable[[], None]) -> None:
        self._examples = examples
        self._watch = watch

    def __len__(self) -> int:
        return len(self._examples)

    def read_batch(self, indices: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """Return inputs and targets of some examples."""
        self._watch()
        return self._examples.read_batch(indices)


def pick_sides(influence: npt.NDArray[np.float32], itself: int | None) -> Sides:
    """Return the strongest proponents and opponents of one example.

    Args:
        influence: Of N train examples, shape ``(N,)``.
        itself: Position of the example among them, which is left out; None where it is none.
    """
    values = np.nan_to_num(influence)
    if itself is not None:
        values[itself] = 0.0
    return Sides(proponents=_pick(values, 1.0), opponents=_pick(values, -1.0))


def _pick(values: npt.NDArray[np.float32], sign: float) -> Pairs:
    first = np.argsort(-sign * values, kind="stable")[:TOP]
    return tuple(
        (position, float(values[position]))
        for position in first.tolist()
        if sign * values[position] > 0
    )


def _tell(error: BaseException) -> str:
    """Return why a method failed, on one line."""
    return " ".join(str(error).split())[:600] or type(error).__name__


def _plain(report: dict[str, Any]) -> dict[str, Any]:
    """Return what a method says of its fit, as JSON holds it."""
    kept = (bool, int, float, str)
    return {str(name): one if isinstance(one, kept) else str(one) for name, one in report.items()}
