"""What is wrong with the model behind the scores, said wherever its suspects are looked at."""

from __future__ import annotations

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.triage.model_quality import ModelJudgement, judge_run
from ui.session import get_engine, get_workspace
from ui.wording import escape_markdown


def judge_model(project: Project, run: Run) -> ModelJudgement:
    """Return what is to be said about a run's model."""
    database = get_workspace().database_url
    return _judge(database, project.id, run.id, run.scoring_id, project, run)


@st.cache_data(show_spinner=False, max_entries=32)
def _judge(
    database: str, project_id: int, run_id: int, scoring_id: int, _project: Project, _run: Run
) -> ModelJudgement:
    # A run's model does not change, but every key of the review draws the page anew.
    return judge_run(get_engine(), _project, _run)


def draw_model_warnings(project: Project, run: Run, *, all_of_them: bool = False) -> None:
    """Describe faults with the run's model: the gravest thing, or all; nothing of a good one."""
    warnings = judge_model(project, run).warnings
    for warning in warnings if all_of_them else warnings[:1]:
        st.warning(escape_markdown(warning))


def draw_model_remark(project: Project, run: Run) -> None:
    """Describe what else is worth knowing about the figures of the run's model."""
    remark = judge_model(project, run).remark
    if remark:
        st.caption(escape_markdown(remark))
