"""A small regression: made houses with a place, their prices, and some prices made wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from relabel.cli import main

ROWS = 400
SLUG = "houses"


def write_houses(path: Path) -> None:
    """Write a table whose prices depend on size, age and distance from the sea."""
    draw = np.random.default_rng(0)
    longitude, latitude = draw.uniform(-5, 5, ROWS), draw.uniform(40, 45, ROWS)
    rooms = draw.integers(1, 9, ROWS)
    age = draw.uniform(0, 80, ROWS).round(1)
    coast = np.where(longitude < -2, "sea", np.where(longitude < 2, "hills", "inland"))
    worth = {"sea": 90_000, "hills": 40_000, "inland": 0}
    price = 60_000 + 30_000 * rooms - 400 * age + np.array([worth[one] for one in coast])
    pd.DataFrame(
        {
            "longitude": longitude.round(3),
            "latitude": latitude.round(3),
            "rooms": rooms,
            "age": age,
            "coast": coast,
            "price": (price + draw.normal(0, 4_000, ROWS)).round(),
        }
    ).to_csv(path, index=False)


def build_houses(root: Path) -> None:
    """Import, train and score the houses with the commands that a person would use."""
    source = root / "houses.csv"
    write_houses(source)
    run_command(root, "import", SLUG, source, "--target", "price", "--plant", "0.1", "--yes")
    run_command(root, "train", SLUG, "--epochs", "6")


def run_command(workspace: Path, *words: object) -> None:
    """Run one command of the terminal, in this process."""
    assert main([*map(str, words), "--workspace", str(workspace)]) == 0
