"""Pages over runs of the last layer alone: what is not there is not offered, and why is said."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.runs import list_runs, make_current
from relabel.fitting.options import WorkOptions
from relabel.fitting.saved import find_newest_training
from relabel.scoring import estimate
from relabel.scoring.project import score_project, train_project
from relabel.triage.signals import SIGNALS
from relabel.workspace import resolve_workspace
from tests.pages.conftest import PAGE_TIMEOUT
from tests.pages.review_screen import ReviewScreen
from tests.relabel.scoring import small_projects

REASON = "scored over the last layer alone"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project of texts, scored over both layers with all its checkpoints, and the last alone."""
    root = tmp_path_factory.mktemp("layers")
    engine, workspace = small_projects.open_workspace(root)
    project = small_projects.make_texts(engine, wrong=(3, 20))
    # A network of several layers, and nobody else asked: it is what the layers say that counts.
    options = WorkOptions(epochs=4, model="word_embedding", folds=0)
    train_project(engine, workspace, project.slug, options)
    steps = find_newest_training(workspace, project.slug).steps_on_disk
    for layers in ("both", "last"):
        options = WorkOptions(steps=steps, layers=layers)
        score_project(engine, workspace, project.slug, options)
    engine.dispose()
    return root


@pytest.fixture
def workspace(built, monkeypatch):
    monkeypatch.setenv("TRACIN_WORKSPACE", str(built))
    return resolve_workspace()


@pytest.fixture
def show(workspace):
    """Make one of the two runs the current one."""
    engine = open_database(workspace.database_url)

    def switch(layers: str) -> None:
        project = get_project(engine, "weather")
        for run in list_runs(engine, project.id):
            if ("all" in run.config["layers"]) == (layers == "both"):
                make_current(engine, project.id, run.id)

    switch("last")
    yield switch
    engine.dispose()


def said(app: AppTest) -> str:
    parts = (app.markdown, app.caption, app.text, app.error, app.warning, app.info)
    return "\n".join(str(item.value) for part in parts for item in part).replace("\\", "")


def controls(app: AppTest) -> set[str]:
    return {str(item.key) for item in app.button_group}


@pytest.mark.parametrize("page", ["review", "inspect"])
def test_evidence_is_shown_without_a_choice_of_layers(open_app, show, page):
    app = open_app(page, project="weather")
    assert not app.exception
    assert not app.error
    assert REASON in said(app)
    assert "evidence-layers" not in controls(app)
    assert "evidence-measure" in controls(app)
    shown = ReviewScreen(app).words() if page == "review" else said(app)
    assert "Training on these drew the model to this label" in shown


def test_the_course_of_one_sort_is_named(open_app, show):
    app = open_app("inspect", project="weather")
    drawn = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    (course,) = [one for one in drawn if "last layer" in {line.get("name") for line in one["data"]}]
    assert [line["name"] for line in course["data"]] == ["last layer"]
    assert course["layout"]["showlegend"]


def test_a_view_of_all_layers_goes_on_with_the_last_one_and_comes_back(open_app, show):
    show("both")
    app = open_app("review", project="weather")
    assert REASON not in said(app)
    choice = next(item for item in app.button_group if item.key == "evidence-layers")
    assert choice.value == "all"
    show("last")
    app = app.run()
    assert not app.exception
    assert not app.error
    assert REASON in said(app)
    show("both")
    app = app.run()
    assert not app.exception
    assert next(item for item in app.button_group if item.key == "evidence-layers").value == "all"


@pytest.mark.parametrize("page", ["queue", "review"])
def test_an_address_that_sorts_by_all_layers_falls_to_the_last_one(open_app, show, page):
    show("both")
    app = open_app(page, project="weather", signal="self_influence_all")
    assert app.selectbox(key="signal").value == "self_influence_all"
    show("last")
    app = app.run()
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="signal").value == "self_influence"
    assert SIGNALS["self_influence_all"].title not in app.selectbox(key="signal").options
    app = open_app(page, project="weather", signal="self_influence_all")
    assert not app.exception
    assert app.selectbox(key="signal").value == "self_influence"


def test_the_closed_box_of_the_review_names_the_order_that_is_in_force(open_app, show):
    app = open_app("review", project="weather", signal="self_influence_all")
    assert "by self-influence (last layer)" in app.expander[0].label.replace("\\", "")
    app = open_app("review", project="weather", signal="mean_loss")
    assert "by mean loss" in app.expander[0].label


def test_a_new_text_is_explained_by_the_last_layer(open_app, show):
    app = open_app("inspect", project="weather", show="new")
    app = app.text_area(key="new-text").set_value("bright yellow morning").run()
    assert not app.exception
    assert not app.error
    assert REASON in said(app)
    assert "Training on these raised the score of the predicted class." in said(app)


def test_the_overview_says_how_each_layers_vectors_are_kept(open_app, show):
    app = open_app("overview", project="weather")
    assert "All-layer vectors: none, the last layer alone was scored" in said(app)
    assert "Last layer: logits" in said(app)
    assert "Last-layer vectors: exact, 520 numbers" in said(app)
    show("both")
    assert "All-layer vectors: projected to 512 numbers" in said(app.run())


def test_the_table_of_runs_tells_them_apart(open_app, show):
    app = open_app("runs", project="weather")
    table = next(item.value for item in app.dataframe if "Checkpoints" in item.value)
    assert sorted(table["Layers (last / all)"]) == ["1 / 3", "1 / –"]
    (other,) = app.selectbox(key="other-run").options
    assert "last layer" not in other
    show("both")
    (other,) = open_app("runs", project="weather").selectbox(key="other-run").options
    assert "checkpoints, the last layer alone (" in other


def test_the_choice_changes_what_a_scoring_is_said_to_take(open_app, show):
    app = open_app("runs", project="weather")
    before = cost(app)
    choice = next(item for item in app.button_group if item.key == "score-layers")
    assert choice.value == "both"
    app = choice.set_value("last").run()
    assert not app.exception
    assert cost(app) != before
    assert "train-layers" in controls(app)


def cost(app: AppTest) -> str:
    return next(line for line in said(app).splitlines() if "on the disk" in line)


@pytest.mark.parametrize("layers", ["both", "last"])
def test_the_chosen_layers_are_those_of_the_job(workspace, show, layers):
    for form, place in ((draw_scoring, "score"), (draw_training, "train")):
        app = AppTest.from_function(form, default_timeout=PAGE_TIMEOUT).run()
        choice = next(item for item in app.button_group if item.key == f"{place}-layers")
        app = choice.set_value(layers).run()
        button = app.button(key="score-again" if place == "score" else "start-training")
        if place == "score" and layers == "last":  # as the current run is
            assert button.disabled
            assert "Nothing would change" in said(app)
            continue
        app = button.click().run()
        assert not app.exception
        assert app.code[0].value == layers


def draw_scoring():
    import streamlit as st

    from relabel.db.projects import get_project
    from relabel.fitting.saved import find_newest_training
    from ui.runs.checkpoints import draw_checkpoint_choice
    from ui.session import get_engine, get_workspace

    training = find_newest_training(get_workspace(), "weather")
    options = draw_checkpoint_choice(get_project(get_engine(), "weather"), training)
    if options is not None:
        st.code(options.layers)


def draw_training():
    import streamlit as st

    from relabel.db.projects import get_project
    from ui.runs.training_form import draw_training_form
    from ui.session import get_engine

    wanted = draw_training_form(get_project(get_engine(), "weather"))
    if wanted is not None:
        st.code(wanted.options.layers)


def test_it_is_said_where_vectors_are_projected_and_all_is_computed_again(
    open_app, show, monkeypatch
):
    show("both")
    app = open_app("runs", project="weather")
    assert "They become projected ones" not in said(app)
    assert "are projected" not in cost(app)
    monkeypatch.setattr(estimate, "EXACT_BYTES", 80 * 4 * 520 - 1)
    app = open_app("runs", project="weather")
    assert "exact vectors of 80 examples would take 166 kB" in said(app)
    assert "They become projected ones, so every example is computed again. It takes" in said(app)
    assert "projected; exact ones would take 166 kB" in cost(app)
