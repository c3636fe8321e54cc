"""Aggregated opponents: who stands against many test examples, and who stands everywhere."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from relabel.db.positions import PlacedExamples
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.runs.folder import RunFolder
from relabel.text import Layers, counted
from relabel.valuation.groups import ValueGroup
from relabel.valuation.opponents import LISTED, Recurrence, count_recurrence, spread_positions
from relabel.valuation.valuation import ValueQuery, choose_groups
from ui.address import select_in_address
from ui.inspect.evidence import MEASURE_WORDS, Measure, get_evidence
from ui.inspect.recurring import MEANING, choose_asked_split, draw_hiding, find_recurring_examples
from ui.labels import is_regression
from ui.session import run_folder
from ui.value.options import name_groups
from ui.value.table import describe_lists, draw_cards, draw_table, find_examples
from ui.wording import percent

_SHOWN = 50
_MEASURES: tuple[Measure, ...] = ("influence", "cosine")
_WHY = (
    "A wrongly labelled train example pulls against the test examples that look like it, so it "
    f"recurs among the {LISTED} strongest opponents of several. Doubt it where test labels are "
    "wrong themselves, or where an example lies on a boundary between classes; a wrong label that "
    "looks like no test example is not found."
)


def draw_opponents(project: Project, run: Run, test: PlacedExamples, layers: Layers) -> int | None:
    """Draw the train examples that oppose the most test examples, and those that always recur.

    Returns:
        The number of an example that was clicked, or None.
    """
    st.header("Aggregated opponents", anchor=False)
    st.caption(_WHY)
    groups = _list_groups(project, test)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        titles = name_groups(groups)
        chosen = select_in_address(
            "Opponents of", titles, name="against", default=groups[0].name, width=260
        )
        words: dict[str, str] = {one: MEASURE_WORDS[one] for one in _MEASURES}
        ranked_by = select_in_address(
            "Ranked by", words, name="measure", default="influence", width=150
        )
        measure: Measure = "cosine" if ranked_by == "cosine" else "influence"
        hides = draw_hiding()
    group = next(one for one in groups if one.name == chosen)
    recurring = find_recurring_examples(project, run, layers, measure)
    hidden = [one.position for one in recurring] if hides else []
    opened = _draw_group(project, run, group, layers, measure, hidden)
    return _draw_recurring(project, run, layers, measure, hides=hides) or opened


def _list_groups(project: Project, test: PlacedExamples) -> list[ValueGroup]:
    """Return all test examples, those predicted otherwise or as labelled, and the classes."""
    groups = choose_groups(project, test, ValueQuery())
    if is_regression(project):
        return groups
    return [
        *groups,
        *reversed(choose_groups(project, test, ValueQuery(by="correctness"))),
        *choose_groups(project, test, ValueQuery(by="class")),
    ]


def _draw_group(
    project: Project,
    run: Run,
    group: ValueGroup,
    layers: Layers,
    measure: Measure,
    hidden: list[int],
) -> int | None:
    found = _count(project, run, group, layers, measure)
    counts = found.counts["opponents"].copy()
    counts[hidden] = 0
    order = np.lexsort((found.sums["opponents"], -counts))[:_SHOWN]
    order = order[counts[order] > 0]
    asked = describe_lists(found.num_asked, len(group.positions), "test examples")
    note = f" {counted(len(hidden), 'recurring example')} hidden." if hidden else ""
    st.caption(f"Among the {LISTED} strongest opponents of each of {asked}.{note}")
    if not len(order):
        st.caption("No train example opposes any of them.")
        return None
    views = find_examples(project, run, order.tolist())
    sums = found.sums["opponents"][order].tolist()
    key = f"{run.id}-{group.name}-{layers}-{measure}-{len(hidden)}"
    words = [f"opposes {count:,}" for count in counts[order].tolist()]
    opened = draw_cards(project, views, words, key=f"opponent-cards-{key}", label="Opponents")
    draw_table(
        project,
        run,
        views,
        {
            "Opposes": counts[order].tolist(),
            "Share": (100 * counts[order] / found.num_asked).tolist(),
            "Sum of these": sums,
            "Speaks for": found.counts["proponents"][order].tolist(),
        },
        formats={"Share": "%.0f%%", "Sum of these": "%+.4g"},
        key=f"opponents-{key}",
        alt="The train examples that oppose the most test examples",
    )
    return opened


@st.cache_resource(
    show_spinner="Looking for opponents",
    max_entries=16,
    hash_funcs={
        Project: lambda one: one.id,
        Run: lambda one: one.id,
        ValueGroup: lambda one: one.positions.tobytes(),
    },
)
def _count(
    project: Project, run: Run, group: ValueGroup, layers: Layers, measure: Measure
) -> Recurrence:
    return count_recurrence(
        get_evidence(project, run),
        "test",
        spread_positions(group.positions.tolist()),
        num_train=RunFolder(run_folder(project, run)).read_config().counts["train"],
        layers=layers,
        measure=measure,
    )


def _draw_recurring(
    project: Project, run: Run, layers: Layers, measure: Measure, *, hides: bool
) -> int | None:
    """Draw the train examples that stand in nearly everybody's lists, and how often."""
    st.header("Recurring examples", anchor=False)
    st.caption(MEANING)
    recurring = find_recurring_examples(project, run, layers, measure)
    if not recurring:
        st.caption("No train example recurs so often by this measure, so none is hidden anywhere.")
        return None
    where = "are hidden from" if hides else "stand in"
    st.markdown(
        f"**{counted(len(recurring), 'train example')}** {where} the lists on Inspect and Review, "
        "where evidence is ranked by this measure over these layers."
    )
    positions = [one.position for one in recurring]
    views = find_examples(project, run, positions)
    lengths = _measure_gradients(project, run, layers)
    folder = RunFolder(run_folder(project, run))
    split = choose_asked_split(folder.read_config().counts["test"])
    key = f"{run.id}-{layers}-{measure}"
    words = [f"in {percent(one.share)} of the lists" for one in recurring]
    opened = draw_cards(project, views, words, key=f"recurring-cards-{key}", label="Recurring")
    draw_table(
        project,
        run,
        views,
        {
            f"In lists of {split} examples": [percent(one.share) for one in recurring],
            "As proponent": [one.as_proponent for one in recurring],
            "As opponent": [one.as_opponent for one in recurring],
            "Gradient, × the median": lengths[positions].tolist(),
        },
        formats={"Gradient, × the median": "%.1f"},
        key=f"recurring-{key}",
        alt="The train examples that recur in most lists, and how often",
    )
    return opened


@st.cache_resource(
    show_spinner=False,
    max_entries=8,
    hash_funcs={Project: lambda one: one.id, Run: lambda one: one.id},
)
def _measure_gradients(project: Project, run: Run, layers: Layers) -> NDArray[np.float64]:
    """Return how long each train example's vector is, over the median; shape ``(N,)``."""
    vectors = RunFolder(run_folder(project, run)).vectors(layers, "train")
    lengths = np.sqrt(np.vecdot(vectors, vectors, dtype=np.float64))
    ratios: NDArray[np.float64] = lengths / (np.median(lengths) or 1.0)
    return ratios
