"""No backup has an index: a restoration builds those of all runs that are whole."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import Any, cast

from relabel.jobs.tasks import TaskContext, _build_indexes
from relabel.triage.evidence import open_evidence
from relabel.workspace import Workspace
from tests.relabel.triage.test_evidence import run_folder  # noqa: F401 - a fixture


def test_a_restoration_builds_the_indexes_of_every_run_that_is_whole(
    run_folder,  # noqa: F811
    tmp_path,
    caplog,
):
    workspace = Workspace(tmp_path / "workspace", "sqlite://")
    runs = workspace.project_folder("digits") / "runs"
    for name in ("whole", "broken"):
        shutil.copytree(run_folder.root, runs / name)
        shutil.rmtree(runs / name / "index-all")
    (runs / "broken" / "vectors-all-train.npy").unlink()
    told = []
    assignment = TaskContext(
        engine=cast(Any, None),
        workspace=workspace,
        slug="digits",
        options={},
        on_progress=told.append,
    )
    _build_indexes(assignment, cast(Any, SimpleNamespace(slug="digits")))
    assert (runs / "whole" / "index-all" / "index.json").is_file()
    assert open_evidence(runs / "whole").index_fault("all") == ""
    assert "broken was not built" in caplog.text
    assert {report.stage for report in told} == {"building the indexes"}


def test_a_project_without_runs_needs_none(tmp_path):
    workspace = Workspace(tmp_path, "sqlite://")
    assignment = TaskContext(
        engine=cast(Any, None), workspace=workspace, slug="p", options={}, on_progress=print
    )
    _build_indexes(assignment, cast(Any, SimpleNamespace(slug="p")))
