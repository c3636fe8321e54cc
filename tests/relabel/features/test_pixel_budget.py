"""Pixels that are decoded at the same time are bounded, and small pictures do not wait."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from relabel.features.image import PixelBudget


def test_no_more_is_held_at_a_time_than_there_is():
    budget, lock = PixelBudget(100), threading.Lock()
    held, most = 0, 0

    def decode(pixels: int) -> None:
        nonlocal held, most
        with budget.reserve(pixels):
            with lock:
                held += min(pixels, 100)
                most = max(most, held)
            threading.Event().wait(0.001)
            with lock:
                held -= min(pixels, 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [30, 60, 500, 100, 1, 45] * 10))
    assert (held, most <= 100) == (0, True)


def test_what_fails_gives_its_room_back():
    budget = PixelBudget(10)
    for _ in range(3):
        try:
            with budget.reserve(10):
                raise ValueError
        except ValueError:
            continue
    with budget.reserve(10):
        pass
