"""Measure what the corrections of a project have gained. Imports torch.

What is finished is on the disk: killed at any moment, the same call goes on with the next training
and ends with the same numbers.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sqlalchemy import Engine
from threadpoolctl import threadpool_limits

from relabel.crossval.registry import Matrix, Reads, list_candidates
from relabel.crossval.representations import Representations
from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.runs import Run, current_run
from relabel.features.backbones.registry import AUTO
from relabel.files import explain_disk_errors, write_array
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import ProjectExamples, read_project
from relabel.fitting.training import cut_slips
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import hash_json
from relabel.runs.held_out import recall_summary
from relabel.scoring.project import lock_project
from relabel.training.config import suggest_training
from relabel.workspace import Workspace
from relabel.worth.gain.figures import judge_predictions
from relabel.worth.gain.head import train_heads
from relabel.worth.gain.labels import (
    AuditedRate,
    Labels,
    Reviewed,
    SplitLabels,
    draw_control,
    read_reviewed,
)
from relabel.worth.gain.network import NetworkLearner, count_epochs, hash_labels, name_network
from relabel.worth.gain.options import GainOptions
from relabel.worth.gain.saved import (
    FOLDER,
    VERSION,
    Control,
    Gain,
    name_gain,
    read_gain,
    write_gain,
)
from tracin_core.errors import ConfigurationError
from tracin_core.files import atomic_file

# Told of each seed: how far its trainings are, 0 to 1.
OnShare = Callable[[float], None]
# What is trained on some labels: sets of them and a seed, to predictions of the test examples.
Predict = Callable[[Sequence[Labels], int, OnShare], npt.NDArray[Any]]
# Given the labels of the train split and a seed, the labels of the control.
DrawControl = Callable[[SplitLabels, int], Labels]

_READINGS: tuple[Reads, ...] = ("features", "words", "numbers")
_TITLES = {
    "features": "A linear model over features of a frozen network",
    "words": "A linear model over words and pairs of words",
    "numbers": "A linear model over the columns",
}
# Rows up to this size are made once instead of a batch at a time.
MOST_BYTES = 1_000_000_000
STAGE = "training on the labels"
_UNITS = 1_000  # of the bar


class NothingToMeasureError(ConfigurationError):
    """There is nothing whose gain could be measured."""


def measure_gain(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    options: GainOptions,
    on_progress: OnProgress = ignore_progress,
    *,
    audited: AuditedRate | None = None,
) -> Gain:
    """Train on the labels as given, as corrected and on the control, and compare the models.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        options: What the person chose.
        on_progress: Told about every step; what it raises ends the work, which can go on later.
        audited: The share of wrong labels by a random audit; None where there is none.

    Returns:
        The gain, which is kept with the project.

    Raises:
        NothingToMeasureError: If nothing is decided, or no test examples could tell.
        ConfigurationError: If what is to be trained cannot be had.
        InputError: If an example cannot be read.
        WorkspaceError: If nothing can be written.
    """
    project = get_project(engine, slug)
    reviewed = read_reviewed(engine, project)
    check_measurable(reviewed)
    with lock_project(workspace, slug, on_progress):
        return _Measurement(
            engine, workspace, project, options, on_progress, reviewed, audited
        ).run()


def check_measurable(reviewed: Reviewed) -> None:
    """Check that there is something to compare, and something to compare it by.

    Raises:
        NothingToMeasureError: If not; the message says what is missing.
    """
    if not len(reviewed.test.given):
        raise NothingToMeasureError(
            "Found no test examples, expected some: what a model learned is measured on examples "
            "that it has not seen. Import a test split, or import the data again with a share of "
            "it set apart for the test."
        )
    if not reviewed.train.decided.any():
        raise NothingToMeasureError(
            "Found no decision about a train example, expected at least one: without corrections "
            "there is no gain. Review some of the queue first."
        )
    if not (~reviewed.test.excluded).any():
        raise NothingToMeasureError(
            "Every test example was excluded; expected some that can judge. Undo some of these "
            "decisions on History."
        )


@dataclass(eq=False)
class _Measurement:
    """One measurement, from labels to figures."""

    engine: Engine
    workspace: Workspace
    project: Project
    options: GainOptions
    on_progress: OnProgress
    reviewed: Reviewed
    audited: AuditedRate | None
    _begun: float = field(default_factory=time.monotonic)

    def run(self) -> Gain:
        train = self.reviewed.train
        controls = [draw_control(train, seed, self.audited) for seed in self.options.every_seed]
        run = current_run(self.engine, self.project.id)
        folder = self.workspace.project_folder(self.project.slug)
        media = self.workspace.media_folder(self.project.slug)
        examples = read_project(self.engine, self.project, media, "given", self.on_progress)
        model, reading, work = self._choose(folder, examples, run)
        digest = self._digest(examples, controls, reading, work)
        kept = read_gain(name_gain(self.workspace, self.project.slug, digest))
        if kept is not None:
            return kept
        partial = folder / FOLDER / f".gain-{digest}"
        with explain_disk_errors(folder):
            partial.mkdir(parents=True, exist_ok=True)
        predict = self._make_learner(folder, partial, examples, reading, work)
        predictions = [
            self._predict(partial, predict, number, control)
            for number, control in enumerate(controls)
        ]
        gain = self._judge(predictions, controls, model)
        write_gain(self.workspace, self.project.slug, digest, gain)
        shutil.rmtree(partial, ignore_errors=True)
        return gain

    def _choose(
        self, folder: Path, examples: ProjectExamples, run: Run | None
    ) -> tuple[str, Any, WorkOptions]:
        """Return what is trained, in words; what it reads; and how."""
        if self.options.learner == "network":
            config = {} if run is None else run.config
            work = self._choose_network(config, examples)
            return f"The network {work.model}", None, work
        work = WorkOptions(features=choose_features(self.options.features, run))
        made = Representations(folder, self.project, examples, work, self.on_progress)
        reading = choose_reading(self.project, run, made)
        title = _TITLES[reading]
        if reading == "features":
            made.read(reading)
            title = (
                f"{title} ({made.features})" if made.features else "A linear model over the pixels"
            )
        return title, (made, reading), work

    def _choose_network(self, config: Any, examples: ProjectExamples) -> WorkOptions:
        name = name_network(config)
        epochs = count_epochs(config)
        if epochs is None:
            epochs = suggest_training(
                self.project.kind,  # type: ignore[arg-type]
                num_examples=len(examples.splits["train"]),
                model=name,
            ).epochs
        # As many epochs for each set of labels, so that no test label chooses where one ends.
        return WorkOptions(
            model=name, epochs=epochs, num_checkpoints=1, features=self.options.features
        )

    def _digest(
        self, examples: ProjectExamples, controls: Sequence[Labels], reading: Any, work: WorkOptions
    ) -> str:
        train, test = self.reviewed.train, self.reviewed.test
        made_from: dict[str, Any] = {
            "version": VERSION,
            "data": examples.data_hash,
            "classes": list(self.project.classes),
            "options": self.options.to_json(),
            "work": work.to_json(),
            "arms": [hash_labels("", one) for one in (train.as_corrected(), *controls)],
            "test": hash_labels("", test.as_corrected()),
            "reviewed": hashlib.sha256(
                train.decided.tobytes() + test.decided.tobytes()
            ).hexdigest(),
            "audited": None if self.audited is None else vars(self.audited),
        }
        if reading is not None:
            made_from["reads"] = [reading[1], reading[0].identify_features()]
        return hash_json(made_from)[:12]

    def _make_learner(
        self,
        folder: Path,
        partial: Path,
        examples: ProjectExamples,
        reading: Any,
        work: WorkOptions,
    ) -> Predict:
        if reading is None:
            network = NetworkLearner(
                folder, partial / "training", self.project, examples, work, self.on_progress
            )
            return network.predict
        made, name = reading
        count, num_test = len(self.reviewed.train.given), len(self.reviewed.test.given)
        asked = np.arange(count, count + num_test)
        is_regression = self.project.task == "regression"
        rows = hold_rows(made.read(name))
        scale = measure_scale(self.reviewed.train.given) if is_regression else (0.0, 1.0)

        def predict(arms: Sequence[Labels], seed: int, on_share: OnShare) -> npt.NDArray[Any]:
            # As one thread, so that the bits do not depend on the machine.
            with threadpool_limits(1):
                return train_heads(
                    rows,
                    arms,
                    asked,
                    num_classes=0 if is_regression else len(self.project.classes),
                    seed=seed,
                    scale=scale,
                    on_step=lambda done, total: on_share(done / total),
                )

        return predict

    def _predict(
        self, partial: Path, predict: Predict, number: int, control: Labels
    ) -> npt.NDArray[Any]:
        """Return what the models of one seed say, from the disk where they were asked before."""
        seed = self.options.every_seed[number]
        path = partial / f"seed-{seed}.npy"
        train, count = self.reviewed.train, len(self.reviewed.test.given)
        arms = (train.as_given(), train.as_corrected(), control)
        try:
            found: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            found = np.empty(0)
        if found.shape != (len(arms), count):
            found = predict_arms(predict, arms, seed, lambda share: self._tell(number + share))
            with explain_disk_errors(partial), atomic_file(path) as part, part.open("wb") as file:
                write_array(file, found)
        self._tell(number + 1)
        return found

    def _tell(self, seeds: float) -> None:
        total = _UNITS * self.options.seeds
        self.on_progress(Progress(STAGE, min(round(_UNITS * seeds), total), total))

    def _judge(
        self, predictions: Sequence[npt.NDArray[Any]], controls: Sequence[Labels], model: str
    ) -> Gain:
        train, test = self.reviewed.train, self.reviewed.test
        is_regression = self.project.task == "regression"
        num_classes = 0 if is_regression else len(self.project.classes)
        judges = [("given", test.as_given())]
        if test.decided.any():
            judges.append(("current", test.as_corrected()))
        seed = self.options.first_seed
        return Gain(
            made_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            measure="r2" if is_regression else "accuracy",
            learner=self.options.learner,
            model=model,
            seeds=self.options.every_seed,
            num_train=len(train.given),
            reviewed=int(train.decided.sum()),
            corrected=int((train.wrong & ~train.excluded).sum()),
            excluded=int(train.excluded.sum()),
            ambiguous=train.ambiguous,
            test_reviewed=int(test.decided.sum()),
            test_changed=int(test.wrong.sum()),
            last_event=self.reviewed.last_event,
            control=describe_control(train, controls, self.audited),
            judged=tuple(
                judge_predictions(predictions, labels, by=by, num_classes=num_classes, seed=seed)
                for by, labels in judges
            ),
            classes=() if is_regression else tuple(self.project.classes),
            seconds=round(time.monotonic() - self._begun, 3),
        )


def predict_arms(
    predict: Predict, arms: Sequence[Labels], seed: int, on_share: OnShare
) -> npt.NDArray[Any]:
    """Return what models of each set of labels say, shape ``(A, M)``.

    Sets that are alike are trained once, so that labels that nobody has changed have a gain of
    exactly 0, whatever rounding does.
    """
    first = [next(i for i, one in enumerate(arms) if one.equals(arm)) for arm in arms]
    distinct = sorted(set(first))
    told = predict([arms[i] for i in distinct], seed, on_share)
    return told[[distinct.index(i) for i in first]]


def describe_control(
    train: SplitLabels, controls: Sequence[Labels], audited: AuditedRate | None
) -> Control:
    """Return how a control was made, and how many labels it changed."""
    given = train.as_given()
    changed = [float(((one.targets != given.targets) | ~one.kept).sum()) for one in controls]
    if audited is None:
        return Control(kind="decisions", corrections=float(np.mean(changed)))
    return Control(
        kind="audit",
        corrections=float(np.mean(changed)),
        rate=audited.rate,
        low=audited.low,
        high=audited.high,
        drawn=audited.drawn,
        capped=bool(audited.rate * train.decided.sum() > train.wrong.sum()),
    )


def choose_reading(project: Project, run: Run | None, made: Representations) -> Reads:
    """Return what the linear model reads of the examples.

    What the kind of model reads that agreed most with the given labels when models were asked that
    had not seen them; without such a comparison the usual for the data.

    Raises:
        ConfigurationError: If nothing can be read, with the way out.
    """
    kinds = {one.name: one for one in list_candidates(project.kind, project.task)}  # type: ignore[arg-type]
    readable = {one.reads for one in kinds.values()} & set(_READINGS)
    if "features" in readable and made.identify_features().get("kind") == "none":
        readable.discard("features")
    if not readable:
        reason = made.identify_features().get("reason", "")
        raise ConfigurationError(
            "Found nothing that the quick model could read of these examples. "
            f"{reason} Measure the gain with the whole network instead."
        )
    summary = None if run is None else recall_summary(run.config)
    for one in () if summary is None else summary.candidates:
        known = kinds.get(one.name)
        if known is not None and known.reads in readable:
            return known.reads
    usual: dict[str, Reads] = {"image": "features", "text": "words", "table": "numbers"}
    wanted = usual[project.kind]
    return wanted if wanted in readable else sorted(readable)[0]


def choose_features(wanted: str, run: Run | None) -> str:
    """Return whose features are read: those that a person named, else those of the run.

    They lie there already, and making others can take long.
    """
    summary = None if run is None else recall_summary(run.config)
    if wanted != AUTO or summary is None or not summary.features:
        return wanted
    return summary.features


def hold_rows(rows: Matrix) -> Matrix:
    """Return rows as one array where they fit into memory, so that no batch makes them again."""
    if scipy.sparse.issparse(rows) or 4 * rows.shape[0] * rows.shape[1] > MOST_BYTES:
        return rows
    held: Matrix = rows[np.arange(rows.shape[0])]
    return held


def measure_scale(targets: npt.NDArray[Any]) -> tuple[float, float]:
    """Return mean and deviation of the given numbers, a few far from all others cut."""
    cut = cut_slips(targets)
    return float(cut.mean()), max(float(cut.std()), 1e-12)
