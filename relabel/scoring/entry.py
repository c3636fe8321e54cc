"""The end of every scoring of a project: compute the run, then enter it into the database.

What enters is the rankings of the queue and the predictions. Imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from relabel.db.project_rules import Project
from relabel.db.registration import register_run
from relabel.db.runs import Run
from relabel.fitting.data import Datasets, list_sources
from relabel.fitting.network import TrainedNetwork
from relabel.fitting.stored import ProjectExamples
from relabel.progress import OnProgress, Progress
from relabel.runs.config import Rates, RunConfig
from relabel.runs.folder import RunFolder
from relabel.runs.groups import ExampleGroups
from relabel.runs.held_out import (
    HeldOut,
    copy_held_out,
    drop_held_out,
    measure_agreement,
    open_held_out,
    open_neighbours,
    open_of_run,
    read_reason,
    read_summary,
    write_reason,
)
from relabel.scoring.engine import HERE, EngineChoice
from relabel.scoring.grouping import group_examples
from relabel.scoring.run import ScoredRun, score_run
from relabel.scoring.spec import NO_OPTIONS
from relabel.text import SPLITS, LayerChoice, Split
from relabel.triage.opposition import sum_opposition, sum_opposition_of
from relabel.triage.signals import (
    COURSE,
    HELD_OUT,
    LABELS,
    NEIGHBOURS,
    OPPOSITION,
    OPPOSITION_OF_OTHER,
    compute_signals,
)
from relabel.triage.suspicion import weigh_course
from tracin_core.attribution import DEFAULT_METHOD

# Arrays that say what the network predicts; a suggestion comes after them.
_NETWORK_SAYS = 3
# Signals that mean the same of test examples, which the network has not seen; the first ranks.
_TEST_SIGNALS = ("suspicion", "mean_loss", "mean_residual", "held_out")
# How groups were made, which the screens tell beside them.
_GROUP_FIELDS = ("reads", "threshold", "notes")
# What the screens read is in the run's folder; the database keeps what identifies the run.
_CONFIG_FIELDS = (
    "kind",
    "task",
    "target",
    "target_scale",
    "counts",
    "num_computed",
    "layers",
    "rates",
    "projection",
    "method",
    "method_configuration",
    "last_numbers",
    "indexes",
    "timings",
    "quality",
)


def register_scored_run(
    engine: Engine,
    project_id: int,
    folder: RunFolder,
    targets: Mapping[Split, npt.NDArray[Any]],
    groups: ExampleGroups | None = None,
) -> Run:
    """Enter a scored run as the current one of its project, in one transaction.

    Args:
        engine: The database.
        project_id: The project, which has its examples.
        folder: The run's folder, complete.
        targets: What it was scored for, by split: class indices or numbers, shape ``(N,)``.
        groups: Of examples that are alike; None leaves them out.

    Raises:
        RunFolderError: If a file of the run is missing or damaged.
        InputError: If the run does not fit the project's examples.
    """
    config = folder.read_config()
    rates = [entry.learning_rate for entry in config.checkpoints]
    signals = folder.read_all_signals("train")
    summary = read_summary(folder.root)
    said: dict[str, object] = {}
    if summary is not None:
        # How well the network itself tells the labels that it was trained on, in the same measure.
        told = signals.predicted if signals.predicted_value is None else signals.predicted_value
        said = {
            "held_out": summary.to_json(),
            "seen_agreement": measure_agreement(told[-1], targets["train"]),
        }
    elif reason := read_reason(folder.root):
        said["not_asked"] = reason
    predictions: dict[str, tuple[npt.NDArray[Any], ...]] = {
        split: _read_predictions(folder, split) for split in SPLITS
    }
    if summary is not None and config.task == "classification":
        for split in SPLITS:
            predictions[split] += _read_suggestions(folder, split, targets[split])
        said["suggests_labels"] = len(predictions["train"]) > _NETWORK_SAYS
    if groups is not None:
        said["alike"] = {name: getattr(groups.summary, name) for name in _GROUP_FIELDS}
    known = gather_known(folder, config, targets)
    return register_run(
        engine,
        project_id,
        key=config.key,
        folder=f"runs/{config.key}",
        config=describe_for_database(config) | said,
        checkpoints=[asdict(entry) for entry in config.checkpoints],
        scores=compute_signals(signals, rates, known),
        predictions=predictions,
        test_scores=rank_test_examples(folder, config, targets["test"], known),
        groups={} if groups is None else groups.numbers,
    )


def gather_known(
    folder: RunFolder, config: RunConfig, targets: Mapping[Split, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Return what is known of the train examples beside what the capture pass measured.

    Args:
        folder: The run's.
        config: Its ``run.json``.
        targets: What it was scored for, by split.

    Returns:
        By the names that signals need, shape ``(N,)`` each.

    Raises:
        RunFolderError: If a file of the run is damaged.
    """
    known: dict[str, npt.NDArray[Any]] = {}
    is_regression = config.task == "regression"
    labels = targets["train"]
    if not is_regression:
        known[LABELS] = labels
    opposition = sum_opposition(folder)
    if opposition is not None:
        known[OPPOSITION] = opposition
    held_out = open_held_out(folder.root, len(labels), len(config.classes))
    if held_out is None:
        return known
    against = labels - held_out.values if is_regression else held_out.margins(labels)
    known[HELD_OUT] = against
    known[COURSE] = np.asarray(weigh_run(folder, config, held_out, against))
    if is_regression:
        return known
    of_other = sum_opposition_of(folder, targets["test"], held_out.likeliest_others(labels))
    if of_other is not None:
        known[OPPOSITION_OF_OTHER] = of_other
    neighbours = open_neighbours(folder.root, held_out)
    if neighbours is not None:
        known[NEIGHBOURS] = neighbours.margins(labels)
    return known


def rank_test_examples(
    folder: RunFolder,
    config: RunConfig,
    targets: npt.NDArray[Any],
    known: Mapping[str, npt.NDArray[Any]],
) -> dict[str, npt.NDArray[np.float64]]:
    """Return how suspect each test example's own label is, by signal, shape ``(M,)`` each.

    By what models say that have not seen it, as of the train examples, and by the loss of the
    network, which has seen none of them.

    Args:
        folder: The run's.
        config: Its ``run.json``.
        targets: What the test split was scored for.
        known: Of the train examples; the part of the network's course counts here, too.

    Raises:
        RunFolderError: If a file of the run is damaged.
    """
    if not config.counts["test"]:
        return {}
    of_test: dict[str, npt.NDArray[Any]] = {}
    held_out = open_of_run(folder, "test")
    if held_out is not None and COURSE in known:
        is_regression = config.task == "regression"
        against = targets - held_out.values if is_regression else held_out.margins(targets)
        of_test = {HELD_OUT: against, COURSE: known[COURSE]}
    signals = folder.read_all_signals("test")
    found = compute_signals(signals, [None for _ in config.checkpoints], of_test)
    return {name: found[name] for name in _TEST_SIGNALS if name in found}


def weigh_run(
    folder: RunFolder,
    config: RunConfig,
    held_out: HeldOut,
    against: npt.NDArray[np.float64],
) -> float:
    """Return the part of the network's own course in the suspicion.

    Args:
        folder: The run's.
        config: Its ``run.json``.
        held_out: What models say of examples that they have not seen.
        against: What they say against the given labels, shape ``(N,)``.

    Raises:
        RunFolderError: If a file of the run is damaged.
    """
    kinds = {one.network for one in held_out.summary.candidates if one.network}
    if config.model.get("name") in kinds:
        return 0.0  # what its kind says without having seen the label is in the suspicion already
    seen = folder.read_all_signals("train")
    test = folder.read_all_signals("test") if config.counts["test"] else None
    tested = held_out.summary.test_error
    if seen.residual is not None:
        # Medians: a single slipped decimal point would be all that a mean says.
        wrong = (_middle_square(seen.residual[-1]), _middle_square(against))
        if test is None or tested is None or test.residual is None:
            return weigh_course(*wrong)
        return weigh_course(*wrong, (_middle_square(test.residual[-1]), tested))
    wrong = (float((seen.margin[-1] < 0).mean()), float((against > 0).mean()))
    if test is None or tested is None:
        return weigh_course(*wrong)
    return weigh_course(*wrong, (float((test.margin[-1] < 0).mean()), tested))


def _middle_square(residuals: npt.NDArray[np.floating]) -> float:
    return float(np.median(np.abs(residuals)) ** 2)


def describe_for_database(config: RunConfig) -> dict[str, object]:
    """Return the run's configuration without the long parts (vocabulary, classes)."""
    values = asdict(config)
    chosen = {name: values[name] for name in _CONFIG_FIELDS}
    model = {name: value for name, value in config.model.items() if name != "classes"}
    hashes = {"data_hash": config.data_hash, "code_version": config.code_version}
    return chosen | hashes | {"model": model, "training": dict(config.training)}


def _read_predictions(
    folder: RunFolder, split: Split
) -> tuple[npt.NDArray[np.integer | np.floating], ...]:
    """Return predicted class, its probability and that of the given label; or the number."""
    signals = folder.read_all_signals(split)
    if signals.predicted_value is not None:
        return (signals.predicted_value[-1],)
    return (
        signals.predicted[-1],
        folder.largest_probabilities(split),
        signals.given_probability[-1],
    )


def _read_suggestions(
    folder: RunFolder, split: Split, labels: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the suggested class of every example, ``(N,)``; nothing where none is known."""
    held_out = open_of_run(folder, split)
    return () if held_out is None else (held_out.labels(labels),)


def score_and_enter(
    engine: Engine,
    project: Project,
    folder: Path,
    network: TrainedNetwork,
    examples: ProjectExamples,
    datasets: Datasets,
    *,
    base: RunFolder | None,
    layers: LayerChoice,
    rates: Rates,
    method: str = DEFAULT_METHOD,
    method_options: Mapping[str, Any] = NO_OPTIONS,
    device: str = "auto",
    shard_engine: EngineChoice = HERE,
    on_progress: OnProgress,
) -> tuple[Run, ScoredRun]:
    """Score a project's examples and make the result its current run.

    Args:
        engine: The database.
        project: The project.
        folder: Its folder, whose lock is held.
        network: What it is scored with.
        examples: What is known about each example.
        datasets: Their inputs and targets, by split.
        base: An earlier run whose rows are taken where nothing has changed.
        layers: Whose norms and vectors are computed.
        rates: Weight of each checkpoint in the vectors.
        method: Name of the attribution method.
        method_options: Its own options, by name.
        device: Where to compute.
        shard_engine: What does the shards.
        on_progress: Told about every batch.

    Returns:
        The run as it is in the database, and what it took.
    """
    scored = score_run(
        folder / "runs",
        network,
        list_sources(examples, datasets),
        data_hash=examples.data_hash,
        base=base,
        layers=layers,
        rates=rates,
        method=method,
        method_options=method_options,
        device=device,
        engine=shard_engine,
        on_progress=on_progress,
    )
    unseen = read_summary(network.folder)
    # What was said before the project grew is of other examples: Runs then says that none is there.
    if unseen is not None and unseen.num_examples == len(examples.splits["train"]):
        copy_held_out(network.folder, scored.folder.root)
    elif unseen is None and network.folder != scored.folder.root:
        reason = read_reason(network.folder)
        drop_held_out(scored.folder.root)
        if reason:
            write_reason(scored.folder.root, reason)
    targets = {split: part.targets for split, part in examples.splits.items()}
    groups = group_examples(
        folder,
        scored.folder.root,
        project,
        examples,
        network,
        base=None if base is None else base.root,
        on_progress=on_progress,
    )
    on_progress(Progress("entering the results", 0, 1))
    run = register_scored_run(engine, project.id, scored.folder, targets, groups)
    on_progress(Progress("entering the results", 1, 1))
    return run, scored
