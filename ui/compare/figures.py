"""The figures and the table of a comparison, each with a way to take it away."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from relabel.comparison.agreement import TOP
from relabel.comparison.figures import draw_agreement, draw_curves, draw_found_by_class
from relabel.comparison.saved import Comparison
from relabel.comparison.tables import (
    describe_truth,
    list_curve_rows,
    list_rows,
    make_csv,
    name_checkpoints,
    title_curves,
)
from relabel.db.project_rules import Project
from relabel.runs.folder import RunFolder
from relabel.text import format_bytes, shorten
from ui.charts import draw_figure
from ui.wording import escape_markdown, escape_plotly

_NAME_LENGTH = 24  # characters of a class name below its bars
_FORMATS = {"svg": "SVG", "png": "PNG"}
_SCALE = 2  # pixels of a PNG for each of the screen's


def draw_picture_format() -> str:
    """Draw the choice of what the camera above each chart saves, and return it."""
    chosen = st.segmented_control(
        "The camera above a chart saves",
        list(_FORMATS),
        format_func=_FORMATS.__getitem__,
        default="svg",
        required=True,
        key="compare-format",
        persist_state="session",
    )
    return chosen or "svg"


def _draw(figure: go.Figure, name: str, picture_format: str, alt: str) -> None:
    config: dict[str, Any] = {
        "displayModeBar": True,
        "displaylogo": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
        "toImageButtonOptions": {
            "format": picture_format,
            "filename": name,
            "scale": 1 if picture_format == "svg" else _SCALE,
        },
    }
    # The format is part of the key: a chart that is drawn already keeps its toolbar.
    draw_figure(figure, f"{name}-{picture_format}", alt=alt, config=config)


def draw_found(project: Project, comparison: Comparison, picture_format: str) -> None:
    """Draw the mislabel curves, or why there are none."""
    st.header("How fast each finds wrong labels", anchor=False)
    if not comparison.can_judge:
        st.info(escape_markdown(describe_truth(comparison)))
        return
    st.caption(
        escape_markdown(describe_truth(comparison))
        + " A steeper curve finds them with less inspection. Where scores are equal, the order "
        "among them counts as random."
    )
    name = f"{project.slug}-curves"
    alt = "Share of the wrong labels found by the share of train examples inspected, by method"
    _draw(draw_curves(title_curves(comparison)), name, picture_format, alt)


def draw_checkpoints(
    project: Project, comparison: Comparison, run: RunFolder, picture_format: str
) -> None:
    """Draw what each checkpoint alone finds of each class; nothing where that is not known."""
    counted = comparison.count_by_class(run)
    if counted is None:
        return
    st.header("What each checkpoint finds", anchor=False)
    st.caption(
        f"Of the wrong labels of each class, the share among the first {counted.top_share:.0%} by "
        "the last layer's self-influence at one checkpoint alone. Different checkpoints find "
        "different ones, which is why TracIn sums over several. Dotted: by chance."
    )
    classes = [escape_plotly(shorten(one, _NAME_LENGTH)) for one in project.classes]
    figure = draw_found_by_class(counted, classes, name_checkpoints(run))
    alt = "Share of each class's wrong labels that each checkpoint alone ranks first"
    _draw(figure, f"{project.slug}-classes", picture_format, alt)


def draw_overlaps(project: Project, comparison: Comparison, picture_format: str) -> None:
    """Draw how far the methods name the same proponents; nothing where fewer than two name any."""
    titles, matrix = comparison.agreement
    if len(titles) < 2 or not np.isfinite(matrix).any():
        return
    st.header("Which name the same proponents", anchor=False)
    st.caption(
        f"Of the {TOP} strongest proponents, the share that two methods both name, as the mean "
        f"over {len(comparison.drawn):,} examples drawn at random. This needs no known truth."
    )
    alt = "Mean overlap of the strongest proponents by each two methods"
    _draw(draw_agreement(matrix, titles), f"{project.slug}-agreement", picture_format, alt)


def draw_table(project: Project, comparison: Comparison) -> None:
    """Draw what each found and took, and the ways to take the numbers away."""
    st.header("What each takes", anchor=False)
    rows = list_rows(comparison)
    shown = [
        {
            "Method": row["title"],
            "In 10%": _percent(row["found_in_10_percent"]),
            "In 20%": _percent(row["found_in_20_percent"]),
            "In 30%": _percent(row["found_in_30_percent"]),
            "Area": row["area"],
            "Scores, seconds": row["score_seconds"],
            "Influences, seconds": row["influence_seconds"],
            "Examples explained": row["examples_explained"] or None,
            "Memory": None if row["peak_bytes"] is None else format_bytes(row["peak_bytes"]),
        }
        for row in rows
        if not row["failed"]
    ]
    st.dataframe(
        shown,
        hide_index=True,
        column_config={
            "Area": st.column_config.NumberColumn(format="%.3f"),
            "Scores, seconds": st.column_config.NumberColumn(format="%.2f"),
            "Influences, seconds": st.column_config.NumberColumn(format="%.2f"),
        },
        placeholder="–",
        alt="What each method found and took",
        key="compare-table",
    )
    st.caption(
        "Seconds are of the processor; signals have none, as the scoring of the run has measured "
        "them. Memory is the most beyond what the process held before."
    )
    with st.container(horizontal=True):
        st.download_button(
            "Table (CSV)",
            make_csv(rows),
            file_name=f"{project.slug}-methods.csv",
            mime="text/csv",
            key="compare-csv",
            on_click="ignore",
        )
        if comparison.can_judge:
            st.download_button(
                "Curves (CSV)",
                make_csv(list_curve_rows(comparison)),
                file_name=f"{project.slug}-curves.csv",
                mime="text/csv",
                key="compare-curves-csv",
                on_click="ignore",
            )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
