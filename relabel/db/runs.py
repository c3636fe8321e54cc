"""Runs as their rows hold them: which one the pages show, its rankings, its predictions.

`rank_scores` and `list_predictions` turn arrays into rows and check them; `stream_scores` gives
every number of one signal, for those who compare signals rather than review.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple, Self, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    bindparam,
    func,
    select,
    update,
)

from relabel.db.engine import reading, writing
from relabel.db.schema import SHOWN, CheckpointRow, ExampleRow, ProjectRow, RunRow, ScoreRow
from relabel.errors import NotFoundError
from relabel.runs.groups import GROUP_KINDS
from relabel.text import SPLITS, Split
from tracin_core.errors import InputError

# An id that no run and no scoring has; None would become IS NULL, which no index answers.
NO_RUN = 0


class Checkpoint(TypedDict):
    """One checkpoint of a run, as in ``run.json``."""

    file: str
    step: int
    epoch: float | None
    learning_rate: float | None
    train_loss: float | None
    test_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class RankedRun:
    """What a ranking needs to know of its run.

    Attributes:
        signals: Names by which the train examples are ranked.
        num_ranked: Train examples in each ranking.
        scoring_id: Under which its scores and predictions lie; another one after each
            registration, so that it also tells the numbers of one registration from the next's.
        test_signals: Names by which the test examples are ranked, among themselves; empty for a
            run of before there were such rankings.
        num_test_ranked: Test examples in each of these.
    """

    id: int
    project_id: int
    key: str
    signals: tuple[str, ...]
    num_ranked: int
    created_at: datetime
    scoring_id: int
    test_signals: tuple[str, ...] = ()
    num_test_ranked: int = 0

    def of_split(self, split: Split) -> Self:
        """Return the run with the rankings of a split in the place of the train split's."""
        if split == "train":
            return self
        return replace(self, signals=self.test_signals, num_ranked=self.num_test_ranked)


# Before the name of a signal, where it ranks the test examples.
_OF_TEST = "test:"
# Where a run's configuration names its rankings of the test examples.
TEST_QUEUE = "test_queue"


# Before the kind of a group, where the examples of groups are listed, one group after the other.
_OF_GROUP = "group:"
# Where a run's configuration says how many groups there are, and of how many examples.
GROUPS = "groups"


def name_group_ranking(kind: str, split: Split) -> str:
    """Return the name under which the groups of a kind are stored; the value is the number."""
    return name_ranking(f"{_OF_GROUP}{kind}", split)


def name_ranking(signal: str, split: Split) -> str:
    """Return the name under which a signal's ranking of a split is stored."""
    return signal if split == "train" else f"{_OF_TEST}{signal}"


@dataclass(frozen=True, kw_only=True)
class Run(RankedRun):
    """One training and scoring of a project.

    Attributes:
        folder: Relative to the project's folder: "runs/<key>".
        config: As in ``run.json``.
        checkpoints: In training order.
    """

    folder: str
    config: dict[str, Any]
    checkpoints: tuple[Checkpoint, ...]


def current_run(engine: Engine, project_id: int) -> Run | None:
    """Return the run that a project shows, or None before its first one."""
    is_shown = (RunRow.project_id == project_id, RunRow.is_current)
    with reading(engine) as connection:
        row = connection.execute(_select_runs().where(*is_shown)).one_or_none()
        return None if row is None else _run_of(connection, row)


def get_run(engine: Engine, run_id: int) -> Run:
    """Return a run by its id.

    Raises:
        NotFoundError: If there is none.
    """
    with reading(engine) as connection:
        return run_in(connection, run_id)


def run_in(connection: Connection, run_id: int) -> Run:
    """Return a run by its id, inside a transaction.

    Raises:
        NotFoundError: If there is none, or its project is being deleted.
    """
    row = connection.execute(_OF_ID, {"run_id": run_id}).one_or_none()
    return _run_of(connection, _check_shown(row, run_id))


def ranked_run_in(connection: Connection, run_id: int) -> RankedRun:
    """Return what a ranking needs of a run, inside a transaction; one statement.

    Raises:
        NotFoundError: If there is none, or its project is being deleted.
    """
    row = connection.execute(_OF_ID, {"run_id": run_id}).one_or_none()
    return RankedRun(**_ranking_of(_check_shown(row, run_id)))


def ranked_run_or_none(connection: Connection, run_id: int | None) -> RankedRun | None:
    """Return what a ranking needs of a run, shown or not; None where there is no such run."""
    row = connection.execute(_OF_ID, {"run_id": run_id}).one_or_none()
    return None if row is None else RankedRun(**_ranking_of(row))


def _select_runs() -> Select[*tuple[Any, ...]]:
    return select(*RunRow.__table__.c, ProjectRow.state.label("project_state")).join(
        ProjectRow, ProjectRow.id == RunRow.project_id
    )


# Made once: a review asks for them at every turn, and building took longer than the answer.
_OF_ID = _select_runs().where(RunRow.id == bindparam("run_id", type_=BigInteger))
_CHECKPOINTS = (
    select(CheckpointRow.__table__)
    .where(CheckpointRow.run_id == bindparam("run_id", type_=BigInteger))
    .order_by(CheckpointRow.number)
)


def _check_shown(row: Row[*tuple[Any, ...]] | None, run_id: int) -> Row[*tuple[Any, ...]]:
    if row is None or row.project_state != SHOWN:
        raise NotFoundError(f"Found no run with id {run_id}. Open the project's current run.")
    return row


def _ranking_of(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    names = ("id", "project_id", "key", "num_ranked", "created_at", "scoring_id")
    rankings = {"signals": tuple(row.signals), **read_test_queue(row.config)}
    return {**{name: getattr(row, name) for name in names}, **rankings}


def read_test_queue(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's configuration says of its rankings of the test examples.

    It may be of a backup that somebody wrote.
    """
    found = config.get(TEST_QUEUE)
    found = found if isinstance(found, dict) else {}
    signals, count = found.get("signals"), found.get("examples")
    named = isinstance(signals, list) and all(isinstance(one, str) for one in signals)
    if not (isinstance(signals, list) and named and isinstance(count, int) and count > 0):
        return {"test_signals": (), "num_test_ranked": 0}
    return {"test_signals": tuple(signals), "num_test_ranked": count}


@dataclass(frozen=True)
class GroupCounts:
    """How many groups of a kind a run has.

    Attributes:
        groups: In both splits together.
        examples: Of each split, how many are in one.
    """

    groups: int
    examples: Mapping[Split, int]


def read_group_counts(config: Mapping[str, Any]) -> dict[str, GroupCounts]:
    """Return what a run's configuration says of its groups, by kind; empty for an older run.

    It may be of a backup that somebody wrote.
    """
    found = config.get(GROUPS)
    counts: dict[str, GroupCounts] = {}
    for kind in GROUP_KINDS if isinstance(found, dict) else ():
        said = found.get(kind) if isinstance(found, dict) else None
        said = said if isinstance(said, dict) else {}
        numbers = [said.get(name) for name in ("groups", *SPLITS)]
        if not all(type(one) is int and one >= 0 for one in numbers):
            return {}
        groups, *examples = (int(one or 0) for one in numbers)
        counts[kind] = GroupCounts(groups, dict(zip(SPLITS, examples, strict=True)))
    return counts


def _run_of(connection: Connection, row: Row[*tuple[Any, ...]]) -> Run:
    """Return the run of a row, with its checkpoints, which are read here."""
    _check_shown(row, row.id)
    found = connection.execute(_CHECKPOINTS, {"run_id": row.id})
    checkpoints = tuple(
        Checkpoint(
            file=one.file,
            step=one.step,
            epoch=one.epoch,
            learning_rate=one.learning_rate,
            train_loss=one.train_loss,
            test_accuracy=one.test_accuracy,
        )
        for one in found
    )
    return Run(**_ranking_of(row), folder=row.folder, config=row.config, checkpoints=checkpoints)


def scoring_of(run_id: int | BindParameter[int] | None) -> ColumnElement[int]:
    """Return the id under which a run's scores and predictions lie, as a part of a query.

    It is found once a query, before its rows; without a run it is an id that nothing has.
    """
    wanted = NO_RUN if run_id is None else run_id
    found = select(RunRow.scoring_id).where(RunRow.id == wanted).scalar_subquery()
    return func.coalesce(found, NO_RUN)


def list_runs(engine: Engine, project_id: int, limit: int = 50) -> list[Run]:
    """Return a project's runs, the latest first."""
    query = (
        select(RunRow.id)
        .where(RunRow.project_id == project_id)
        .order_by(RunRow.created_at.desc(), RunRow.id.desc())
        .limit(limit)
    )
    with reading(engine) as connection:
        return [run_in(connection, run_id) for run_id in connection.scalars(query).all()]


def make_current(engine: Engine, project_id: int, run_id: int) -> Run:
    """Make another of a project's runs the one that its pages show.

    Decisions do not change: they name the run that they were made with.

    Args:
        engine: The database.
        project_id: The project.
        run_id: The run that is to be shown.

    Raises:
        NotFoundError: If the project has no such run.
    """
    with writing(engine) as connection:
        run = run_in(connection, run_id)
        if run.project_id != project_id:
            raise NotFoundError(
                f"The run {run.key} belongs to another project. Choose one of this project's runs."
            )
        # First off, then on: at no moment may two runs be current.
        connection.execute(
            update(RunRow).where(RunRow.project_id == project_id).values(is_current=False)
        )
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(is_current=True))
    return run


# (signal, rank, example id, value), as in the table `score` without its scoring.
ScoreValues = tuple[str, int, int, float]
# (example id, label, its probability, probability of the given label, value, suggested label), as
# in the table `prediction` without its scoring.
PredictionValues = tuple[int, int | None, float | None, float | None, float | None, int | None]

_CLASS_COLUMNS = ("predicted class", "predicted probability", "probability of the given label")
_SUGGESTED_COLUMN = "class that models suggest which have not seen the example"
_VALUE_COLUMNS = ("predicted value",)


def rank_scores(
    signal: str, scores: ArrayLike, ids: Sequence[int], split: Split = "train"
) -> Iterator[ScoreValues]:
    """Rank the examples of a split by one signal, the highest first.

    The numbers are checked at once, the rows made as they are asked for.

    Args:
        signal: The signal's name.
        scores: By position in the split, shape ``(N,)``; high is suspect.
        ids: Example ids by position, ``N`` of them.
        split: The split.

    Raises:
        InputError: If the length is wrong or a score is not finite.
    """
    values = _finite(scores, f"The signal {signal!r}")
    _check_length(f"The signal {signal!r}", len(values), split, len(ids))
    return _ranked(name_ranking(signal, split), values, ids)


def list_group_members(
    kind: str, split: Split, numbers: ArrayLike, ids: Sequence[int]
) -> Iterator[ScoreValues]:
    """List the examples of a split that are in groups of a kind, one group after the other.

    Args:
        kind: Of the groups.
        split: Of the examples.
        numbers: Group of each example, 0 for none, shape ``(N,)``.
        ids: Example ids by position, ``N`` of them.

    Raises:
        InputError: If the length is wrong.
    """
    found = np.asarray(numbers)
    _check_length(f"The groups {kind!r}", len(found), split, len(ids))
    return _members(name_group_ranking(kind, split), found, ids)


def _members(name: str, numbers: NDArray[Any], ids: Sequence[int]) -> Iterator[ScoreValues]:
    order = np.argsort(numbers, kind="stable")[int((numbers == 0).sum()) :]
    places = zip(order.tolist(), numbers[order].tolist(), strict=True)
    for rank, (position, number) in enumerate(places, start=1):
        yield name, rank, ids[position], float(number)


def list_predictions(
    split: str, arrays: Sequence[ArrayLike], ids: Sequence[int], task: str
) -> Iterator[PredictionValues]:
    """List what the run's last checkpoint says about the examples of a split.

    The numbers are checked at once, the rows made as they are asked for.

    Args:
        split: "train" or "test".
        arrays: For classification predicted class, its probability, probability of the given
            label and, where it is known, the class that models suggest which have not seen the
            example; for regression the predicted value only; each of shape ``(N,)``.
        ids: Example ids by position, ``N`` of them.
        task: "classification" or "regression".

    Raises:
        InputError: If an array is missing, a length is wrong or a number is not finite.
    """
    names = _VALUE_COLUMNS if task == "regression" else _CLASS_COLUMNS
    if task != "regression" and len(arrays) > len(names):
        names = (*names, _SUGGESTED_COLUMN)
    if len(arrays) != len(names):
        raise InputError(
            f"Found {len(arrays)} arrays of predictions ({split}). Expected {len(names)} for "
            f"{task}: {', '.join(names)}."
        )
    columns = [
        _finite(array, f"{name} ({split})") for array, name in zip(arrays, names, strict=True)
    ]
    for column, name in zip(columns, names, strict=True):
        _check_length(f"The {name}", len(column), split, len(ids))
    if task == "regression":
        return _value_rows(ids, columns[0])
    return _class_rows(ids, columns)


def _ranked(
    signal: str, values: NDArray[np.float64], train_ids: Sequence[int]
) -> Iterator[ScoreValues]:
    # Stable, so that equal scores are ranked by position and a rescore keeps their order.
    order = np.argsort(-values, kind="stable")
    places = zip(order.tolist(), values[order].tolist(), strict=True)
    for rank, (position, value) in enumerate(places, start=1):
        yield signal, rank, train_ids[position], value


def _class_rows(
    ids: Sequence[int], columns: Sequence[NDArray[np.float64]]
) -> Iterator[PredictionValues]:
    rows: Iterator[Any] = zip(ids, *(column.tolist() for column in columns), strict=True)
    for example_id, label, probability, given, *suggested in rows:
        told = int(suggested[0]) if suggested else None
        yield example_id, int(label), probability, given, None, told


def _value_rows(ids: Sequence[int], values: NDArray[np.float64]) -> Iterator[PredictionValues]:
    for example_id, value in zip(ids, values.tolist(), strict=True):
        yield example_id, None, None, None, value, None


def _finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{name} has the shape {array.shape}. Expected one number an example.")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise InputError(
            f"{name} is {array[bad[0]]} at position {bad[0]} ({bad.size} such values). Expected "
            "finite numbers: look at that example and score again."
        )
    return array


def _check_length(name: str, found: int, split: str, expected: int) -> None:
    if found != expected:
        raise InputError(
            f"{name} has {found} values. Expected {expected}, one for each example of the "
            f"{split} split: score the project again."
        )


# Rows held in memory at a time.
_CHUNK = 10_000


class ScoredExample(NamedTuple):
    """A train example with its number.

    Attributes:
        given_value: For regression; else None.
        score: High is suspect.
    """

    position: int
    key: str
    given_label: int
    given_value: float | None
    score: float


def stream_scores(engine: Engine, run: Run, signal: str) -> Iterator[ScoredExample]:
    """Yield every train example of a run with its number, in no order."""
    query = (
        select(
            ExampleRow.position,
            ExampleRow.key,
            ExampleRow.given_label,
            ExampleRow.given_value,
            ScoreRow.value,
        )
        .join(ExampleRow, ExampleRow.id == ScoreRow.example_id)
        .where(ScoreRow.scoring_id == run.scoring_id, ScoreRow.signal == signal)
    )
    with reading(engine) as connection:
        for row in connection.execute(query.execution_options(yield_per=_CHUNK)):
            yield ScoredExample(*row)
