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
from ui.components.unsent import say_what_is_unsent  # noqa: E402
from ui.failures import report_errors  # noqa: E402
from ui.navigation import PAGES, make_home, make_page, warn_of_unknown_page  # noqa: E402
from ui.product import draw_mark, name_tab  # noqa: E402
from ui.session import (  # noqa: E402
    PROJECT_KEY,
    choose_project,
    choose_reviewer,
    require_sign_in,
)

name_tab()
draw_mark()
page = st.navigation([make_home(), *(make_page(name) for name in PAGES)])
with st.sidebar:
    limit_steps({"inspect": "example"}, key="steps")
    say_what_is_unsent(key="unsent")
with report_errors():
    require_sign_in()
    choose_project()
    name_tab(page.title, st.session_state.get(PROJECT_KEY))
    choose_reviewer()
    warn_of_unknown_page()
    page.run()
