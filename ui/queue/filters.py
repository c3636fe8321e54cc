"""How the queue is sorted and narrowed; kept in the address, so that it can be shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.queue import QueueFilter
from relabel.db.runs import Run
from relabel.runs.held_out import recall_summary
from relabel.triage.signals import choose_default_signal, list_signals, name_signals
from ui.address import read_choice, select_in_address
from ui.labels import is_regression
from ui.wording import escape_markdown

_CONTAINS = {"image": "Path contains", "text": "Text contains", "table": "Row contains"}
# What a person chooses by what models say, in the address: those that have not seen the example
# first, whose label is the suggested one, then the network that the run explains.
_CLASSES_OF = {"suggested": "Suggested label", "predicted": "Network's label"}
_DIFFERENCES = {"differs": "Suggested label differs", "disagrees": "Network disagrees"}
# Of the given numbers, in a project with numbers.
_ENDS = {"from": "Given value from", "to": "to"}
_DIFFERENCE_HELP = {
    "differs": "Only examples whose suggested label, by models that have not seen the example, "
    "differs from the given one.",
    "disagrees": "Only examples whose label by the run's network, which was trained on them, "
    "differs from the given one.",
}
_SCORE_AGAIN = (
    " What models say that have not seen the example can be chosen once the project is scored "
    "again."
)
_STATUS_CHOICES = {"any": "All", "pending": "To review", "reviewed": "Reviewed"}


@dataclass(frozen=True)
class QueueView:
    """The chosen order and filter."""

    signal: str
    filter: QueueFilter


def draw_filters(
    project: Project,
    run: Run,
    *,
    with_status: bool,
    on_change: Callable[[], None] | None = None,
) -> QueueView:
    """Draw the widgets and return what they say.

    Args:
        project: Its classes are the choices.
        run: Its rankings are the orders, and it says whether labels are suggested.
        with_status: Whether a person may choose by what has been decided; the review page
            always asks for what is still open.
        on_change: Called when a person changes any of them.
    """
    signals, drawn = run.signals, _list_drawn(project, run)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        signal = select_in_address(
            "Sort by",
            name_signals(signals),
            name="signal",
            default=choose_default_signal(signals),
            width=300,
            on_change=on_change,
        )
        classes = {
            key: _class_choice(title, project.classes, key, on_change)
            for key, title in {"given": "Given label", **_CLASSES_OF}.items()
            if key in drawn
        }
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
        least, greatest = _choose_span(project, on_change)
        differences = {
            key: st.toggle(
                title,
                key=key,
                bind="query-params",
                help=_DIFFERENCE_HELP[key] + (_SCORE_AGAIN if _is_of_before(run) else ""),
                on_change=on_change,
            )
            for key, title in _DIFFERENCES.items()
            if key in drawn
        }
    if explanation := explain_signal(signal):
        st.caption(escape_markdown(explanation))
    return QueueView(
        signal=signal,
        filter=QueueFilter(
            given_labels=classes.get("given", ()),
            predicted_labels=classes.get("predicted", ()),
            suggested_labels=classes.get("suggested", ()),
            status=status,  # type: ignore[arg-type]  # one of _STATUS_CHOICES
            disagreement_only=differences.get("disagrees", False),
            suggestion_differs=differences.get("differs", False),
            text=(text or "").strip(),
            given_from=least,
            given_to=greatest,
        ),
    )


def _choose_span(
    project: Project, on_change: Callable[[], None] | None
) -> tuple[float | None, float | None]:
    """Draw between which numbers the given ones must lie, of a project with numbers."""
    if not is_regression(project):
        return None, None
    least, greatest = (
        st.number_input(
            title,
            value=None,
            key=key,
            bind="query-params",
            width=150,
            format="%g",
            placeholder="Any",
            on_change=on_change,
        )
        for key, title in _ENDS.items()
    )
    return least, greatest


def explain_signal(name: str) -> str:
    """Return what a signal is and when it fails; nothing for one that says nothing of itself."""
    signal = list_signals().get(name)
    return "" if signal is None else signal.explanation


def _list_drawn(project: Project, run: Run) -> set[str]:
    """Return the choices by labels that a run offers, by their names in the address."""
    if is_regression(project):
        return set()
    of_network = {"given", "predicted", "disagrees"}
    return of_network | {"suggested", "differs"} if _suggests(run) else of_network


def _suggests(run: Run) -> bool:
    """Return whether the database knows the suggested labels of a run."""
    return bool(run.config.get("suggests_labels"))


def _is_of_before(run: Run) -> bool:
    """Return whether a run has suggested labels that the database does not know yet."""
    return recall_summary(run.config) is not None and not _suggests(run)


def describe_filters(project: Project, run: Run) -> str:
    """Return, for the closed box, that filters are at work; unseen they would mislead.

    Args:
        project: Its classes are the choices.
        run: What an address asks for may not be one of its rankings.
    """
    signals, drawn = run.signals, _list_drawn(project, run)
    names = [name for key in ("given", *_CLASSES_OF) if key in drawn for name in _chosen(key)]
    active = len([name for name in names if name in project.classes])
    active += len([key for key in _DIFFERENCES if key in drawn and _chosen(key)])
    active += bool(_chosen("contains"))
    active += is_regression(project) and any(_chosen(key) for key in _ENDS)
    offered = name_signals(signals)
    chosen = str(st.session_state.get("signal"))
    if chosen not in offered:
        chosen = read_choice("signal", offered, choose_default_signal(signals))
    order = offered[chosen]
    filters = f", {active} filters on" if active > 1 else ", one filter on" if active else ""
    return escape_markdown(f"Which suspects: by {order[0].lower()}{order[1:]}{filters}")


def review_address(project: Project, run: Run) -> str:
    """Return the address at which the review asks for the suspects that are chosen here."""
    drawn = _list_drawn(project, run)
    query: dict[str, str | Sequence[str]] = {"project": str(st.session_state.get("project"))}
    signal = st.session_state.get("signal")
    if signal and signal != choose_default_signal(run.signals):
        query["signal"] = str(signal)
    for key in ("given", *_CLASSES_OF, "contains"):
        query[key] = _chosen(key) if key in drawn or key == "contains" else ()
    query |= {key: "true" for key in _DIFFERENCES if key in drawn and _chosen(key)}
    query |= {key: _chosen(key) for key in _ENDS if is_regression(project)}
    return f"review?{urlencode(query, doseq=True)}"


def forget_filters() -> None:
    """Forget what was chosen before: who follows a link to some examples means those alone.

    Streamlit keeps a widget's value for a run or two after Back, and would join it to the address.
    """
    for key in ("given", *_CLASSES_OF, *_DIFFERENCES, *_ENDS, "contains", "status"):
        st.session_state.pop(key, None)


def _chosen(key: str) -> Sequence[str]:
    """Return what a filter is set to, also before its widget has read the address."""
    if key in st.session_state:
        value = st.session_state[key]
        if isinstance(value, list):
            return value
        is_set = value is not None and value is not False and value != ""
        return [str(value)] if is_set else []
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
