"""The report replaces the parts of its page and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.report import PAGE, PARTS, fill


def test_every_part_has_its_place_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for part in PARTS:
        assert "| new |" in fill(page, part, "| new |")


def test_a_part_is_replaced_and_the_rest_stays() -> None:
    page = "a\n<!-- begin queue -->\nold\n<!-- end queue -->\nb\n"
    once = fill(page, "queue", "new")
    assert once == "a\n<!-- begin queue -->\n\nnew\n\n<!-- end queue -->\nb\n"
    assert fill(once, "queue", "new") == once


def test_a_part_without_a_place_is_named() -> None:
    with pytest.raises(ValueError, match="no part 'queue'"):
        fill("nothing", "queue", "new")
