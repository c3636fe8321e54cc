"""The frame around every page: navigation, project, reviewer, and errors in plain words."""

from __future__ import annotations

import sys
from pathlib import Path

# Streamlit puts this script's folder on the path, and not the repository's.
_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import streamlit as st  # noqa: E402

from ui.components.steps import limit_steps  # noqa: E402
from ui.failures import report_errors  # noqa: E402
from ui.navigation import PAGES, make_home, make_page, warn_of_unknown_page  # noqa: E402
from ui.session import choose_project, choose_reviewer, require_sign_in  # noqa: E402

# The names at the left are short; the width is for what is looked at.
st.set_page_config(page_title="TracIn Relabel", layout="wide", initial_sidebar_state=220)
page = st.navigation([make_home(), *(make_page(name) for name in PAGES)])
with st.sidebar:
    limit_steps({"inspect": "example"}, key="steps")
with report_errors():
    require_sign_in()
    choose_project()
    choose_reviewer()
    warn_of_unknown_page()
    page.run()
