"""A project grows: what is there already, where new examples go, which classes come on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, Text, bindparam, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from tracin_core.errors import InputError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.project_rows import Project, project_in
from tracin_core.reviews.project_rules import check_classes
from tracin_core.reviews.schema import ExampleRow, ProjectRow
from tracin_core.reviews.scorings import PAUSE
from tracin_core.terms import SPLITS, Split

# Rows held in memory at a time.
CHUNK = 10_000


def read_keys(engine: Engine, project_id: int) -> dict[str, tuple[Split, int]]:
    """Return the split and position of every example by its key: about 200 bytes each."""
    return dict(stream_keys(engine, project_id))


def stream_keys(engine: Engine, project_id: int) -> Iterator[tuple[str, tuple[Split, int]]]:
    """Yield the key of every example with its split and position, in no order."""
    query = select(ExampleRow.key, ExampleRow.split, ExampleRow.position).where(
        ExampleRow.project_id == project_id
    )
    with reading(engine) as connection:
        for row in connection.execute(query.execution_options(yield_per=CHUNK)):
            yield row.key, (row.split, row.position)


class StoredAnswer(NamedTuple):
    """What a project has of one example: its answer, and its content if that was asked for."""

    id: int
    key: str
    split: Split
    label: int
    value: float | None
    text: str | None = None
    media_path: str | None = None
    fields: Mapping[str, Any] | None = None


def stream_answers(
    engine: Engine, project_id: int, *, with_content: bool = False
) -> Iterator[StoredAnswer]:
    """Yield what the project has of every example, in no order."""
    columns: list[InstrumentedAttribute[Any]] = [
        *(ExampleRow.id, ExampleRow.key, ExampleRow.split),
        *(ExampleRow.given_label, ExampleRow.given_value),
    ]
    if with_content:
        columns += [ExampleRow.text, ExampleRow.media_path, ExampleRow.fields]
    query = select(*columns).where(ExampleRow.project_id == project_id)
    with reading(engine) as connection:
        for row in connection.execute(query.execution_options(yield_per=CHUNK)):
            yield StoredAnswer(*row)


def read_keys_of(engine: Engine, ids: Sequence[int]) -> list[str]:
    """Return the keys of some examples, by their ids, in the same order."""
    query = select(ExampleRow.id, ExampleRow.key).where(ExampleRow.id.in_(ids))
    with reading(engine) as connection:
        keys = {row.id: row.key for row in connection.execute(query)}
    return [keys[one] for one in ids]


class FoundPlace(NamedTuple):
    """Where an example of the project is in the data; split: None where the data has none."""

    key: str
    split: Split | None
    place: str


def lacks_places(engine: Engine, project_id: int) -> bool:
    """Tell whether it is not known of some example where it is in the person's data."""
    query = select(ExampleRow.id).where(
        ExampleRow.project_id == project_id, ExampleRow.source_place.is_(None)
    )
    with reading(engine) as connection:
        return connection.scalar(query.limit(1)) is not None


def fill_places(engine: Engine, project_id: int, found: Sequence[FoundPlace]) -> None:
    """Note the places of examples that have none, in one transaction; of two the first counts.

    A place in one split is none of an example that stands in the other: of equal examples in
    both, the one for training was kept.
    """
    split = bindparam("in_split", type_=Text)
    statement = (
        update(ExampleRow)
        .where(
            ExampleRow.project_id == project_id,
            ExampleRow.key == bindparam("of_key", type_=Text),
            ExampleRow.source_place.is_(None),
            or_(split == "", ExampleRow.split == split),
        )
        .values(source_place=bindparam("found_place", type_=Text))
    )
    rows = [
        {"of_key": one.key, "in_split": one.split or "", "found_place": one.place} for one in found
    ]
    with writing(engine) as connection:
        connection.execute(statement, rows)
    time.sleep(PAUSE)


def next_positions(engine: Engine, project_id: int) -> dict[Split, int]:
    """Return for each split the position of the next new example: how many there are."""
    with reading(engine) as connection:
        # One probe of an index each, whatever the size.
        highest = {
            split: connection.scalar(
                select(func.max(ExampleRow.position)).where(
                    ExampleRow.project_id == project_id, ExampleRow.split == split
                )
            )
            for split in SPLITS
        }
    return {split: 0 if last is None else last + 1 for split, last in highest.items()}


def add_classes(engine: Engine, project_id: int, names: Iterable[str]) -> Project:
    """Append classes to a project; those it has keep their places, as labels are places.

    Args:
        engine: The database.
        project_id: The project.
        names: In the order in which they are to be appended; those it has already are left out.

    Raises:
        InputError: If a name is empty or cannot be stored, or the task is regression.
        NotFoundError: If there is no such project.
    """
    with writing(engine) as connection:
        # PostgreSQL: of two at once, the second one waits and then sees the first one's classes.
        connection.execute(
            select(ProjectRow.id).where(ProjectRow.id == project_id).with_for_update()
        )
        project = project_in(connection, project_id)
        if project.task == "regression":
            raise InputError(
                f"Found new classes for {project.slug!r}, whose task is regression. Expected "
                "numbers: import the data into a project of its own."
            )
        classes = list(dict.fromkeys([*project.classes, *names]))
        check_classes(classes)
        connection.execute(
            update(ProjectRow).where(ProjectRow.id == project_id).values(classes=classes)
        )
        return project_in(connection, project_id)
