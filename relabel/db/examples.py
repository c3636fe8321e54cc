"""Examples: each with data, state, prediction and ranks; and how new ones are checked and added.

Here are the examples by id or position, and test examples a page at a time. The train examples
in the order of a ranking are the queue (`relabel.db.queue`); imports of any size go through
`relabel.db.bulk`, by the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    bindparam,
    func,
    insert,
    select,
    union_all,
)
from sqlalchemy.exc import IntegrityError

from relabel.db.engine import reading, reading_one_state, writing
from relabel.db.paging import Page, count_rows_before
from relabel.db.project_rules import Project, check_storable, project_in
from relabel.db.runs import NO_RUN, name_ranking, ranked_run_or_none, scoring_of
from relabel.db.schema import (
    ExampleRow,
    PredictionRow,
    ProjectRow,
    ScoreRow,
    effective,
    is_shown,
    label_of_example,
    status_of_example,
    value_of_example,
    version_of,
)
from relabel.errors import NotFoundError
from relabel.text import SPLITS, Split
from tracin_core.errors import InputError

# Values in one IN (...); SQLite allows 32,766 parameters a statement, older builds 999.
CHUNK = 500
# Rows sent to the database at a time; more gains nothing and holds more memory.
INSERT_CHUNK = 5000
# Largest id both databases take as a parameter; a larger one in a URL names nothing.
LARGEST_ID = 2**63 - 1
# Characters of a place: a path of many folders, and little beside the example itself.
LONGEST_PLACE = 1000
# One cell of a table's row.
FieldValue = float | int | str | None


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
        suggested_label: What models say that have not seen the example; None where none were
            asked.
        scores: By signal; empty without a run, and for a test example of a run that ranks none.
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
    suggested_label: int | None = None
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
            asked = {"project_id": project_id, "split": split, "positions": list(chunk)}
            views.update(_read_views(connection, _VIEWS_AT, run_id, asked))
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


def fetch_test_page(
    engine: Engine, run_id: int, *, page: int = 1, page_size: int = 50
) -> Page[ExampleView]:
    """Return test examples, the most wrongly predicted first.

    That is the least probable given label; for regression the given value that is furthest from
    the predicted one.

    Args:
        engine: The database.
        run_id: The run whose predictions order them.
        page: 1 is the first.
        page_size: Examples a page.

    Raises:
        InputError: If the page number or size is impossible.
    """
    first = count_rows_before(page, page_size)
    scored = (PredictionRow.scoring_id == scoring_of(run_id), ExampleRow.split == "test")
    join = PredictionRow.example_id == ExampleRow.id
    with reading(engine) as connection:
        total = connection.scalar(
            select(func.count()).select_from(ExampleRow).join(PredictionRow, join).where(*scored)
        )
        ids = list(
            connection.scalars(
                select(ExampleRow.id)
                .join(PredictionRow, join)
                .where(*scored)
                .order_by(
                    func.abs(ExampleRow.given_value - PredictionRow.predicted_value).desc(),
                    PredictionRow.given_probability,
                    ExampleRow.position,
                )
                .limit(page_size)
                .offset(first)
            )
        )
        views = load_views(connection, ids, run_id)
    return Page(rows=[views[one] for one in ids], total=total or 0)


# Built once: a screen asks for a dozen pictures, and building it took as long as the answer.
_MEDIA_LOCATION = (
    select(ProjectRow.slug, ExampleRow.media_path)
    .join(ExampleRow, ExampleRow.project_id == ProjectRow.id)
    .where(
        ExampleRow.id == bindparam("example_id", type_=BigInteger),
        ExampleRow.media_path.is_not(None),
        is_shown,
    )
)


_MEDIA_LOCATIONS = (
    select(ExampleRow.id, ProjectRow.slug, ExampleRow.media_path)
    .join(ProjectRow, ProjectRow.id == ExampleRow.project_id)
    .where(
        ExampleRow.id.in_(bindparam("example_ids", type_=BigInteger, expanding=True)),
        ExampleRow.media_path.is_not(None),
        is_shown,
    )
)


def media_location(engine: Engine, example_id: int) -> tuple[str, str] | None:
    """Return (project slug, media path) of an example, or None if it has no media or is unknown."""
    if not 0 < example_id <= LARGEST_ID:
        return None
    with reading(engine) as connection:
        row = connection.execute(_MEDIA_LOCATION, {"example_id": int(example_id)}).one_or_none()
    return None if row is None else (row.slug, str(row.media_path))


def media_locations(engine: Engine, example_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Return (project slug, media path) of each of some examples that has media, by id."""
    wanted = sorted({int(one) for one in example_ids if 0 < one <= LARGEST_ID})
    found: dict[int, tuple[str, str]] = {}
    with reading(engine) as connection:
        for chunk in _chunks(wanted):
            for row in connection.execute(_MEDIA_LOCATIONS, {"example_ids": list(chunk)}):
                found[row.id] = (row.slug, str(row.media_path))
    return found


def load_views(
    connection: Connection, example_ids: Sequence[int], run_id: int | None
) -> dict[int, ExampleView]:
    """Return the examples that exist, by id, without their ranks."""
    views: dict[int, ExampleView] = {}
    for chunk in _chunks([int(one) for one in example_ids if 0 < one <= LARGEST_ID]):
        views.update(_read_views(connection, _VIEWS_OF, run_id, {"example_ids": list(chunk)}))
    return views


def _select_views() -> Select[*tuple[Any, ...]]:
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
            PredictionRow.suggested_label,
        )
        .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
        .join(
            PredictionRow,
            and_(
                PredictionRow.example_id == ExampleRow.id,
                PredictionRow.scoring_id == scoring_of(bindparam("run_id", type_=BigInteger)),
            ),
            isouter=True,
        )
    )


# Made once: a review asks for them at every turn, and building took longer than the answer.
_VIEWS_OF = _select_views().where(
    ExampleRow.id.in_(bindparam("example_ids", type_=BigInteger, expanding=True))
)
_VIEWS_AT = _select_views().where(
    ExampleRow.project_id == bindparam("project_id"),
    ExampleRow.split == bindparam("split"),
    ExampleRow.position.in_(bindparam("positions", type_=BigInteger, expanding=True)),
)


def _read_views(
    connection: Connection,
    query: Select[*tuple[Any, ...]],
    run_id: int | None,
    asked: dict[str, Any],
) -> Iterator[tuple[int, ExampleView]]:
    for row in connection.execute(query, {**asked, "run_id": run_id or NO_RUN}):
        yield row.id, ExampleView(**row._mapping)


def _with_scores(
    connection: Connection, views: dict[int, ExampleView], run_id: int | None
) -> dict[int, ExampleView]:
    """Return the views with their ranks by each signal of the run."""
    run = ranked_run_or_none(connection, run_id)
    if run is None:
        return views
    scores: dict[int, dict[str, ScoreView]] = {example_id: {} for example_id in views}
    for split in SPLITS:
        ranked = run.of_split(split)
        names = {name_ranking(signal, split): signal for signal in ranked.signals}
        ids = [one for one, view in views.items() if view.split == split]
        for row in scores_of(connection, ids, run.scoring_id, list(names)):
            percentile = percentile_of(row.rank, ranked.num_ranked)
            scores[row.example_id][names[row.signal]] = ScoreView(row.value, row.rank, percentile)
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


@dataclass(frozen=True)
class NewExample:
    """An example to be added.

    Attributes:
        key: Name that stays the same when the data set is imported again.
        split: "train" or "test".
        position: 0-based index within the split: the row in every array of a run.
        given_label: Index into the project's classes; 0 for regression.
        text: The text of a text example.
        media_path: Path of an image, relative to the project's media folder, with "/".
        given_value: The number that the data claims, for regression only.
        fields: A table's row: column name to number, text or None, in the order of the columns.
        source_place: Where it is in the person's own data, in words or as a path there; None
            where that is not known.
    """

    key: str
    split: str
    position: int
    given_label: int = 0
    text: str | None = None
    media_path: str | None = None
    given_value: float | None = None
    fields: Mapping[str, FieldValue] | None = None
    source_place: str | None = None


def add_examples(engine: Engine, project_id: int, examples: Iterable[NewExample]) -> int:
    """Add examples to a project, all or none.

    Args:
        engine: The database.
        project_id: The project.
        examples: Read once, in chunks, so a generator over a large file is fine.

    Returns:
        How many were added.

    Raises:
        InputError: If an example is unusable, or its key or position is taken.
        NotFoundError: If there is no such project.
    """
    try:
        with writing(engine) as connection:
            count = insert_examples(connection, project_in(connection, project_id), examples)
    except IntegrityError as error:
        what = "position in a split" if "position" in str(error.orig) else "key"
        raise InputError(
            f"An example's {what} is taken: it occurs twice, or the project has it already. "
            "Expected every key once in a project and every position once in a split. Nothing "
            f"was added. (The database answered: {error.orig})"
        ) from error
    return count


def insert_examples(
    connection: Connection, project: Project, examples: Iterable[NewExample]
) -> int:
    """Add examples inside a transaction, and return how many.

    Raises:
        InputError: If an example is unusable.
        IntegrityError: If a key or position is taken.
    """
    count = 0
    for rows in rows_of(examples, project.id, ExampleRules(project)):
        connection.execute(insert(ExampleRow), rows)
        count += len(rows)
    return count


def rows_of(
    examples: Iterable[NewExample], project_id: int, rules: ExampleRules
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of examples in chunks, all of a chunk checked.

    Raises:
        InputError: If an example is unusable.
    """
    iterator = iter(examples)
    while chunk := list(islice(iterator, INSERT_CHUNK)):
        for example in chunk:
            rules.check(example)
        yield [_row(project_id, example) for example in chunk]


def _row(project_id: int, example: NewExample) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "key": example.key,
        "split": example.split,
        "position": int(example.position),
        "given_label": int(example.given_label),
        "text": example.text,
        "media_path": example.media_path,
        "given_value": None if example.given_value is None else float(example.given_value),
        "fields": None if example.fields is None else dict(example.fields),
        "source_place": example.source_place,
    }


class ExampleRules:
    """What an example of one project must be like."""

    def __init__(self, project: Project) -> None:
        """Read from the project what the rules depend on."""
        self._num_classes = len(project.classes)
        self._is_regression = project.task == "regression"
        columns = project.settings.get("columns", ())
        self._kinds = {column["name"]: column["kind"] for column in columns}

    def check(self, example: NewExample) -> None:
        """Check that an example can be added.

        Raises:
            InputError: If a value is unusable.
        """
        name = f"Example {example.key!r}"
        _check_place(example, name)
        if self._is_regression:
            _check_value(example, name)
        else:
            self._check_label(example, name)
        for value in (example.key, example.text, example.media_path, example.source_place):
            check_storable(value or "", name)
        if example.source_place is not None and len(example.source_place) > LONGEST_PLACE:
            raise InputError(
                f"{name} has a place in the data of {len(example.source_place):,} characters. "
                f"Expected at most {LONGEST_PLACE:,}: leave its beginning out."
            )
        if example.media_path is not None:
            _check_media_path(example.media_path, name)
        if example.fields is not None:
            self._check_fields(example.fields, name)

    def _check_label(self, example: NewExample, name: str) -> None:
        if not 0 <= example.given_label < self._num_classes:
            raise InputError(
                f"{name} has label {example.given_label}. Expected a class index from 0 to "
                f"{self._num_classes - 1}."
            )
        if example.given_value is not None:
            raise InputError(
                f"{name} has the value {example.given_value}. Expected a class index only: the "
                "project's task is classification."
            )

    def _check_fields(self, fields: Mapping[str, FieldValue], name: str) -> None:
        if self._kinds and fields.keys() != self._kinds.keys():
            odd = sorted(fields.keys() ^ self._kinds.keys())
            raise InputError(
                f"{name} has other columns than the project: {', '.join(map(repr, odd[:10]))}. "
                "Expected the same columns in every row; write None where a value is missing."
            )
        for column, value in fields.items():
            place = f"The column {column!r} of example {name.removeprefix('Example ')}"
            check_storable(column, place)
            if isinstance(value, str):
                check_storable(value, place)
            elif value is not None:
                _check_number(value, place)
            if isinstance(value, str) and self._kinds.get(column) == "number":
                raise InputError(
                    f"{place} holds the text {value[:80]!r}. Expected a number or None: the "
                    "project's column holds numbers."
                )


def _check_place(example: NewExample, name: str) -> None:
    if not example.key:
        raise InputError(
            f"The example at position {example.position} of the {example.split} split has an "
            "empty key. Expected a name of its own for each example."
        )
    if example.split not in SPLITS:
        raise InputError(f"{name} has the split {example.split!r}. Expected train or test.")
    if example.position < 0:
        raise InputError(f"{name} has position {example.position}. Expected 0 or more.")


def _check_value(example: NewExample, name: str) -> None:
    if example.given_value is None or not math.isfinite(example.given_value):
        raise InputError(
            f"{name} has the value {example.given_value}. Expected a finite number: the project's "
            "task is regression. Leave the example out or mend its number."
        )
    if example.given_label != 0:
        raise InputError(
            f"{name} has label {example.given_label}. Expected 0: for regression the value counts."
        )


def _check_number(value: object, place: str) -> None:
    """Check that a cell is a number that JSON and a 64-bit float can hold."""
    try:
        usable = isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        usable = False
    if not usable or isinstance(value, bool):
        raise InputError(
            f"{place} holds {str(value)[:80]} of the type {type(value).__name__}. Expected a "
            "finite number, a text or None."
        )


def _check_media_path(path: str, name: str) -> None:
    parts = path.split("/")
    if "\\" in path or ":" in path or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"{name} has the media path {path!r}. Expected a relative path inside the project's "
            "media folder, with '/' between folders and without '..', '\\' or ':'."
        )
