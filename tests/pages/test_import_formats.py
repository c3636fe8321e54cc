"""The kinds of data that the page offers and takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from relabel.importers.formats.registry import IMPORTERS
from relabel.workspace import REPOSITORY_ROOT, Workspace, resolve_workspace
from tests.relabel.importers.formats.toy_format import added_importer, write_data


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, in which the box for imports is open."""
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "workspace"))
    made = resolve_workspace()
    made.prepare()
    return made


def what_is_offered(app):
    return next(one.value for one in app.caption if one.value.startswith("What can be imported"))


def choose_format(app):
    return next(one for one in app.selectbox if one.label == "Format")


def test_the_page_says_what_can_be_imported(open_app):
    offered = what_is_offered(open_app("projects"))
    for importer in IMPORTERS.values():
        assert importer.expected in offered


# What lies in a person's data is read by a process of its own, which has to know the format, too.
AT_THE_START = """
import sys
sys.path.append({root!r})
from relabel.importers import formats
from relabel.importers.formats.registry import load_importers
formats.__path__.append({folder!r})
load_importers(formats.__path__)
"""


def test_a_new_format_is_offered_read_and_described(open_app, tmp_path, monkeypatch):
    data = write_data(tmp_path / "reviews.ini")
    with added_importer(tmp_path):
        start = {"root": str(REPOSITORY_ROOT), "folder": str(tmp_path / "more_formats")}
        (tmp_path / "sitecustomize.py").write_text(AT_THE_START.format(**start))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        app = open_app("projects")
        assert "a file of sections (.ini)" in what_is_offered(app)
        app = app.segmented_control(key="import-place").set_value("upload").run()
        assert "ini" in app.get("file_uploader")[0].proto.label
        app = app.segmented_control(key="import-place").set_value("path").run()
        app = app.text_input(key="import-path").set_value(str(data)).run()
        assert not app.exception
        assert any("File of sections" in str(one) for one in choose_format(app).options)
        app = choose_format(app).set_value("ini").run()
        assert not app.exception
        assert not app.error
        shown = " ".join(one.value for one in (*app.caption, *app.markdown))
        assert "file of sections" in shown
