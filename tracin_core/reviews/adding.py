"""Examples enter a project: in chunks, in one transaction, all or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, insert
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import InputError
from tracin_core.reviews.database import writing
from tracin_core.reviews.example_rules import ExampleRules, NewExample
from tracin_core.reviews.project_rows import Project, project_in
from tracin_core.reviews.schema import ExampleRow

# Rows sent to the database at a time; more gains nothing and holds more memory.
CHUNK = 5000


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
    while chunk := list(islice(iterator, CHUNK)):
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
