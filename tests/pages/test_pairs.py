"""A pair of texts is shown by the names of its columns."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.registration import register_run
from relabel.importers.ingest.project import import_project
from relabel.importers.options import ImportOptions
from tests.relabel.exporters.test_pairs_back import write_pairs

SIZES = {"train": 7, "test": 2}


@pytest.fixture
def workspace(place, tmp_path, monkeypatch):
    """A workspace with a project of pairs, scored."""
    monkeypatch.setenv("TRACIN_WORKSPACE", str(place.root))
    monkeypatch.delenv("TRACIN_DATABASE_URL", raising=False)
    engine = open_database(place.database_url)
    import_project(engine, place, "mine", write_pairs(tmp_path / "p.jsonl"), ImportOptions())
    said = {
        split: (np.zeros(n, int), np.full(n, 0.7), np.full(n, 0.3)) for split, n in SIZES.items()
    }
    register_run(
        engine,
        get_project(engine, "mine").id,
        key="first",
        folder="runs/first",
        config={},
        checkpoints=[],
        scores={"self_influence": np.arange(SIZES["train"]) * 1.0},
        predictions=said,
    )
    engine.dispose()
    return place


def test_the_review_shows_both_texts_of_a_pair(open_review):
    sheet = open_review(project="mine").sheet
    assert sheet["text"].startswith("premise: ")
    assert "\n\nhypothesis: it " in sheet["text"]
    assert sheet["fields"] == []
