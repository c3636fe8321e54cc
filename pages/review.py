"""Review: one suspect at a time, its evidence beside it, keys for everything."""

from __future__ import annotations

import streamlit as st

from relabel.db.decisions.checks import mark_example
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.team.handing_out import Screen
from relabel.db.team.reviewers import Identity
from relabel.text import Layers
from ui.components.review import show_review
from ui.failures import report_errors
from ui.inspect.evidence import Measure, draw_evidence_options
from ui.inspect.recurring import draw_hiding
from ui.labels import is_regression
from ui.navigation import make_page, open_page
from ui.queue.filters import QueueView, describe_filters, draw_filters
from ui.review.answers import Answer, answer_first
from ui.review.choices import MAX_DIGIT_CLASSES, list_decision_keys, list_slots
from ui.review.suspect import ReviewQuery, find_asked, list_keys, list_other_keys
from ui.runs.model_quality import draw_model_warnings
from ui.session import require_project, require_reviewer, require_run, screen_name
from ui.wording import escape_markdown

KEY = "suspect"
WITHOUT_EVIDENCE = "Decisions can be made without it."


def draw_troubles(answer: Answer) -> list[str]:
    """Draw what is wrong with the evidence, once; the screen then does not say it again."""
    told = list(dict.fromkeys(one for sheet in answer["suspects"] for one in sheet["troubles"]))
    for words in told:
        st.error(escape_markdown(words))
        st.page_link(make_page("runs"), label="Score again on Runs")
    if told:
        st.caption(WITHOUT_EVIDENCE)
    return told


def draw_screen(
    project: Project,
    run: Run,
    queue: QueueView,
    layers: Layers,
    measure: Measure,
    hides: bool,
    who: Identity,
) -> int | None:
    query = ReviewQuery(
        project=project,
        run=run,
        signal=queue.signal,
        filter=queue.filter,
        layers=layers,
        measure=measure,
        hides=hides,
    )
    asked = find_asked(query, who)
    screen = Screen(who, screen_name())
    answer = answer_first(query, asked, screen)
    many = len(project.classes) > MAX_DIGIT_CLASSES and not is_regression(project)
    return show_review(
        {
            "project": project.slug,
            "mark": mark_example(project.created_at, ""),
            "kind": project.kind,
            "query": query.to_json(),
            "reviewer": who.name,
            "screen": screen.name,
            "asked": None if asked is None else asked.view.id,
            "first": answer,
            "told": draw_troubles(answer),
            "keys": list_keys(project, run),
            "otherKeys": list_other_keys(project, run),
            "slots": list_slots(project),
            "decisionKeys": list_decision_keys(project),
            "searched": list(project.classes) if many else [],
            "isRegression": is_regression(project),
        },
        key=KEY,
    )


@st.fragment
def draw_review(project: Project, run: Run, queue: QueueView, who: Identity) -> None:
    slot = st.container()  # above the choice of its evidence, which is seldom made
    layers, measure = draw_evidence_options(run)
    hides = draw_hiding()
    with slot, report_errors():
        opened = draw_screen(project, run, queue, layers, measure, hides, who)
        if opened is not None:
            open_page("inspect", example=opened)


project = require_project()
st.title("Review", anchor=False)
run = require_run(project)
who = require_reviewer()
draw_model_warnings(project, run)
with st.expander(describe_filters(project, run), key="which-suspects"):
    queue = draw_filters(project, run, with_status=False)
draw_review(project, run, queue, who)
