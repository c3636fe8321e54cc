"""Value: which train examples helped or harmed the test examples, and who opposes many of them."""

from __future__ import annotations

import streamlit as st

from relabel.db.jobs import active_job
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.runs.folder import RunFolder
from relabel.valuation.valuation import NoScoreVectorsError, ValueQuery
from ui.failures import report_errors
from ui.navigation import open_page
from ui.runs.model_quality import draw_model_warnings
from ui.runs.own_model import agree_to_network
from ui.runs.work import draw_current_work, start_work
from ui.session import get_engine, require_project, require_run, run_folder
from ui.value.opponents import draw_opponents
from ui.value.options import draw_options, read_test, value_project
from ui.value.values import draw_values


def draw_missing_tests() -> None:
    """Draw that there are no test examples to tell values by, and the way out."""
    st.info(
        "This project's run has scored no test examples, and what a train example is worth is told "
        "by them. Import the data with a test split, or let the import draw one, and train again."
    )
    if st.button("Import data", type="primary", key="to-import"):
        open_page("projects", show="new")


def draw_missing_scores(project: Project, run: Run) -> None:
    """Draw the way to the gradients of the predictions, which no scoring computes."""
    if active_job(get_engine(), project.slug) is not None:
        draw_current_work(project)
        return
    st.info(
        "The gradients of the predictions have not been computed for this run. That takes one "
        "pass over the test examples."
    )
    agreed = agree_to_network(run.config.get("model"), place="value-explain")
    if st.button("Compute them", type="primary", key="compute-scores", disabled=not agreed):
        start_work(project, "explain", {"run_my_code": agreed} if agreed is not True else {})


def draw_asked(project: Project, run: Run, query: ValueQuery | None, shown: str) -> int | None:
    """Draw the values that are asked for; return the example that was clicked, or None."""
    if query is None:
        st.caption("Name test examples by their numbers, to see who helped or harmed these.")
        return None
    try:
        valuation = value_project(project, run, query)
    except NoScoreVectorsError:
        draw_missing_scores(project, run)
        return None
    names = [group.name for group in valuation.values.groups]
    return draw_values(project, run, valuation, names.index(shown) if shown in names else 0)


def draw_worth(project: Project, run: Run) -> int | None:
    """Draw values and opponents; return the example that was clicked, or None."""
    count = RunFolder(run_folder(project, run)).read_config().counts["test"]
    if not count:
        draw_missing_tests()
        return None
    test = read_test(project, run, count)
    query, layers, shown = draw_options(project, run, test)
    opened = None
    with report_errors():
        opened = draw_asked(project, run, query, shown)
    return draw_opponents(project, run, test, layers) or opened


project = require_project()
st.title("Value", anchor=False)
run = require_run(project)
draw_model_warnings(project, run)
with report_errors():
    opened = draw_worth(project, run)
    if opened is not None:
        open_page("inspect", example=opened)
