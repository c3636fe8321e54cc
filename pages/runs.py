"""Runs: train and score a project, watch it, choose its checkpoints, look at earlier runs."""

from __future__ import annotations

import streamlit as st

from relabel.db.jobs import list_jobs
from relabel.db.project_rules import Project
from relabel.db.runs import current_run
from ui.failures import report_errors
from ui.runs.checkpoints import draw_checkpoint_choice, draw_own_checkpoint_choice
from ui.runs.held_out import draw_comparison
from ui.runs.jobs import draw_job_list
from ui.runs.model_quality import draw_model_warnings
from ui.runs.table import draw_runs
from ui.runs.training_form import draw_training_form
from ui.runs.work import draw_current_work, draw_rescoring, newest_training, start_work
from ui.session import get_engine, require_project
from ui.wording import escape_markdown


def draw_starts(project: Project) -> None:
    """Draw everything that can be started while nothing is at work."""
    run = current_run(get_engine(), project.id)
    training = newest_training(project)
    with st.expander("Train a model", expanded=run is None, key="train"), report_errors():
        wanted = draw_training_form(project)
        if wanted is not None:
            start_work(project, wanted.kind, wanted.options.to_json())
    if training is not None:
        with report_errors():
            options = draw_checkpoint_choice(project, training)
            if options is not None:
                start_work(project, "score", options.to_json())
    if run is not None:
        with report_errors():
            options = draw_own_checkpoint_choice(project, run)
            if options is not None:
                start_work(project, "score", options.to_json())
        draw_rescoring(project, run)


project = require_project()
st.title("Runs", anchor=False)
st.caption(escape_markdown(project.title))
with report_errors():
    working = draw_current_work(project)
    scored = current_run(get_engine(), project.id)
    if scored is not None:
        draw_model_warnings(project, scored, all_of_them=True)
        draw_comparison(project, scored)
    if working is None:
        draw_starts(project)
draw_runs(project)
earlier = list_jobs(get_engine(), project.slug)
if earlier:
    with st.expander("All work on this project", key="earlier"):
        draw_job_list(earlier)
