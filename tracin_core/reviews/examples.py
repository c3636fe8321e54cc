"""One example with everything known about it: data, state, prediction, ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, and_, select, union_all

from tracin_core.errors import NotFoundError
from tracin_core.reviews.database import reading, reading_one_state
from tracin_core.reviews.events import (
    effective,
    label_of_example,
    status_of_example,
    value_of_example,
    version_of,
)
from tracin_core.reviews.run_rows import scoring_of
from tracin_core.reviews.schema import (
    ExampleRow,
    PredictionRow,
    ProjectRow,
    RunRow,
    ScoreRow,
    is_shown,
)
from tracin_core.terms import Split

# Values in one IN (...); SQLite allows 32,766 parameters a statement, older builds 999.
CHUNK = 500
# Largest id both databases take as a parameter; a larger one in a URL names nothing.
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class ScoreView:
    """How suspect an example is by one signal.

    Attributes:
        value: The signal; high is suspect.
        rank: 1 is the most suspect of the train split.
        percentile: Share of the ranked examples that are not more suspect, in percent; see
            `percentile_of`.
    """

    value: float
    rank: int
    percentile: float


@dataclass(frozen=True)
class ExampleView:
    """An example as a screen shows it.

    Attributes:
        version: Number of the example's events; a decision must name it.
        last_decision_id: The effective decision, or None while there is none.
        fields: A table's row, in the order of its columns; None for other kinds.
        source_place: Where it is in the person's own data; None where that is not known.
        given_value: For regression the number that the data claims, current_value the one after
            all decisions, predicted_value the run's; None for classification. The labels are
            then 0 and mean nothing.
        scores: By signal; empty for a test example and without a run.
    """

    id: int
    project_id: int
    key: str
    split: Split
    position: int
    given_label: int
    text: str | None
    media_path: str | None
    current_label: int
    status: str
    version: int
    last_decision_id: int | None
    predicted_label: int | None
    predicted_probability: float | None
    given_probability: float | None
    fields: Mapping[str, float | str | None] | None = None
    source_place: str | None = None
    given_value: float | None = None
    current_value: float | None = None
    predicted_value: float | None = None
    scores: dict[str, ScoreView] = field(default_factory=dict)


def percentile_of(rank: int, num_ranked: int) -> float:
    """Return ``100 * (1 - (rank - 1) / N)``: rank 1 of N is 100, the last is ``100 / N``.

    It says that the example is at least as suspect as this share (percent) of all N.
    """
    return 100.0 * (num_ranked - rank + 1) / num_ranked


def get_example(engine: Engine, example_id: int, run_id: int | None) -> ExampleView:
    """Return one example with its prediction and ranks in a run.

    Raises:
        NotFoundError: If there is no such example.
    """
    with reading_one_state(engine) as connection:
        views = load_views(connection, [example_id], run_id)
        if not views:
            raise NotFoundError(
                f"Found no example with id {example_id}. Open one from the queue instead."
            )
        return _with_scores(connection, views, run_id)[example_id]


def find_by_positions(
    engine: Engine,
    project_id: int,
    run_id: int | None,
    split: str,
    positions: Iterable[int],
    *,
    with_scores: bool = False,
) -> list[ExampleView]:
    """Return the examples at these positions of a split, in the order given.

    Args:
        engine: The database.
        project_id: The project.
        run_id: The run whose predictions they have; None for none.
        split: The split.
        positions: May repeat.
        with_scores: Whether the run's scores and ranks are read as well.

    Raises:
        NotFoundError: If a position has no example.
    """
    wanted = [int(position) for position in positions]
    views: dict[int, ExampleView] = {}
    with reading(engine) as connection:
        for chunk in _chunks([one for one in wanted if 0 <= one <= LARGEST_ID]):
            query = _select_views(run_id).where(
                ExampleRow.project_id == project_id,
                ExampleRow.split == split,
                ExampleRow.position.in_(chunk),
            )
            views.update(_views_of(connection, query))
        if with_scores:
            views = _with_scores(connection, views, run_id)
    by_position = {view.position: view for view in views.values()}
    missing = [position for position in wanted if position not in by_position]
    if missing:
        raise NotFoundError(
            f"Found no example at position {missing[0]} of the {split} split. The run does "
            "not fit the project's data: score the project again."
        )
    return [by_position[position] for position in wanted]


def media_location(engine: Engine, example_id: int) -> tuple[str, str] | None:
    """Return (project slug, media path) of an example, or None if it has no media or is unknown."""
    if not 0 < example_id <= LARGEST_ID:
        return None
    with reading(engine) as connection:
        row = connection.execute(
            select(ProjectRow.slug, ExampleRow.media_path)
            .join(ExampleRow, ExampleRow.project_id == ProjectRow.id)
            .where(ExampleRow.id == int(example_id), ExampleRow.media_path.is_not(None), is_shown)
        ).one_or_none()
    return None if row is None else (row.slug, str(row.media_path))


def load_views(
    connection: Connection, example_ids: Sequence[int], run_id: int | None
) -> dict[int, ExampleView]:
    """Return the examples that exist, by id, without their ranks."""
    views: dict[int, ExampleView] = {}
    for chunk in _chunks([int(one) for one in example_ids if 0 < one <= LARGEST_ID]):
        query = _select_views(run_id).where(ExampleRow.id.in_(chunk))
        views.update(_views_of(connection, query))
    return views


def _select_views(run_id: int | None) -> Select[*tuple[Any, ...]]:
    """Return a query whose rows are the fields of `ExampleView`, without the scores."""
    return (
        select(
            *ExampleRow.__table__.c,
            label_of_example.label("current_label"),
            status_of_example.label("status"),
            version_of(ExampleRow.id).label("version"),
            effective.c.id.label("last_decision_id"),
            PredictionRow.predicted_label,
            PredictionRow.predicted_probability,
            PredictionRow.given_probability,
            value_of_example.label("current_value"),
            PredictionRow.predicted_value,
        )
        .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
        .join(
            PredictionRow,
            and_(
                PredictionRow.example_id == ExampleRow.id,
                PredictionRow.scoring_id == scoring_of(run_id),
            ),
            isouter=True,
        )
    )


def _views_of(
    connection: Connection, query: Select[*tuple[Any, ...]]
) -> Iterator[tuple[int, ExampleView]]:
    for row in connection.execute(query):
        yield row.id, ExampleView(**row._mapping)


def _with_scores(
    connection: Connection, views: dict[int, ExampleView], run_id: int | None
) -> dict[int, ExampleView]:
    """Return the views with their ranks by each signal of the run."""
    run = connection.execute(
        select(RunRow.signals, RunRow.num_ranked, RunRow.scoring_id).where(RunRow.id == run_id)
    ).one_or_none()
    if run is None:
        return views
    scores: dict[int, dict[str, ScoreView]] = {example_id: {} for example_id in views}
    for row in scores_of(connection, list(views), run.scoring_id, run.signals):
        percentile = percentile_of(row.rank, run.num_ranked)
        scores[row.example_id][row.signal] = ScoreView(row.value, row.rank, percentile)
    return {one: replace(view, scores=scores[one]) for one, view in views.items()}


def scores_of(
    connection: Connection, example_ids: Sequence[int], scoring_id: int, signals: Sequence[str]
) -> Iterator[Row[*tuple[Any, ...]]]:
    """Yield (example_id, signal, value, rank) where a scoring has ranked these examples.

    The outer join holds a planner without statistics to probing the index on (scoring, signal,
    example) for each example; for a plain IN, of examples or of signals, SQLite was seen to read
    the whole ranking. So there is a part for each signal, all in one statement.
    """
    if not signals:
        return
    for chunk in _chunks(example_ids, CHUNK // len(signals)):
        parts = [_select_scores(chunk, scoring_id, signal) for signal in signals]
        yield from connection.execute(union_all(*parts) if len(parts) > 1 else parts[0])


def _select_scores(
    example_ids: Sequence[int], scoring_id: int, signal: str
) -> Select[*tuple[Any, ...]]:
    of_signal = and_(
        ScoreRow.scoring_id == scoring_id,
        ScoreRow.signal == signal,
        ScoreRow.example_id == ExampleRow.id,
    )
    return (
        select(ExampleRow.id.label("example_id"), ScoreRow.signal, ScoreRow.value, ScoreRow.rank)
        .join(ScoreRow, of_signal, isouter=True)
        .where(ExampleRow.id.in_(example_ids), ScoreRow.rank.is_not(None))
    )


def _chunks(values: Sequence[int], size: int = CHUNK) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
