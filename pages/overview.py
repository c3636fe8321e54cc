"""Overview: what the project holds, how it was scored, how far the review is, what comes next."""

from __future__ import annotations

import streamlit as st

from relabel.db.stats import review_progress
from ui.navigation import open_page
from ui.overview.gain_line import draw_gain_line
from ui.overview.label_charts import draw_disagreement, draw_labels_held, draw_most_disputed
from ui.overview.review_yield import draw_yield
from ui.overview.summary import describe_run, draw_next_step, summarize
from ui.overview.test_labels import draw_test_labels
from ui.queue.filters import forget_filters
from ui.runs.model_quality import draw_model_remark, draw_model_warnings
from ui.session import get_engine, require_project, require_run
from ui.wording import escape_markdown
from ui.worth.audit import draw_audit_section
from ui.worth.learning import draw_learning
from ui.worth.stopping import draw_stopping

project = require_project()
forget_filters()
st.title(escape_markdown(project.title), anchor=False)
if project.description:
    st.caption(escape_markdown(project.description))
run = require_run(project)
progress = review_progress(get_engine(), project.id)
summarize(project, run, progress)
draw_model_warnings(project, run, all_of_them=True)
draw_model_remark(project, run)
if draw_next_step(progress):
    open_page("review")
draw_test_labels(project, run)
left, right = st.columns(2, gap="large")
with left:
    draw_most_disputed(project, run)
    draw_labels_held(project)
with right:
    draw_disagreement(project, run)
draw_yield(project, run, progress)
draw_audit_section(project, run)
draw_stopping(project, run)
draw_learning(project, run)
draw_gain_line(project, progress)
st.header("How the run was scored", anchor=False)
describe_run(project, run)
