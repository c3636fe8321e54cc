"""All numbers of one signal at once, for those who compare signals rather than review."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Engine, select

from tracin_core.reviews.database import reading
from tracin_core.reviews.run_rows import Run
from tracin_core.reviews.schema import ExampleRow, ScoreRow

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
