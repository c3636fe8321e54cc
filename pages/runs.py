"""Runs: train and score a project, watch it, choose its checkpoints, look at earlier runs."""

from __future__ import annotations

import streamlit as st

from tracin_core.reviews.jobs import list_jobs
from tracin_core.reviews.projects import Project, current_run
from ui.checkpoint_choice import draw_checkpoint_choice
from ui.failures import told_on_page
from ui.jobs import draw_job_list
from ui.model_quality import draw_model_warnings
from ui.own_checkpoint_choice import draw_own_checkpoint_choice
from ui.plain_text import escape_markdown
from ui.project_work import (
    draw_current_work,
    draw_rescoring,
    newest_training,
    start_work,
)
from ui.runs import draw_runs
from ui.session import get_engine, require_project
from ui.training_form import draw_training_form


def draw_starts(project: Project) -> None:
    """Draw everything that can be started while nothing is at work."""
    run = current_run(get_engine(), project.id)
    training = newest_training(project)
    with st.expander("Train a model", expanded=run is None, key="train"), told_on_page():
        wanted = draw_training_form(project)
        if wanted is not None:
            start_work(project, wanted.kind, wanted.options.to_json())
    if training is not None:
        with told_on_page():
            options = draw_checkpoint_choice(project, training)
            if options is not None:
                start_work(project, "score", options.to_json())
    if run is not None:
        with told_on_page():
            options = draw_own_checkpoint_choice(project, run)
            if options is not None:
                start_work(project, "score", options.to_json())
        draw_rescoring(project, run)


project = require_project()
st.title("Runs", anchor=False)
st.caption(escape_markdown(project.title))
with told_on_page():
    working = draw_current_work(project)
    scored = current_run(get_engine(), project.id)
    if scored is not None:
        draw_model_warnings(project, scored, all_of_them=True)
    if working is None:
        draw_starts(project)
draw_runs(project)
earlier = list_jobs(get_engine(), project.slug)
if earlier:
    with st.expander("All work on this project", key="earlier"):
        draw_job_list(earlier)
