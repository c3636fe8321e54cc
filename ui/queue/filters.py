"""How the queue is sorted and narrowed; kept in the address, so that it can be shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.queue import QueueFilter
from relabel.triage.signals import choose_default_signal, list_signals, name_signals
from ui.address import read_choice, select_in_address
from ui.labels import is_regression
from ui.wording import escape_markdown

_CONTAINS = {"image": "Path contains", "text": "Text contains", "table": "Row contains"}
_STATUS_CHOICES = {"any": "All", "pending": "To review", "reviewed": "Reviewed"}


@dataclass(frozen=True)
class QueueView:
    """The chosen order and filter."""

    signal: str
    filter: QueueFilter


def draw_filters(
    project: Project,
    signals: Sequence[str],
    *,
    with_status: bool,
    on_change: Callable[[], None] | None = None,
) -> QueueView:
    """Draw the widgets and return what they say.

    Args:
        project: Its classes are the choices.
        signals: Names of the run's rankings.
        with_status: Whether a person may choose by what has been decided; the review page
            always asks for what is still open.
        on_change: Called when a person changes any of them.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        signal = select_in_address(
            "Sort by",
            name_signals(signals),
            name="signal",
            default=choose_default_signal(signals),
            width=300,
            on_change=on_change,
        )
        given: tuple[int, ...] = ()
        predicted: tuple[int, ...] = ()
        if not is_regression(project):
            given = _class_choice("Given label", project.classes, "given", on_change)
            predicted = _class_choice("Predicted label", project.classes, "predicted", on_change)
        status = "any"
        if with_status:
            status = select_in_address(
                "State",
                _STATUS_CHOICES,
                name="status",
                default="any",
                width=140,
                on_change=on_change,
            )
        text = ""
        # The places of pictures are known where they were imported.
        if project.kind in ("text", "table") or "imports" in project.settings:
            text = st.text_input(
                _CONTAINS[project.kind],
                key="contains",
                bind="query-params",
                width=200,
                max_chars=200,
                on_change=on_change,
            )
        disagreement = not is_regression(project) and st.toggle(
            "Model disagrees",
            key="disagrees",
            bind="query-params",
            help="Only examples whose predicted label differs from the given one.",
            on_change=on_change,
        )
    if explanation := explain_signal(signal):
        st.caption(escape_markdown(explanation))
    return QueueView(
        signal=signal,
        filter=QueueFilter(
            given_labels=given,
            predicted_labels=predicted,
            status=status,  # type: ignore[arg-type]  # one of _STATUS_CHOICES
            disagreement_only=bool(disagreement),
            text=(text or "").strip(),
        ),
    )


def explain_signal(name: str) -> str:
    """Return what a signal is and when it fails; nothing for one that says nothing of itself."""
    signal = list_signals().get(name)
    return "" if signal is None else signal.explanation


def describe_filters(project: Project, signals: Sequence[str]) -> str:
    """Return, for the closed box, that filters are at work; unseen they would mislead.

    Args:
        project: Its classes are the choices.
        signals: Names of the run's rankings; what an address asks for may not be one of them.
    """
    names = [name for key in ("given", "predicted") for name in _chosen(key)]
    active = len([name for name in names if name in project.classes])
    active += len([key for key in ("disagrees", "contains") if _chosen(key)])
    offered = name_signals(signals)
    chosen = str(st.session_state.get("signal"))
    if chosen not in offered:
        chosen = read_choice("signal", offered, choose_default_signal(signals))
    order = offered[chosen]
    filters = f", {active} filters on" if active > 1 else ", one filter on" if active else ""
    return escape_markdown(f"Which suspects: by {order[0].lower()}{order[1:]}{filters}")


def review_address(signals: Sequence[str]) -> str:
    """Return the address at which the review asks for the suspects that are chosen here.

    Args:
        signals: Names of the run's rankings.
    """
    query: dict[str, str | Sequence[str]] = {"project": str(st.session_state.get("project"))}
    signal = st.session_state.get("signal")
    if signal and signal != choose_default_signal(signals):
        query["signal"] = str(signal)
    for key in ("given", "predicted", "contains"):
        query[key] = _chosen(key)
    if _chosen("disagrees"):
        query["disagrees"] = "true"
    return f"review?{urlencode(query, doseq=True)}"


def _chosen(key: str) -> Sequence[str]:
    """Return what a filter is set to, also before its widget has read the address."""
    if key in st.session_state:
        value = st.session_state[key]
        return value if isinstance(value, list) else [str(value)] if value else []
    return st.query_params.get_all(key)


def _class_choice(
    label: str, classes: Sequence[str], key: str, on_change: Callable[[], None] | None
) -> tuple[int, ...]:
    # Names, not positions, stand in the address: a person can read and write them.
    chosen = st.multiselect(
        label,
        list(classes),
        key=key,
        bind="query-params",
        width=200,
        placeholder="All",
        on_change=on_change,
    )
    return tuple(sorted(classes.index(name) for name in chosen))
