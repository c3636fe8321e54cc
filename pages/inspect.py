"""Inspect: one example, what the model thinks of it, and which train examples taught it that."""

from __future__ import annotations

import streamlit as st

from ui.inspect.example import draw_modes, draw_stored_example, requested_example
from ui.inspect.new_example import draw_new_example
from ui.inspect.test_examples import draw_test_examples
from ui.navigation import open_page
from ui.session import require_project, require_run

MODES = {"stored": "An example", "test": "Test examples", "new": "A new example"}

project = require_project()
st.title("Inspect", anchor=False)
run = require_run(project)
mode = draw_modes(MODES)
opened: int | None = None
if mode == "new":
    opened = draw_new_example(project, run)
elif mode == "test":
    opened = draw_test_examples(project, run)
else:
    opened = draw_stored_example(project, run, requested_example(project, run))
if opened is not None:
    # Which queue it came from, so that Next goes on in it.
    within = st.query_params.get("within")
    open_page("inspect", example=opened, **({"within": within} if within else {}))
