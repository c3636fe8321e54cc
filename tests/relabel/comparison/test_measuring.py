"""Methods run beside each other on a few dozen texts whose wrong labels are known."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from relabel.cli import main
from relabel.comparison.bench import pick_sides
from relabel.comparison.measure import compare_methods, draw_examples
from relabel.comparison.options import CompareOptions
from relabel.comparison.saved import read_comparison
from relabel.db.examples import NewExample, add_examples, find_by_positions
from relabel.db.runs import current_run, stream_scores
from relabel.errors import RunFolderError
from relabel.importers.ingest.truth import write_truth
from relabel.runs.folder import RunFolder
from relabel.scoring.project import score_project, train_project
from tests.relabel.scoring.small_projects import QUICK, make_texts, open_workspace
from tracin_core.errors import ConfigurationError

WRONG = (4, 9, 30, 51)
METHODS = ("tracincp", "last_checkpoint", "tracin_adam", "mean_loss", "learned", "random")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A scored project with a known truth; tests write nothing but comparisons into it."""
    engine, workspace = open_workspace(tmp_path_factory.mktemp("compared"))
    make_texts(engine, wrong=WRONG)
    keys = [f"train-{position}" for position in range(60)]
    path = workspace.truth_path("weather")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_truth(path, keys, np.arange(60) % 2)
    train_project(engine, workspace, "weather", QUICK)
    run = score_project(engine, workspace, "weather", replace(QUICK, layers="last"))
    yield engine, workspace, run, RunFolder(workspace.project_folder("weather") / run.folder)
    engine.dispose()


@pytest.fixture(scope="module")
def compared(scored):
    engine, workspace, *_ = scored
    options = CompareOptions(methods=METHODS, examples=3)
    return compare_methods(engine, workspace, "weather", options)


def test_scores_are_those_of_the_run_and_the_truth_judges_them(scored, compared):
    engine, _, run, _ = scored
    for name, signal in (("tracincp", "self_influence"), ("mean_loss", "mean_loss")):
        stored = np.zeros(60)
        for row in stream_scores(engine, run, signal):
            stored[row.position] = row.score
        assert compared.scores[name] == pytest.approx(stored, rel=1e-4)
    assert np.flatnonzero(compared.wrong).tolist() == list(WRONG)
    assert compared.curves["random"].area == pytest.approx(0.5)
    assert compared.curves["mean_loss"].area > 0.6


def test_what_fails_is_told_and_the_others_go_on(compared):
    reasons = {one.name: one.reason for one in compared.outcomes}
    assert "has no optimizer's state" in reasons["tracin_adam"]
    assert reasons["learned"].startswith("The run was not scored with it")
    assert set(compared.scores) == {"tracincp", "last_checkpoint", "mean_loss", "random"}


def test_each_method_tells_proponents_time_and_memory(compared):
    of_method = {one.name: one for one in compared.outcomes}
    for name in ("tracincp", "last_checkpoint"):
        assert set(of_method[name].sides) == set(compared.drawn)
        assert of_method[name].seconds > 0
        assert of_method[name].influence_seconds > 0
    assert of_method["mean_loss"].seconds is None
    titles, matrix = compared.agreement
    assert titles == ["TracInCP, equal rates", "TracIn, last checkpoint only"]
    assert np.diag(matrix).tolist() == [1, 1]
    assert compared.count_by_class(RunFolder(compared.folder.parent)).wrong.tolist() == [2, 2]


def test_another_example_is_explained_and_nothing_computed_twice(scored, compared):
    engine, workspace, run, folder = scored
    before = {path.name: path.stat().st_mtime_ns for path in compared.folder.glob("*c*p*.npy")}
    position = 7
    (view,) = find_by_positions(engine, run.project_id, run.id, "train", [position])
    options = CompareOptions(methods=METHODS[:2], examples=3, also=(view.id,))
    again = compare_methods(engine, workspace, "weather", options)
    sides = again.outcomes[0].sides
    assert set(sides) == {*compared.drawn, "train:7"}
    named = [
        one
        for pairs in (sides["train:7"].proponents, sides["train:7"].opponents)
        for one, _ in pairs
    ]
    assert named
    assert position not in named
    after = {path.name: path.stat().st_mtime_ns for path in compared.folder.glob("*c*p*.npy")}
    assert after == before
    assert read_comparison(folder).list_explained() == [
        *sorted(compared.drawn, key=lambda one: int(one.split(":")[1])),
        "train:7",
    ]


def test_the_command_prints_and_saves_what_was_found(scored, tmp_path, capsys):
    _, workspace, *_ = scored
    truth = tmp_path / "truth.csv"
    truth.write_text("key,true_label\ntrain-0,rain\ntrain-1,rain\ntrain-2,\ntrain-3,snow\n")
    words = ["--workspace", str(workspace.root), "compare", "weather", "--examples", "3"]
    words += ["--methods", "last_checkpoint,random", "--truth", str(truth)]
    assert main([*words, "--save", str(tmp_path / "saved"), "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["truth"].startswith("2 of 3 train labels are wrong by truth.csv. Of 57 more")
    assert [row["method"] for row in answer["methods"]] == ["last_checkpoint", "random"]
    saved = {path.name for path in (tmp_path / "saved").iterdir()}
    for name in ("curves", "classes", "agreement"):
        assert {f"{name}.{ending}" for ending in ("csv", "html", "svg", "png")} <= saved
    rows = list(csv.DictReader((tmp_path / "saved" / "methods.csv").read_text().splitlines()))
    assert float(rows[1]["area"]) == pytest.approx(0.5)
    assert main(words[:-2]) == 0
    assert "random" in capsys.readouterr().out
    assert main([*words, "--save", "x", "--background"]) == 2
    assert "expected one of them" in capsys.readouterr().err
    truth.write_text("name,label\na,b\n")
    assert main(words) == 2
    assert "the columns key" in capsys.readouterr().err


def test_a_damaged_comparison_says_what_to_do(scored, compared):
    (compared.folder / "random.json").write_text("{")
    with pytest.raises(RunFolderError, match="Delete that folder and compare again"):
        read_comparison(scored[3])


def test_an_unknown_method_and_changed_examples_are_refused(scored):
    engine, workspace, run, _ = scored
    with pytest.raises(ConfigurationError, match="no method or signal called 'shapley'"):
        compare_methods(engine, workspace, "weather", CompareOptions(methods=("shapley",)))
    new = NewExample(key="new", split="train", position=60, given_label=0, text="warm")
    add_examples(engine, run.project_id, [new])
    assert current_run(engine, run.project_id).id == run.id
    with pytest.raises(ConfigurationError, match="have changed since its run"):
        compare_methods(engine, workspace, "weather", CompareOptions(methods=("random",)))


def test_sides_leave_out_the_example_itself_and_what_has_no_say():
    sides = pick_sides(np.array([3, 0, -2, 1, -5], dtype=np.float32), itself=0)
    assert sides.proponents == ((3, 1.0),)
    assert sides.opponents == ((4, -5.0), (2, -2.0))


def test_more_drawn_examples_begin_with_the_fewer():
    counts = {"train": 9, "test": 5}
    assert draw_examples(counts, 9, 0)[:3] == draw_examples(counts, 3, 0)
    assert {split for split, _ in draw_examples({"train": 9, "test": 0}, 3, 0)} == {"train"}
