"""Examples that were imported before places were kept get theirs when they come again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sqlalchemy import Engine

from tracin_core.importing.storing import name_place
from tracin_core.reviews.grow import FoundPlace, fill_places, lacks_places
from tracin_core.sources import Source, SourceRecord
from tracin_core.work.progress import OnProgress, Progress

PLACING = "noting where the known examples are"
# Rows a transaction: short, so that a person's decision need not wait.
_CHUNK = 1000


def place_known(
    engine: Engine, project_id: int, source: Source, total: int, on_progress: OnProgress
) -> None:
    """Fill in the places of a project's examples that have none, by reading the data once more.

    Nothing else of them is touched, and a place that is known stays.

    Args:
        engine: The database.
        project_id: The project.
        source: The data.
        total: Examples in it.
        on_progress: Told after every chunk; what it raises ends the work, and what is filled in
            stays.
    """
    if not lacks_places(engine, project_id):
        return
    done = 0
    found = _find_places(source)
    while chunk := list(islice(found, _CHUNK)):
        fill_places(engine, project_id, chunk)
        done += len(chunk)
        on_progress(Progress(PLACING, min(done, total), total))


def _find_places(source: Source) -> Iterator[FoundPlace]:
    for record in source.records(check_pixels=0):
        if isinstance(record, SourceRecord):
            yield FoundPlace(record.key(), record.split, name_place(record))
