"""A new kind of model is one file, and takes part."""

from __future__ import annotations

from relabel.crossval import candidates, registry
from relabel.crossval.run import cross_validate
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import read_project
from relabel.runs.held_out import read_summary
from tests.new_modules import added_module
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_projects import open_workspace

SOURCE = """
import numpy as np
from relabel.crossval.registry import Candidate, register_candidate


def guess(fold):
    counts = np.bincount(fold.targets[fold.learned], minlength=fold.num_classes) + 1.0
    return np.tile(np.log(counts / counts.sum()), (len(fold.asked), 1))


register_candidate(
    Candidate(
        name="toy_guess",
        title="The most frequent class",
        kinds=("text",),
        tasks=("classification",),
        reads="words",
        fit_predict=guess,
        estimate=lambda size: 0.0,
    )
)
"""


def test_a_kind_of_model_of_one_file_takes_part(tmp_path):
    path = tmp_path / "toy_guess.py"
    path.write_text(SOURCE, "utf-8")
    engine, workspace = open_workspace(tmp_path / "work")
    project = small_projects.make_texts(engine)
    before = {one.name for one in registry.list_candidates("text", "classification")}
    table = registry._CANDIDATES
    with added_module(candidates, registry.load_candidates, table, path):
        examples = read_project(engine, project, workspace.media_folder(project.slug))
        own = workspace.project_folder(project.slug)
        folder = cross_validate(own, project, examples, WorkOptions(folds=2))
        found = {one.name: one for one in read_summary(folder).candidates}
        # Of texts there are features only where word vectors are installed.
        assert {name for name in before if "features" not in name} < set(found)
        assert found["toy_guess"].weight == 0
        assert found["toy_guess"].agreement <= 0.6
    assert {one.name for one in registry.list_candidates("text", "classification")} == before
    engine.dispose()
