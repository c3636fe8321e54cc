"""JSON nested a hundred thousand deep, which Python's reader cannot follow, is damaged JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from relabel.demos.build import read_record
from relabel.fitting.saved import COURSE_FILE, NETWORK_FILE, list_trainings
from relabel.importers.detect import open_source
from relabel.importers.ingest.staging import STAGING, remove_leftovers
from relabel.importers.options import ImportOptions
from relabel.runs.shards import Journal
from relabel.training.storage import load_json
from relabel.workspace import Workspace, resolve_workspace
from tracin_core.checkpoints.formats import read_json
from tracin_core.errors import TracInError

DEEP = ['{"a":' * 100_000 + "1" + "}" * 100_000, "[" * 100_000]


@pytest.fixture(params=DEEP, ids=["objects", "lists"])
def deep(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return resolve_workspace(tmp_path)


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "dataset_dict.json"])
def test_a_saved_data_set_is_told(tmp_path, deep, name):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    (folder / "dataset_info.json").write_text("{}")
    (folder / name).write_text(deep)
    with pytest.raises(TracInError, match=name):
        open_source(folder, ImportOptions())


@pytest.mark.parametrize("read", [read_json, load_json])
def test_files_beside_checkpoints_and_trainings_are_told(tmp_path, deep, read):
    path = tmp_path / "trainer_state.json"
    path.write_text(deep)
    with pytest.raises(TracInError, match=r"trainer_state\.json cannot be read"):
        read(path)


def test_what_can_be_done_without_is_done_without(place, deep):
    project = place.project_folder("mine")
    training = project / "training" / "abc"
    training.mkdir(parents=True)
    (project / "demo.json").write_text(deep)
    (training / NETWORK_FILE).write_text(deep)
    (training / COURSE_FILE).write_text(deep)
    (project / STAGING).mkdir()
    (project / STAGING / "owner.json").write_text(deep)
    assert read_record(place, "mine") is None
    assert list_trainings(place, "mine") == []
    assert remove_leftovers(place, lambda slug: None) == ["mine"]
    journal = project / "journal.jsonl"
    journal.write_text(deep + "\n")
    assert Journal.resume(journal, "data") is None
