"""The frame around every page: navigation, project, reviewer, and errors in plain words."""

from __future__ import annotations

import sys
from pathlib import Path

# Streamlit puts this script's folder on the path, and not the repository's.
_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

import streamlit as st  # noqa: E402

from tracin_core.errors import TracInError  # noqa: E402
from ui.navigation import PAGES, make_home, make_page  # noqa: E402
from ui.plain_text import escape_markdown  # noqa: E402
from ui.session import choose_project, choose_reviewer  # noqa: E402

st.set_page_config(page_title="TracIn Relabel", layout="wide")
page = st.navigation([make_home(), *(make_page(name) for name in PAGES)])
try:
    choose_project()
    choose_reviewer()
    page.run()
except TracInError as error:
    st.error(escape_markdown(str(error)))
