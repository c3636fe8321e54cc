"""Overview: what the project holds, how it was scored, how far the review is, what comes next."""

from __future__ import annotations

import streamlit as st

from tracin_core.reviews.progress import class_balance, label_confusion, review_progress
from tracin_core.reviews.projects import Project, Run
from ui.charts import draw_class_balance, draw_confusion
from ui.navigation import open_page
from ui.overview import describe_run, draw_next_step, summarize
from ui.plain_text import escape_markdown
from ui.session import get_engine, require_project, require_run


def draw_balance(project: Project) -> None:
    balance = [row for row in class_balance(get_engine(), project.id) if row.split == "train"]
    st.subheader("Labels of the train examples", anchor=False)
    draw_class_balance(
        [row.given for row in balance],
        [row.current for row in balance],
        project.classes,
        key="balance",
    )


def draw_disagreement(project: Project, run: Run) -> None:
    st.subheader("Given label against the model’s prediction", anchor=False)
    counts = label_confusion(get_engine(), run.id, "train")
    draw_confusion(counts, project.classes, key="confusion")
    st.caption(
        "Train examples, at the last checkpoint. Off the diagonal the model contradicts the label."
    )


project = require_project()
st.title(escape_markdown(project.title), anchor=False)
if project.description:
    st.caption(escape_markdown(project.description))
run = require_run(project)
progress = review_progress(get_engine(), project.id)
summarize(project, run, progress)
if draw_next_step(progress):
    open_page("review")
left, right = st.columns(2, gap="large")
with left:
    draw_balance(project)
with right:
    draw_disagreement(project, run)
st.subheader("How the run was scored", anchor=False)
describe_run(run)
