"""Projects: what there is, data to import, and what is done to a whole project."""

from __future__ import annotations

import streamlit as st

from relabel.db.jobs import ACTIVE
from relabel.db.projects import list_projects
from relabel.projects.uploads import tidy_uploads
from ui.address import choose_mode
from ui.failures import report_errors
from ui.navigation import open_page
from ui.projects.import_form import draw_data_import
from ui.projects.jobs import PARAMETER, draw_project_jobs, read_project_jobs
from ui.projects.list import draw_projects
from ui.projects.restore import draw_restore
from ui.session import get_engine, get_workspace

MODES = {"list": "All projects", "new": "Import data", "restore": "Restore a backup"}

jobs = read_project_jobs()
tidy_uploads(get_engine(), get_workspace())
working = any(job.state in ACTIVE for job in jobs)
empty = not list_projects(get_engine()) and not list_projects(get_engine(), archived=True)
st.title("Projects", anchor=False)
mode = choose_mode(
    "What to do",
    MODES,
    name="show",
    default="new" if empty and not working else "list",
    # An import that was started begins the page anew, with the list.
    key=f"projects-show-{st.query_params.get(PARAMETER)}",
)
draw_project_jobs(jobs)
with report_errors():
    if mode == "new":
        started = draw_data_import()
        if started is not None:
            open_page("projects", show="list", **{PARAMETER: started.id})
    elif mode == "restore":
        draw_restore()
    else:
        draw_projects()
