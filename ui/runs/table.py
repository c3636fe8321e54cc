"""The runs of a project, and which of them the pages show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run, current_run, list_runs, make_current
from relabel.runs.config import name_last_layer
from relabel.text import counted, format_seconds, shorten
from ui.failures import report_errors
from ui.runs.layers import layers_of
from ui.session import get_engine
from ui.wording import moment_text

RATE_WORDS = {"ones": "ignored", "recorded": "as recorded"}
_NAME_LENGTH = 60  # characters


def draw_runs(project: Project) -> None:
    """Draw the table of runs and the way to show another one."""
    runs = list_runs(get_engine(), project.id)
    st.header("Scored so far", anchor=False)
    if not runs:
        st.caption("Nothing has been scored yet. Every scoring becomes a line here.")
        return
    current = current_run(get_engine(), project.id)
    st.dataframe(
        _table(runs, current),
        hide_index=True,
        alt="The runs of this project, the latest first",
        placeholder="–",
        key="runs",
    )
    others = [run for run in runs if current is None or run.id != current.id]
    if others:
        _draw_choice(project, others)


def _table(runs: Sequence[Run], current: Run | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Shown": ["yes" if current and run.id == current.id else "" for run in runs],
            "Scored": [moment_text(run.created_at) for run in runs],
            "Model": [model_name(run.config.get("model")) for run in runs],
            "Checkpoints": [len(run.checkpoints) for run in runs],
            "Layers (last / all)": [_layers(run) for run in runs],
            "Last layer": [_name_last(run) for run in runs],
            "Learning rates": [RATE_WORDS.get(str(run.config.get("rates")), "–") for run in runs],
            "Train examples": [run.num_ranked for run in runs],
            "Search recall": [_recall(run) for run in runs],
            "Took": [_seconds(run) for run in runs],
        }
    )


def model_name(config: Any) -> str:
    """Return the name of a network as its saved configuration has it."""
    if not isinstance(config, dict):
        return "–"
    if config.get("file"):
        file = str(config["file"]).replace("\\", "/").rpartition("/")[2]
        return shorten(f"{file}:{config.get('function', '')}", _NAME_LENGTH)
    return shorten(str(config.get("name", "–")).replace("_", " "), _NAME_LENGTH)


def _layers(run: Run) -> str:
    """Return how many layers the scores of each sort stand on; a dash where there are none."""
    layers = run.config.get("layers") or {}
    if not layers:
        return "–"
    counts = [str(len(layers[name])) if name in layers else "–" for name in ("last", "all")]
    return " / ".join(counts)


def _name_last(run: Run) -> str:
    return shorten(", ".join(name_last_layer(run.config.get("layers"))), _NAME_LENGTH) or "–"


def _recall(run: Run) -> str:
    """Return the recall of the index that misses the most, measured when it was built."""
    indexes = (run.config.get("indexes") or {}).values()
    recalls = [float(one["recall"]) for one in indexes if one.get("recall") is not None]
    # Rounded down: 99.96% found is not all.
    return f"{int(1000 * min(recalls)) / 10:g}%" if recalls else "–"


def _seconds(run: Run) -> str:
    timings = run.config.get("timings") or {}
    return format_seconds(sum(map(float, timings.values()))) if timings else "–"


def _draw_choice(project: Project, others: Sequence[Run]) -> None:
    names = {
        run.id: f"{moment_text(run.created_at)}, {model_name(run.config.get('model'))}, "
        f"{counted(len(run.checkpoints), 'checkpoint')}"
        f"{'' if 'all' in layers_of(run) else ', the last layer alone'}"
        # The key, because boxes need labels that differ.
        f" ({run.key})"
        for run in others
    }
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Show another run",
            list(names),
            format_func=lambda one: names[one],
            index=None,
            placeholder="Choose one",
            key="other-run",
            width=420,
        )
        pressed = st.button("Show it", key="make-current", disabled=chosen is None)
    st.caption("The queue, its evidence and the overview show one run. Decisions stay.")
    if pressed and chosen is not None:
        with report_errors():
            make_current(get_engine(), project.id, chosen)
            st.rerun()
