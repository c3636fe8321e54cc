"""A project's data valuation: its current run's values, who the examples are, and a file of all."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from relabel.db.positions import PlacedExamples, read_placed
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.errors import RunFolderError
from relabel.exporters.csv import safe_cell
from relabel.runs.config import RunConfig
from relabel.runs.folder import RunFolder
from relabel.text import Layers
from relabel.valuation.groups import (
    Division,
    ValueGroup,
    group_all,
    group_by_class,
    group_by_correctness,
    group_chosen,
)
from relabel.valuation.values import Values, compute_values
from relabel.valuation.words import Explained
from relabel.workspace import find_program_name
from tracin_core.errors import InputError

Worth = Literal["harmful", "helpful"]
WORTHS: tuple[Worth, Worth] = ("harmful", "helpful")


class NoTestExamplesError(InputError):
    """The run has scored no test examples, which values are told by."""


class NoScoreVectorsError(RunFolderError):
    """The gradients of the predictions have not been computed for the run."""


@dataclass(frozen=True, kw_only=True)
class ValueQuery:
    """Which values are asked for.

    Attributes:
        by: How the test examples are divided into groups.
        label: Of the test examples that count alone, and are one group then; None for all.
        positions: Of test examples that count alone, likewise; empty for all.
        layers: Whose gradients; None for all where the run has them.
        explained: What is summed: the loss of the labels, or the score of the predicted class.
    """

    by: Division = "all"
    label: int | None = None
    positions: tuple[int, ...] = ()
    layers: Layers | None = None
    explained: Explained = "loss"


@dataclass(frozen=True, kw_only=True, eq=False)
class Valuation:
    """What a run's train examples are worth.

    Attributes:
        query: What was asked for, with the layers that were taken.
        config: The run's.
        train: Its train examples.
        values: Theirs.
    """

    query: ValueQuery
    config: RunConfig
    train: PlacedExamples
    values: Values

    @property
    def layers(self) -> Layers:
        """Return whose gradients were taken."""
        return self.query.layers or self.config.scored_layers[0]

    def find_strongest(self, group: int, worth: Worth, k: int) -> npt.NDArray[np.int64]:
        """Return positions of the k most harmful or most helpful train examples for a group.

        There are fewer where fewer have that sign.
        """
        totals = self.values.totals[:, group]
        signed = totals if worth == "harmful" else -totals
        order = np.argsort(signed, kind="stable")[:k]
        strongest: npt.NDArray[np.int64] = order[signed[order] < 0]
        return strongest


def compute_valuation(
    engine: Engine, project: Project, run: Run, folder: RunFolder, query: ValueQuery
) -> Valuation:
    """Compute what the train examples of a project's run are worth to its test examples.

    Args:
        engine: The database.
        project: The project.
        run: Its run.
        folder: The run's.
        query: Which values.

    Raises:
        NoTestExamplesError: If the run has scored no test examples.
        NoScoreVectorsError: If the predictions are to be explained, and no pass was made for it.
        InputError: If no test example is in a group, or there are too many groups.
        RunFolderError: If a file of the run is missing or damaged.
    """
    config = folder.read_config()
    layers = query.layers or config.scored_layers[0]
    query = ValueQuery(**{**vars(query), "layers": layers})
    test = open_test_vectors(folder, config, layers, query.explained)
    placed = read_placed(engine, project.id, run.id, "test", config.counts["test"])
    values = compute_values(
        folder.vectors(layers, "train"), test, choose_groups(project, placed, query)
    )
    train = read_placed(engine, project.id, run.id, "train", config.counts["train"])
    return Valuation(query=query, config=config, train=train, values=values)


def open_test_vectors(
    folder: RunFolder, config: RunConfig, layers: Layers, explained: Explained
) -> npt.NDArray[np.float32]:
    """Open the test examples' vectors of losses or of predicted scores, shape ``(M, D)``.

    Raises:
        NoTestExamplesError: If the run has scored no test examples.
        NoScoreVectorsError: If the predictions' have not been computed.
        RunFolderError: If the run has no such layers, or a file is missing or damaged.
    """
    if not config.counts["test"]:
        raise NoTestExamplesError(
            "This run has scored no test examples, and what a train example is worth is told by "
            "them. Import data with a test split, or with --test-share, and train again."
        )
    if explained == "loss":
        return folder.vectors(layers, "test")
    vectors = folder.score_vectors(layers)
    if vectors is None:
        raise NoScoreVectorsError(
            "The gradients of the predictions have not been computed for this run. Run "
            f"`{find_program_name()} value NAME --explain score`: it takes one pass over the test "
            "examples."
        )
    return vectors


def choose_groups(project: Project, test: PlacedExamples, query: ValueQuery) -> list[ValueGroup]:
    """Return the groups of test examples that are asked for.

    Raises:
        InputError: If a regression is to be divided by classes, or no test example is left.
    """
    count = len(test.ids)
    if query.positions:
        return group_chosen(query.positions, count)
    if project.task == "regression" and (query.by != "all" or query.label is not None):
        raise InputError(
            f"The project {project.slug} predicts a number, so its test examples have no classes. "
            "Ask for all of them, or name some by their keys."
        )
    if query.label is not None:
        name = project.classes[query.label]
        positions = np.flatnonzero(test.labels == query.label).tolist()
        if not positions:
            raise InputError(f"No test example is labelled {name}. Choose another class.")
        return group_chosen(positions, count, name)
    if query.by == "class":
        return group_by_class(test.labels, project.classes)
    if query.by == "correctness":
        return group_by_correctness(test.labels, test.predicted)
    return group_all(count)


def write_values(file: BinaryIO, project: Project, valuation: Valuation) -> None:
    """Write the values of all train examples as UTF-8 CSV, one a row, by position.

    Cells that a spreadsheet would run as a formula begin with an apostrophe.
    """
    wrapper = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(wrapper)
    values, train = valuation.values, valuation.train
    heads = [f"{what} {group.title}" for group in values.groups for what in ("total", "mean")]
    has_labels = project.task == "classification"
    writer.writerow(
        map(
            safe_cell,
            ["position", "key", *(["label"] if has_labels else []), "self_influence", *heads],
        )
    )
    means = values.means
    for place, key in enumerate(train.keys):
        label = [project.classes[train.labels[place]]] if has_labels else []
        pairs = zip(values.totals[place].tolist(), means[place].tolist(), strict=True)
        numbers = [number for pair in pairs for number in pair]
        own = float(values.self_influence[place])
        writer.writerow(map(safe_cell, [place, key, *label, own, *numbers]))
    wrapper.detach()  # flushes, and leaves the file to its owner
