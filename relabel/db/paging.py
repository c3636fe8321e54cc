"""A page of a long list: its rows, and how many there are in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from tracin_core.errors import InputError

T = TypeVar("T")

LARGEST_PAGE = 1000  # rows; more than a screen can show


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows of one page, and how many the filter lets through in all."""

    rows: list[T]
    total: int


def count_rows_before(page: int, page_size: int) -> int:
    """Return how many rows come before a page.

    Args:
        page: From 1.
        page_size: Rows a page.

    Raises:
        InputError: If the page number or size is impossible.
    """
    if page < 1 or not 1 <= page_size <= LARGEST_PAGE:
        raise InputError(
            f"Found page {page} of {page_size} rows. Expected a page from 1 and 1 to "
            f"{LARGEST_PAGE} rows: go to the first page."
        )
    return (page - 1) * page_size
