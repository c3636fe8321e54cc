"""Queue, history and test examples refuse the same pages in the same words."""

from __future__ import annotations

import pytest

from relabel.db.decisions.history import fetch_history
from relabel.db.examples import fetch_test_page
from relabel.db.paging import LARGEST_PAGE, count_rows_before
from relabel.db.queue import fetch_page
from tests.relabel.db.builders import Scene
from tracin_core.errors import InputError


@pytest.mark.parametrize(("page", "size"), [(0, 50), (-1, 50), (1, 0), (1, LARGEST_PAGE + 1)])
def test_an_impossible_page_is_refused(scene: Scene, page: int, size: int) -> None:
    for fetch, number in (
        (fetch_page, scene.run.id),
        (fetch_test_page, scene.run.id),
        (fetch_history, scene.project.id),
    ):
        with pytest.raises(InputError, match=f"Found page {page} of {size} rows"):
            fetch(scene.engine, number, page=page, page_size=size)


def test_pages_follow_each_other(scene: Scene) -> None:
    assert [count_rows_before(page, 50) for page in (1, 2, 3)] == [0, 50, 100]
    assert count_rows_before(2, LARGEST_PAGE) == LARGEST_PAGE
    for size in (1, 2, 4):
        pages = [
            fetch_test_page(scene.engine, scene.run.id, page=p, page_size=size) for p in (1, 2)
        ]
        assert [len(page.rows) for page in pages] == [min(size, 3), max(0, min(size, 3 - size))]
        assert {page.total for page in pages} == {3}
