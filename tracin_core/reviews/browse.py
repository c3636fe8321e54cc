"""Test examples, a page at a time, those the model is most wrong about first."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from tracin_core.reviews.database import reading
from tracin_core.reviews.examples import ExampleView, load_views
from tracin_core.reviews.paging import Page, count_rows_before
from tracin_core.reviews.run_rows import scoring_of
from tracin_core.reviews.schema import ExampleRow, PredictionRow


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
