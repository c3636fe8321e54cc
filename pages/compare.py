"""Compare: attribution methods and signals beside each other on the current run."""

from __future__ import annotations

import streamlit as st

from relabel.comparison.saved import read_comparison
from relabel.runs.folder import RunFolder
from ui.compare.example import draw_one_example, open_clicked
from ui.compare.figures import (
    draw_checkpoints,
    draw_found,
    draw_overlaps,
    draw_picture_format,
    draw_table,
)
from ui.compare.start import draw_failures, draw_start, draw_work
from ui.failures import report_errors
from ui.session import require_project, require_run, run_folder

project = require_project()
st.title("Compare", anchor=False)
st.caption("What each attribution method finds, agrees on, and takes: on this project's own run.")
run = require_run(project)
folder = RunFolder(run_folder(project, run))
comparison = None
with report_errors(without="A new comparison replaces it."):
    comparison = read_comparison(folder)
is_busy = draw_work(project)
draw_start(project, run, comparison, is_busy=is_busy)
if comparison is None:
    st.stop()
draw_failures(comparison)
picture_format = draw_picture_format()
draw_found(project, comparison, picture_format)
with report_errors():
    draw_checkpoints(project, comparison, folder, picture_format)
draw_overlaps(project, comparison, picture_format)
draw_table(project, comparison)
opened = draw_one_example(project, run, comparison, is_busy=is_busy)
open_clicked(opened)
