"""The Runs page: what can be started, what is going on, what has been scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update
from streamlit.testing.v1 import AppTest

from relabel.db.examples import NewExample, add_examples
from relabel.db.jobs import claim_job, create_job, finish_job, get_job, heartbeat
from relabel.db.projects import create_project
from relabel.db.runs import current_run
from relabel.db.schema import JobRow
from relabel.workspace import resolve_workspace
from tests.relabel.db.builders import build_scene, score
from ui.runs.loss_curve import describe_epoch

BUILDING = "import torch\n\ndef build(num_classes):\n    return torch.nn.Linear(4, num_classes)\n"
NGRAMS = "Linear over words and pairs of words"
HEADS = ("Linear head on pretrained features", "Hidden layer on pretrained features")


def said(app: AppTest) -> str:
    """Return all that stands on the page as texts."""
    parts = (app.markdown, app.caption, app.text, app.error, app.warning, app.success, app.info)
    return "\n".join(str(item.value) for part in parts for item in part).replace("\\", "")


def keys(app: AppTest) -> set[str]:
    return {str(item.key) for item in app.button}


class TestOfTheDigits:
    """A project that was trained and scored."""

    def test_the_recommended_checkpoints_are_chosen_and_cost_is_said(self, open_app):
        app = open_app("runs", project="digits")
        assert not app.exception
        assert not app.error
        (choice,) = app.multiselect
        assert len(choice.value) == 8
        assert "1,797 examples at 8 checkpoints: about" in said(app)
        assert "Newest training: small cnn. Epoch 12 of 12" in said(app)
        assert "guessing reaches" in said(app)

    def test_another_choice_costs_less(self, open_app):
        app = open_app("runs", project="digits")
        (choice,) = app.multiselect
        app = choice.set_value(choice.value[:2]).run()
        assert "at 2 checkpoints" in said(app)
        assert not app.button(key="score-again").disabled

    def test_no_checkpoint_is_no_choice(self, open_app):
        app = open_app("runs", project="digits")
        app = app.multiselect[0].set_value([]).run()
        assert not app.exception
        assert "Choose at least one checkpoint" in said(app)
        assert "score-again" not in keys(app)

    def test_without_a_decision_there_is_nothing_to_score_again(self, open_app):
        app = open_app("runs", project="digits")
        assert app.button(key="rescore").disabled

    def test_the_run_stands_in_the_table(self, open_app):
        app = open_app("runs", project="digits")
        table = next(item.value for item in app.dataframe if "Checkpoints" in item.value)
        assert list(table["Model"]) == ["small cnn"]
        assert list(table["Train examples"]) == [1438]
        assert list(table["Learning rates"]) == ["ignored"]
        assert list(table["Search recall"]) == ["100%"]


class TestOfSmallProjects:
    """Projects whose rows are in the database, and no files."""

    @pytest.fixture
    def workspace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "workspace"))
        made = resolve_workspace()
        made.prepare()
        return made

    @pytest.fixture
    def untrained(self, engine) -> str:
        for kind in ("image", "text", "table"):
            create_project(engine, slug=kind, title=kind, kind=kind, classes=["a", "b"])
        return "text"

    @pytest.mark.parametrize(
        ("kind", "models"),
        [
            ("image", {"Small convolutional network", "ResNet-18", *HEADS}),
            ("text", {"Mean of word embeddings", "Small transformer", NGRAMS, *HEADS}),
            ("table", {"Multilayer perceptron"}),
        ],
    )
    def test_a_new_project_is_asked_to_train_with_models_of_its_kind(
        self, open_app, untrained, kind, models
    ):
        app = open_app("runs", project=kind)
        assert not app.exception
        always = {"By the data (suggested)", "My own network"}
        assert set(app.selectbox(key="train-model").options) == models | always
        assert app.button(key="start-training").label == "Train and score"
        assert "Nothing has been scored yet" in said(app)

    def test_pages_without_scores_lead_to_the_runs(self, open_app, untrained):
        app = open_app("queue", project="text")
        app = app.button(key="to-runs").click().run()
        assert app.title[0].value == "Runs"

    @pytest.mark.parametrize(
        ("state", "words", "label"),
        [
            ("running", "is being worked on (30% done)", "See how far it is"),
            ("failed", "the last work on it has failed", "Open Runs"),
            ("cancelled", "the last work on it was cancelled", "Open Runs"),
        ],
    )
    def test_why_there_are_no_scores_yet_is_said(
        self, open_app, engine, untrained, state, words, label
    ):
        job = create_job(engine, "text", "train")
        claim_job(engine, job.id)
        heartbeat(engine, job.id, progress=0.3, message="training", seconds_left=None)
        if state != "running":
            finish_job(engine, job.id, state, error="No." if state == "failed" else "")
        app = open_app("queue", project="text")
        assert not app.exception
        assert words in said(app)
        assert app.button(key="to-runs").label == label

    def test_scores_are_not_brought_up_twice(self, open_app, engine):
        scene = build_scene(engine)
        app = open_app("runs", project=scene.project.slug)
        assert app.button(key="rescore").disabled
        assert "nothing has been decided yet" in said(app)
        scene.decide(scene.by_rank(1), "keep")
        app = open_app("runs", project=scene.project.slug)
        assert app.button(key="rescore").disabled
        assert "every label is as it was" in said(app)
        scene.decide(scene.by_rank(2), "relabel", new_label=0)
        app = open_app("runs", project=scene.project.slug)
        assert not app.button(key="rescore").disabled
        score(engine, scene.project, 6, 3, key="second")
        app = open_app("runs", project=scene.project.slug)
        assert app.button(key="rescore").disabled

    def test_ones_own_network_is_run_only_when_agreed_to(self, open_app, untrained, tmp_path):
        file = tmp_path / "model.py"
        file.write_text(BUILDING)
        app = open_app("runs", project="text")
        app = app.selectbox(key="train-model").set_value("own").run()
        assert "start-training" not in keys(app)
        app = app.text_input(key="own-file").set_value(str(file)).run()
        assert "start-training" not in keys(app)
        (consent,) = app.checkbox
        assert "can do whatever the account" in consent.label
        app = consent.check().run()
        assert not app.exception
        assert app.button(key="start-training").label == "Train and score"
        app = app.text_input(key="own-checkpoints").set_value(str(tmp_path)).run()
        assert app.button(key="start-training").label == "Score"

    def test_a_changed_file_must_be_agreed_to_again(self, open_app, untrained, tmp_path):
        file = tmp_path / "model.py"
        file.write_text(BUILDING)
        app = open_app("runs", project="text")
        app = app.selectbox(key="train-model").set_value("own").run()
        app = app.text_input(key="own-file").set_value(str(file)).run()
        app = app.checkbox[0].check().run()
        file.write_text(BUILDING + "# and more\n")
        app = app.run()
        assert not app.checkbox[0].value
        assert "start-training" not in keys(app)

    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("gone.py", None, "does not exist"),
            ("weights.py", "x = 1\n", "defines no function"),
            ("model.txt", "text\n", "defines no function"),
        ],
    )
    def test_a_file_without_a_network_is_told(
        self, open_app, untrained, tmp_path, name, content, told
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        app = open_app("runs", project="text")
        app = app.selectbox(key="train-model").set_value("own").run()
        app = app.text_input(key="own-file").set_value(str(tmp_path / name)).run()
        assert not app.exception
        assert told in said(app)
        assert "start-training" not in keys(app)

    def test_a_job_at_work_is_shown_and_nothing_else_can_start(self, open_app, engine, untrained):
        job = create_job(engine, "text", "train")
        claim_job(engine, job.id)
        heartbeat(
            engine, job.id, progress=0.3, message="training (40% of this step)", seconds_left=130
        )
        app = open_app("runs", project="text")
        assert not app.exception
        (bar,) = app.get("progress")
        assert bar.proto.value == 30
        told = bar.proto.text.replace("\\", "")
        assert told == "30% of the whole · training (40% of this step) · about 2 min left"
        assert "The curve begins with the first epoch" in said(app)
        assert "start-training" not in keys(app)

    def test_cancel_is_asked_for_once(self, open_app, engine, untrained):
        job = create_job(engine, "text", "train")
        claim_job(engine, job.id)
        app = open_app("runs", project="text")
        app = app.button(key=f"cancel-{job.id}").click().run()
        assert get_job(engine, job.id).cancel_requested
        assert app.button(key=f"cancel-{job.id}").disabled

    def test_a_job_whose_process_died_is_found_and_said(self, open_app, engine, untrained):
        job = create_job(engine, "text", "train")
        claim_job(engine, job.id)
        with engine.begin() as connection:
            # No process has this number: it is beyond what Linux and macOS give.
            connection.execute(update(JobRow).where(JobRow.id == job.id).values(pid=99_999_999))
        app = open_app("runs", project="text")
        assert not app.exception
        assert get_job(engine, job.id).state == "failed"

    @pytest.mark.parametrize("state", ["failed", "cancelled"])
    def test_how_it_ended_is_said_with_the_way_to_go_on(self, open_app, engine, untrained, state):
        job = create_job(engine, "text", "train")
        claim_job(engine, job.id)
        error = "<b>The memory</b> ran out. Use a smaller batch size."
        finish_job(engine, job.id, state, error=error if state == "failed" else "")
        app = open_app("runs", project="text")
        assert not app.exception
        assert ("ran out" if state == "failed" else "was cancelled") in said(app)
        assert {f"retry-{job.id}", "start-training"} <= keys(app)

    def test_after_scoring_the_way_leads_to_the_review(self, open_app, engine):
        scene = build_scene(engine)
        job = create_job(engine, scene.project.slug, "rescore")
        claim_job(engine, job.id)
        finish_job(engine, job.id, "succeeded", result={"run": "first", "examples_computed": 3})
        app = open_app("runs", project=scene.project.slug)
        assert "3 examples were computed" in said(app)
        assert f"review-{job.id}" in keys(app)

    def test_another_run_is_shown(self, open_app, engine):
        scene = build_scene(engine)
        score(engine, scene.project, 6, 3, key="second")
        app = open_app("runs", project=scene.project.slug)
        table = next(item.value for item in app.dataframe if "Checkpoints" in item.value)
        assert list(table["Shown"]) == ["yes", ""]
        app = app.selectbox(key="other-run").set_value(scene.run.id).run()
        app = app.button(key="make-current").click().run()
        assert not app.exception
        assert current_run(engine, scene.project.id).id == scene.run.id

    def test_a_decision_lets_the_scores_be_brought_up(self, open_app, engine):
        scene = build_scene(engine)
        scene.decide(scene.by_rank(1), "relabel", new_label=0)
        app = open_app("runs", project=scene.project.slug)
        assert "1 relabelled and 0 excluded" in said(app)
        assert not app.button(key="rescore").disabled

    def test_examples_that_came_later_are_counted(self, open_app, engine):
        scene = build_scene(engine)
        later = [NewExample(f"later-{n}", "train", 6 + n, 0, text="new") for n in range(2)]
        add_examples(engine, scene.project.id, later)
        app = open_app("runs", project=scene.project.slug)
        assert not app.exception
        assert "2 train examples have come since" in said(app)
        assert not app.button(key="rescore").disabled


def test_an_epoch_is_described_in_the_words_of_its_task():
    assert (
        describe_epoch({"epoch": 3, "train_loss": 0.5, "test_accuracy": 0.913}, 12)
        == "Epoch 3 of 12 · train loss 0.5 · test accuracy 91%"
    )
    regression = {"epoch": 1, "train_loss": 0.5, "test_loss": 0.25, "test_rmse": 12345.6}
    assert describe_epoch(regression, 2).endswith("test loss 0.25 · typical test error 12,346")
