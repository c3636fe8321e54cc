"""Work in a process of its own: what it says comes back, and whatever it does, we go on."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from relabel.errors import NotFoundError
from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.importers.preview import (
    list_columns_apart,
    preview_apart,
    preview_from_json,
    preview_to_json,
)
from relabel.sandbox import (
    DEFAULT_BOUND,
    MEMORY_VARIABLE,
    limit_memory,
    memory_bound,
    resident_bytes,
    run_apart,
)
from tests.relabel.importers.builders import image_folder, pets
from tracin_core.errors import ConfigurationError, InputError

MEGABYTE = 2**20
COLUMNS = "relabel.importers.preview:list_columns_in_process"


def write_table(path: Path) -> Path:
    lines = [f"text number {n} of these,{'good' if n % 2 else 'bad'}" for n in range(20)]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return path


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_look_from_another_process_is_the_same_as_ours(tmp_path):
    path, options = write_table(tmp_path / "table.csv"), ImportOptions(label="label")
    assert preview_apart(path, options, rows=5).preview == open_source(path, options).preview(5)
    assert [column.name for column in list_columns_apart(path, options)] == ["text", "label"]


def test_a_preview_with_pictures_and_half_letters_comes_through_json(tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    (root / "cat" / "broken.png").write_bytes(b"no picture")
    found = open_source(root, ImportOptions()).preview(4)
    assert found.rows[0].image
    assert found.problems
    assert preview_from_json(json.loads(json.dumps(preview_to_json(found)))) == found


def test_an_error_keeps_its_class_and_its_words(tmp_path):
    with pytest.raises(InputError, match=r"missing\.csv does not exist"):
        preview_apart(tmp_path / "missing.csv", ImportOptions(), rows=1)
    growing = {"path": "x", "options": {"unknown": 1}}
    with pytest.raises(ConfigurationError, match="do not fit this version"):
        run_apart(COLUMNS, growing, what="x")
    answer = json.dumps({"error": "NotFoundError", "message": "gone"})
    with pytest.raises(NotFoundError, match="gone"):
        run_apart(COLUMNS, {}, what="x", program=python(f"print({answer!r})"))


def test_a_bug_surfaces_as_one():
    with pytest.raises(RuntimeError, match="KeyError"):
        run_apart(COLUMNS, {"path": "x"}, what="x")
    with pytest.raises(RuntimeError, match="no task of this program"):
        run_apart("os:getcwd", {}, what="x")


def test_data_that_needs_more_than_the_bound_is_told_with_the_way_out(tmp_path):
    path = tmp_path / "lists.jsonl"
    path.write_text('{"text": [' + "[]," * 2_000_000 + '[]], "label": "a"}\n')
    request = {"path": str(path), "options": {}}
    with pytest.raises(InputError, match=rf"lists\.jsonl needs more than .*{MEMORY_VARIABLE}="):
        run_apart(COLUMNS, request, what=str(path), bound=150 * MEGABYTE)


def test_a_process_that_takes_too_much_is_ended_where_the_system_keeps_no_limit(monkeypatch):
    monkeypatch.setattr("relabel.sandbox._LIBRARIES", 0)
    code = "import time; held = bytearray(b'x' * 300_000_000); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(InputError, match="the file needs more than"):
        run_apart(COLUMNS, {}, what="the file", bound=100 * MEGABYTE, program=python(code))
    assert time.monotonic() - started < 30


def test_a_file_that_crashes_its_reader_is_told_like_any_other():
    code = "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()"
    with pytest.raises(InputError, match=r"the file ended the process that read it \(SIGABRT\)"):
        run_apart(COLUMNS, {}, what="the file", program=python(code))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit that Linux keeps")
def test_a_block_may_take_its_bound_and_no_more():
    with limit_memory("the file", 200 * MEGABYTE):
        assert len(bytearray(100 * MEGABYTE)) == 100 * MEGABYTE
    with (
        pytest.raises(InputError, match=r"the file needs more than 0\.2 GB"),
        limit_memory("the file", 200 * MEGABYTE),
    ):
        bytearray(400 * MEGABYTE)
    assert len(bytearray(400 * MEGABYTE)) == 400 * MEGABYTE


def test_the_bound_is_said_in_gigabytes(monkeypatch):
    monkeypatch.delenv(MEMORY_VARIABLE, raising=False)
    assert 256 * MEGABYTE <= memory_bound() <= DEFAULT_BOUND
    monkeypatch.setenv(MEMORY_VARIABLE, "1.5")
    assert memory_bound() == 1536 * MEGABYTE
    for wrong in ("much", "0", "-1", "nan", "1e99"):
        monkeypatch.setenv(MEMORY_VARIABLE, wrong)
        with pytest.raises(ConfigurationError, match="Expected gigabytes"):
            memory_bound()


def test_the_memory_of_a_process_is_known_and_of_one_that_ended_nothing():
    assert resident_bytes(os.getpid()) > MEGABYTE
    assert resident_bytes(2**22 + 1) == 0
