"""What models that have not seen an example say: on Runs, Review, Inspect, in lists and files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from sqlalchemy import update

from relabel.cli import main
from relabel.db.decisions.history import fetch_history
from relabel.db.engine import writing
from relabel.db.examples import find_by_positions, get_example
from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.db.schema import RunRow
from relabel.doctor import diagnose
from relabel.export import export_labels
from relabel.fitting.options import WorkOptions
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import (
    PREDICTIONS_FILE,
    CandidateResult,
    HeldOutOpinion,
    HeldOutSummary,
    open_of_run,
    write_held_out,
)
from relabel.scoring.project import score_project, train_project
from relabel.workspace import Workspace, resolve_workspace
from tests.pages.review_screen import ReviewScreen
from tests.relabel.scoring import small_projects
from ui.inspect.unseen import Suggested, UnseenAnswer, choose_suggested
from ui.inspect.words import MARKING
from ui.runs.held_out import HEADING, NOT_ASKED

WRONG = 3  # position of the text whose label the models doubt
DEAR = 5  # position of the house whose number they doubt
NOTE = "The class sun has fewer examples than folds."


def summarise(count: int, network: str) -> HeldOutSummary:
    kinds = [
        CandidateResult(
            name="words",
            title="Linear over words",
            agreement=0.62,
            loss=0.9,
            seconds=2.0,
            weight=0.75,
            network=network,
        ),
        CandidateResult(
            name="bayes", title="Naive Bayes", agreement=0.6, loss=1.0, seconds=0.5, weight=0.25
        ),
    ]
    return HeldOutSummary(
        candidates=tuple(kinds),
        agreement=0.625,
        folds=5,
        repeats=2,
        num_examples=count,
        num_test=7,
        network=network,
        features="wordllama",
        notes=(NOTE,),
        seconds=2.5,
    )


def prepare(engine, workspace, project, network: str, found: np.ndarray) -> None:
    """Train a moment, and score with the predictions of a cross-validation that are given."""
    work = WorkOptions(epochs=2, folds=0, model=network)
    training = train_project(engine, workspace, project.slug, work)
    write_held_out(training, summarise(len(found), network), found)
    score_project(engine, workspace, project.slug, work)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Texts and houses, each with a cross-validation; never written by a test."""
    root = tmp_path_factory.mktemp("unseen")
    engine, workspace = small_projects.open_workspace(root)
    texts = small_projects.make_texts(engine, train=24, test=8, wrong=(WRONG,))
    given = np.arange(24) % 2
    found = np.where(given[:, None] == np.arange(2), 0.8, 0.2)
    found[WRONG] = [0.1, 0.9]  # it is given as "sun" and is about rain
    prepare(engine, workspace, texts, "ngram_linear", found)
    houses = small_projects.make_houses(engine, train=30, test=8)
    prepare(engine, workspace, houses, "mlp", np.full(30, 123_456.0))
    engine.dispose()
    return root


@pytest.fixture
def workspace(prepared, tmp_path, monkeypatch) -> Workspace:
    root = tmp_path / "workspace"
    shutil.copytree(prepared, root)
    monkeypatch.setenv("TRACIN_WORKSPACE", str(root))
    return resolve_workspace()


def read_page(app) -> str:
    assert not app.exception
    parts = (app.markdown, app.caption, app.error, app.warning, app.info, app.header)
    return "\n".join(str(item.value) for part in parts for item in part).replace("\\", "")


def find_view(engine, slug: str, position: int):
    project = get_project(engine, slug)
    run = current_run(engine, project.id)
    (found,) = find_by_positions(engine, project.id, run.id, "train", [position])
    return get_example(engine, found.id, run.id)


def find_folder(engine, workspace, slug: str) -> Path:
    run = current_run(engine, get_project(engine, slug).id)
    return workspace.project_folder(slug) / run.folder


def change_config(engine, slug: str, **changes) -> None:
    run = current_run(engine, get_project(engine, slug).id)
    config = {name: value for name, value in {**run.config, **changes}.items() if value is not None}
    with writing(engine) as connection:
        connection.execute(update(RunRow).where(RunRow.id == run.id).values(config=config))


def test_runs_compares_the_kinds_of_models(open_app, engine):
    change_config(engine, "weather", seen_agreement=0.97)
    app = open_app("runs", project="weather")
    shown = read_page(app)
    assert HEADING in shown
    assert "The network has learned labels by heart" in shown
    assert "predicts 97% of the train labels as given" in shown
    assert "have not seen them agree with 62%" in shown
    assert "Linear over words and pairs of words; of the kinds of models that are networks" in shown
    assert "24 train examples and 7 test examples, whose labels they learn from, too," in shown
    assert "in 5 folds, cut 2 times; features by wordllama" in shown
    assert NOTE in shown
    assert [one.value for one in app.metric if one.label.startswith("The network,")] == ["97%"]
    assert [one.value for one in app.metric if one.label.startswith("Models that have not")] == [
        "62%"
    ]
    table = next(one.value for one in app.dataframe if "Kind of model" in one.value)
    assert list(table["Kind of model"]) == ["Linear over words", "Naive Bayes", "All together"]
    assert list(table["For TracIn"]) == ["explained here", "", ""]
    assert list(table["Part in the suspicion"]) == ["75%", "25%", "100%"]


def test_a_network_that_somebody_asked_for_is_told_from_the_best(open_app, engine):
    change_config(engine, "weather", model={"name": "small_transformer"}, seen_agreement=0.7)
    shown = read_page(open_app("runs", project="weather"))
    assert "Small transformer, as was asked for" in shown
    assert "Linear over words and pairs of words agrees most" in shown
    assert "by heart" not in shown


def test_a_run_without_a_comparison_says_so_and_the_way_out(
    open_app, open_review, engine, workspace
):
    folder = find_folder(engine, workspace, "weather")
    for path in folder.glob("held_out*"):
        path.unlink()
    change_config(engine, "weather", held_out=None)
    assert NOT_ASKED in read_page(open_app("runs", project="weather"))
    view = find_view(engine, "weather", WRONG)
    shown = open_review(project="weather", example=str(view.id)).words()
    assert "Models that have not seen it" not in shown
    assert "M take the model’s label" in shown
    if view.predicted_label != view.given_label:
        assert "No models were asked that have not seen the example" in shown


def test_the_review_suggests_what_models_say_that_have_not_seen_it(open_review, engine):
    view = find_view(engine, "weather", WRONG)
    screen = open_review(project="weather", example=str(view.id))
    shown = screen.words()
    said = "Models that have not seen it say **rain** 90% (then sun 10%); the given label has 10%."
    assert said in shown
    assert ("They disagree: " in shown) == (view.predicted_label == view.given_label)
    assert "M take the suggested label" in shown
    assert MARKING in shown  # by a network over words and pairs of words
    button = screen.choices["model"]
    assert (button["label"], button["first"]) == ("Suggested: rain", True)
    screen.press("model")
    event = fetch_history(engine, view.project_id).rows[0]
    assert (event.action, event.new_label) == ("relabel", 1)


def test_the_review_says_where_they_agree_with_the_given_label(open_review, engine):
    view = find_view(engine, "weather", 0)
    screen = open_review(project="weather", example=str(view.id))
    shown = screen.words()
    assert "Models that have not seen it say the given label, **sun** 80% (then rain 20%)." in shown
    assert ("They disagree: the network says rain" in shown) == (view.predicted_label == 1)
    assert ("the others say the given one" in shown) == (view.predicted_label == 1)
    # Then the network's answer is one press, and the given one the likelier.
    assert [name for name, one in screen.choices.items() if one["first"]] == ["keep"]


def test_the_review_of_a_number_suggests_theirs(open_review, engine):
    view = find_view(engine, "houses", DEAR)
    screen = open_review(project="houses", example=str(view.id))
    assert "Models that have not seen it say **123,456**" in screen.words()
    assert screen.choices["model"]["label"] == "Suggested: 123,456"
    screen.press("model")
    assert fetch_history(engine, view.project_id).rows[0].new_value == 123_456


def test_inspect_shows_it_too_and_not_for_test_examples(open_app, engine):
    view = find_view(engine, "weather", WRONG)
    shown = read_page(open_app("inspect", project="weather", example=str(view.id)))
    assert "Models that have not seen it say **rain** 90%" in shown
    run = current_run(engine, view.project_id)
    (tested,) = find_by_positions(engine, view.project_id, run.id, "test", [WRONG])
    shown = read_page(open_app("inspect", project="weather", example=str(tested.id)))
    assert "Models that have not seen it" not in shown


def test_a_damaged_file_is_told_and_decisions_go_on(open_review, engine, workspace):
    path = find_folder(engine, workspace, "weather") / PREDICTIONS_FILE
    path.write_bytes(path.read_bytes()[:-40])
    view = find_view(engine, "weather", WRONG)
    screen = open_review(project="weather", example=str(view.id))
    assert "The out-of-fold predictions in" in screen.words()
    screen.press("keep")
    assert fetch_history(engine, view.project_id).rows[0].action == "keep"
    found = [one.text for one in diagnose(workspace) if one.level == "broken"]
    assert any("The out-of-fold predictions in" in one for one in found)


def test_the_queue_says_what_its_signal_is(open_app):
    app = open_app("queue", project="weather")
    assert app.selectbox(key="signal").value == "suspicion"
    assert "It fails where whole groups are labelled wrong alike" in read_page(app)
    app.selectbox(key="signal").set_value("test_opposition").run()
    assert "the list of recurring opponents" in read_page(app)


def test_the_queue_is_narrowed_by_what_they_suggest_and_the_review_with_it(open_app, engine):
    app = open_app("queue", project="weather", differs="true", suggested="rain")
    assert not app.exception
    assert "1 example, " in read_page(app)
    assert "have not seen the example" in app.toggle(key="differs").help
    assert "the run's network" in app.toggle(key="disagrees").help
    (link,) = app.get("link_button")
    review = open_app("review", **parse_qs(urlsplit(link.proto.url).query))
    assert review.expander[0].label.endswith("2 filters on")
    view = find_view(engine, "weather", WRONG)
    assert ReviewScreen(review).sheet["id"] == view.id
    app.toggle(key="differs").set_value(False)
    assert "12 examples, " in read_page(app.multiselect(key="suggested").set_value(["sun"]).run())


def test_a_run_of_before_offers_the_networks_labels_and_says_the_way_to_the_others(
    open_app, engine
):
    change_config(engine, "weather", suggests_labels=None)
    app = open_app("queue", project="weather", differs="true")
    assert "24 examples, " in read_page(app)
    assert [one.key for one in app.toggle] == ["disagrees"]
    assert "once the project is scored again" in app.toggle(key="disagrees").help
    (link,) = app.get("link_button")
    assert "differs" not in link.proto.url


def test_the_queue_in_the_terminal_has_them(workspace, capsys):
    assert main(["queue", "weather", "--format", "json", "--top", "24"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)["suspects"]}
    (doubted,) = [row for row in rows.values() if row["suggested"] != row["given"]]
    assert doubted["suggested"] == "rain"
    assert doubted["suggested_probability"] == pytest.approx(0.9)
    assert (doubted["runner_up"], doubted["runner_up_probability"]) == ("sun", pytest.approx(0.1))
    assert main(["queue", "houses", "--top", "1"]) == 0
    shown = capsys.readouterr().out
    assert "suggested" in shown
    assert "123,456" in shown


def test_an_export_has_them_at_its_end(engine, workspace):
    for slug, names in (
        ("weather", ["suggested_label", "suggested_probability"]),
        ("houses", ["suggested_value"]),
    ):
        project = get_project(engine, slug)
        held_out = open_of_run(RunFolder(find_folder(engine, workspace, slug)))
        content = export_labels(engine, project.id, format="jsonl", held_out=held_out)
        rows = [json.loads(line) for line in content.splitlines()]
        assert list(rows[0])[-len(names) :] == names
        assert {row[names[0]] for row in rows if row["split"] == "test"} == {None}
        doubted = [row for row in rows if row["split"] == "train"][WRONG]
        assert doubted[names[0]] == {"weather": "rain", "houses": 123_456.0}[slug]
        # Of test examples what models say that have not seen those, and nothing of others.
        of_test = replace(held_out, stored=held_out.stored[WRONG : WRONG + 1])
        content = export_labels(engine, project.id, format="jsonl", held_out_test=of_test)
        rows = [json.loads(line) for line in content.splitlines()]
        said = [row[names[0]] for row in rows if row["split"] == "test"]
        assert said[0] == doubted[names[0]]
        assert {*said[1:], *(row[names[0]] for row in rows if row["split"] == "train")} == {None}
        plain = export_labels(engine, project.id, format="jsonl").splitlines()[0]
        assert not set(names) & set(json.loads(plain))
        header = export_labels(engine, project.id, format="csv").decode("utf-8-sig")
        assert not set(names) & set(header.splitlines()[0].split(","))


def opinion(label: int) -> UnseenAnswer:
    return UnseenAnswer(opinion=HeldOutOpinion(label, 0.8, 1 - label, 0.2, 0.2))


@pytest.mark.parametrize(
    ("predicted", "answer", "expected"),
    [
        (1, None, Suggested(label=1)),
        (0, None, Suggested()),
        (0, opinion(1), Suggested(label=1, by_unseen=True)),
        (1, opinion(1), Suggested(label=1, by_unseen=True)),
        (1, opinion(0), Suggested(label=1)),
        (0, opinion(0), Suggested()),
    ],
)
def test_the_network_is_asked_only_where_the_others_say_the_given_label(
    engine, predicted, answer, expected
):
    view = replace(find_view(engine, "weather", 0), given_label=0, predicted_label=predicted)
    assert choose_suggested(view, answer) == expected
