"""The values of all train examples for one group of test examples: figures, chart, table, file."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import find_span
from relabel.db.team.reviewers import may_lead
from relabel.text import counted
from relabel.valuation.valuation import Valuation, Worth, write_values
from relabel.valuation.words import describe_exactness, describe_unit, name_explained
from ui.address import choose_mode
from ui.charts import MARGIN, draw_figure
from ui.session import current_reviewer, get_engine
from ui.value.options import describe_query
from ui.value.table import draw_cards, draw_table, find_examples
from ui.wording import percent, score_text

_LISTED = 100
_BINS = 60
_HEIGHT = 260  # pixels
_WORTHS = {"harmful": "Most harmful", "helpful": "Most helpful"}
_ONLY_LEADS = "Only a lead exports. Team says who leads."


def draw_values(project: Project, run: Run, valuation: Valuation, number: int) -> int | None:
    """Draw what the train examples are worth to a group.

    Args:
        project: The project.
        run: Its run.
        valuation: The values.
        number: Of the group in it.

    Returns:
        The number of an example that was clicked, or None.
    """
    totals = valuation.values.totals[:, number]
    group = valuation.values.groups[number]
    unit = describe_unit(valuation.config, valuation.query.explained)
    whom = describe_query(valuation, group)
    harmful = int((totals < 0).sum())
    what = name_explained(valuation.config, valuation.query.explained).lower()
    verb = "raised" if what == "loss" else "lowered"
    st.markdown(
        f"**{counted(harmful, 'train example')}** of {len(totals):,} "
        f"({percent(harmful / max(1, len(totals)))}) {verb} the {what} of {whom}, summed over them."
    )
    _draw_histogram(totals, unit, key=f"values-{run.id}-{group.name}")
    worth = choose_mode(
        "Which train examples", _WORTHS, name="worth", default="harmful", key="value-worth"
    )
    side: Worth = "helpful" if worth == "helpful" else "harmful"
    opened = _draw_strongest(project, run, valuation, number, side)
    st.caption(
        f"Total and mean in {unit}. {describe_exactness(valuation.config, valuation.layers)}"
    )
    may_export = may_lead(get_engine(), current_reviewer())
    st.download_button(
        "Values of all train examples",
        _make_file(project, valuation),
        file_name=f"{project.slug}-values-{date.today()}.csv",
        mime="text/csv",
        key="save-values",
        disabled=not may_export,
        help=None if may_export else _ONLY_LEADS,
    )
    return opened


def _draw_strongest(
    project: Project, run: Run, valuation: Valuation, number: int, worth: Worth
) -> int | None:
    positions = valuation.find_strongest(number, worth, _LISTED)
    if not len(positions):
        st.caption(f"No train example is {worth} to these.")
        return None
    views = find_examples(project, run, positions.tolist())
    totals = valuation.values.totals[positions, number].tolist()
    means = valuation.values.means[positions, number].tolist()
    key = f"{run.id}-{valuation.query.explained}-{valuation.layers}-{number}-{worth}"
    words = [f"total {score_text(total)}" for total in totals]
    opened = draw_cards(project, views, words, key=f"value-cards-{key}", label=_WORTHS[worth])
    draw_table(
        project,
        run,
        views,
        {"Total": totals, "Mean": means},
        formats={"Total": "%+.4g", "Mean": "%+.4g"},
        key=f"value-table-{key}",
        alt=f"The {len(views)} {_WORTHS[worth].lower()} train examples",
    )
    return opened


def _draw_histogram(totals: NDArray[np.float64], unit: str, *, key: str) -> None:
    """Draw how many train examples are worth how much; the few far away are counted in words."""
    low, high = find_span(totals)
    near = totals[(totals >= low) & (totals <= high)]
    beyond = len(totals) - len(near)
    width = max(high, -low) / (_BINS / 2) or 1.0
    # Zero is an edge, so that no bar holds harm and help at once.
    edges = np.arange(np.floor(low / width), np.ceil(high / width) + 1) * width
    counts, edges = np.histogram(near, bins=edges if len(edges) > 1 else np.array([-width, width]))
    centres = (edges[1:] + edges[:-1]) / 2
    figure = go.Figure()
    for name, chosen in (("harmful", centres < 0), ("helpful", centres >= 0)):
        figure.add_trace(
            go.Bar(
                name=name,
                x=centres[chosen].tolist(),
                y=counts[chosen].tolist(),
                width=width,
                hovertemplate="about %{x:+,.4g}: %{y} examples<extra>" + name + "</extra>",
            )
        )
    figure.update_xaxes(title=f"total influence ({unit})")
    # Nearly all are near zero: plainly, their bars would leave the others no height.
    figure.update_yaxes(title="train examples", type="log", dtick=1)
    figure.update_layout(height=_HEIGHT, margin=MARGIN, bargap=0.05, barmode="overlay")
    draw_figure(figure, key, alt="How many train examples have which total influence")
    if beyond:
        st.caption(f"{counted(beyond, 'train example')} beyond the chart, which the table lists.")


def _make_file(project: Project, valuation: Valuation) -> Callable[[], bytes]:
    def make_file() -> bytes:
        file = io.BytesIO()
        write_values(file, project, valuation)
        return file.getvalue()

    return make_file
