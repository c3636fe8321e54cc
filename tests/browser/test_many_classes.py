"""Classes that no digit names are found by typing, and the keys are given back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from scripts.serving import Server
from tests.browser.presses import wait_for_example, wait_until_answered
from tests.houses import run_command

pytestmark = pytest.mark.browser

NUM_CLASSES = 77


@pytest.fixture(scope="module")
def built_projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a table of 77 kinds, scored; never written by a test."""
    root = tmp_path_factory.mktemp("many")
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(NUM_CLASSES), 8)
    angle = 2 * np.pi * labels / NUM_CLASSES
    rows = pd.DataFrame(
        {
            "x": np.cos(angle) + draw.normal(0, 0.03, len(labels)),
            "y": np.sin(angle) + draw.normal(0, 0.03, len(labels)),
            "kind": [f"kind {label}" for label in labels],
        }
    )
    rows.to_csv(root / "kinds.csv", index=False)
    source = root / "kinds.csv"
    run_command(root, "import", "kinds", source, "--label", "kind", "--plant", "0.1", "--yes")
    run_command(root, "train", "kinds", "--epochs", "2", "--folds", "0")
    return root


def test_any_class_is_typed_and_the_next_key_decides(
    server: Server, page: Page, open_page: Callable[..., None]
):
    open_page(page, "/review?project=kinds")
    field = page.get_by_label("Class", exact=True)
    found = page.get_by_role("listbox").get_by_role("option")
    first = wait_for_example(page)
    page.keyboard.press("c")
    page.keyboard.type("kind")
    expect(page.get_by_text("more; type more of the name")).to_be_visible()
    assert found.count() == 8
    page.keyboard.type(" 7")
    # The name itself stands before longer ones that begin with it.
    expect(found.first).to_have_text("kind 7")
    page.keyboard.press("Enter")
    second = wait_for_example(page, other_than=first)
    expect(field).not_to_be_focused()
    page.keyboard.press("c")
    page.keyboard.type("kind 70")
    found.first.click()
    third = wait_for_example(page, other_than=second)
    page.keyboard.press("c")
    page.keyboard.type("no such kind")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No other class is named “no such kind”.")).to_be_visible()
    page.keyboard.press("x")
    wait_for_example(page, other_than=third)
    wait_until_answered(page)
    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        project = get_project(engine, "kinds")
        events = list(reversed(fetch_history(engine, project.id).rows))
    finally:
        engine.dispose()
    names = [None if one.new_label is None else project.classes[one.new_label] for one in events]
    assert [one.example_id for one in events] == [first, second, third]
    assert (names, events[2].action) == (["kind 7", "kind 70", None], "exclude")
