"""A limit for the size of files, as `ulimit -f` and FAT32 set one, is named with the file."""

from __future__ import annotations

import csv
import errno
import os
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project, list_projects
from relabel.errors import WorkspaceError
from relabel.files import explain_disk_errors
from relabel.workspace import Workspace
from tests.preloaded import Preloaded
from tracin_core.files import atomic_file, naming

LIMITED = """
import resource, sys
sys.dont_write_bytecode = True  # a module cut off at the limit would stay
limit = int(sys.argv[1])
from relabel.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def run_limited(
    preloaded: Preloaded, place: Workspace, limit: int, *arguments: object
) -> CompletedProcess[str]:
    words = ("-c", LIMITED, str(limit), "--workspace", str(place.root), *map(str, arguments))
    # Nor do the processes that it starts keep modules that are cut off.
    return preloaded.run(*words, environment=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})


@pytest.fixture
def texts(place: Workspace) -> str:
    engine = open_database(place.database_url)
    project = create_project(engine, slug="texts", title="T", kind="text", classes=["a", "b"])
    add_examples(
        engine,
        project.id,
        [
            NewExample(f"{s}{n}", s, n, n % 2, text=f"text {n} " * 100)
            for s in ("train", "test")
            for n in range(400)
        ],
    )
    engine.dispose()
    return "texts"


@pytest.mark.parametrize("command", ["backup", "export"])
def test_what_is_written_anywhere_names_its_file_and_the_limit(
    preloaded, place, texts, tmp_path, command
):
    path = tmp_path / f"out.{'zip' if command == 'backup' else 'csv'}"
    limit = 2_000 if command == "backup" else 300_000
    done = run_limited(preloaded, place, limit, command, texts, "-o", path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"{path} cannot be written: File too large" in done.stderr
    assert f"limit of this process is {limit:,} bytes a file" in done.stderr
    assert "Raise the limit" in done.stderr
    assert not path.exists()
    assert list(tmp_path.glob(".*.tmp")) == []


def test_an_import_names_its_file_and_leaves_nothing(preloaded, place, tmp_path):
    table = tmp_path / "texts.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f"words {n} " * 200, "ab"[n % 2]] for n in range(300))
    done = run_limited(preloaded, place, 400_000, "import", "mine", table, "--yes")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "examples.jsonl: File too large (the limit of this process is 400,000" in done.stderr
    assert not list(place.root.glob("projects/mine/.import"))
    engine = open_database(place.database_url)
    assert list_projects(engine) == []
    engine.dispose()


def test_a_picture_that_is_too_large_is_named(preloaded, place, tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 255, (400, 400, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    done = run_limited(preloaded, place, 440_000, "import", "pets", tmp_path / "pictures", "--yes")
    assert done.returncode == 2
    assert ".png: File too large" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("limit", [60_000, 300_000])
def test_training_and_scoring_name_their_files(preloaded, place, texts, limit):
    done = run_limited(preloaded, place, limit, "train", texts, "--epochs", "2")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr or "its file is at this process's limit" in done.stderr
    assert f"{limit:,} bytes" in done.stderr


def test_without_a_limit_of_the_process_it_is_the_file_systems(tmp_path):
    path = tmp_path / "vectors.npy"
    with (
        pytest.raises(WorkspaceError, match=r"vectors\.npy: .*on FAT32 it is 4 GB"),
        explain_disk_errors(tmp_path),
        atomic_file(path),
    ):
        raise OSError(errno.EFBIG, "File too large")


@pytest.mark.parametrize(
    "words", ["Unable to write: File too large (27)", "Detail: [errno 27] File too large"]
)
def test_libraries_that_tell_it_in_words_are_understood(tmp_path, words):
    with (
        pytest.raises(WorkspaceError, match="Raise the limit"),
        explain_disk_errors(tmp_path),
        naming(tmp_path / "band.ann"),
    ):
        raise OSError(words)
