"""How the queue is sorted and narrowed; kept in the address, so that it can be shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.queue import QueueFilter
from relabel.db.runs import Run, read_group_counts
from relabel.db.stats import LARGEST
from relabel.runs.groups import GroupName, parse_group
from relabel.runs.held_out import recall_summary
from relabel.text import SPLITS, Split
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
_ENDS = {"from": "Given value from", "to": "Given value to"}
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
_STATUS_CHOICES = {"pending": "To review", "reviewed": "Reviewed", "any": "All"}
# By their names in the address, with what each is when it filters nothing.
FILTER_KEYS: dict[str, Any] = {
    "given": [],
    "suggested": [],
    "predicted": [],
    "contains": "",
    "differs": False,
    "disagrees": False,
    "from": None,
    "to": None,
    "group": "",
}
# What the examples of a group have in common.
GROUP_TITLES = {"near": "Nearly the same", "cluster": "Cluster"}
_SAME_TITLES = {"image": "Same picture", "text": "Same text", "table": "Same row"}
_SPLIT_CHOICES = {"train": "Train", "test": "Test"}
_SPLIT_HELP = (
    "Test examples are ranked, decided and counted apart. What they should have been says how good "
    "the model really is."
)
NO_GROUPS = (
    "It was scored before there were groups of alike examples. Score again on Runs to have them."
)
LONGEST_TEXT = 200  # characters that are looked for


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
    drawn = _list_drawn(project, run)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = _choose_split(run, on_change)
        group = _choose_group(project, run, on_change)
        signals = run.of_split(split).signals
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
                default="pending",
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
                max_chars=LONGEST_TEXT,
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
            split=split,
            group=group,
        ),
    )


def name_group_kind(project: Project, kind: str) -> str:
    """Return what the examples of a group have in common, in words."""
    return GROUP_TITLES.get(kind) or _SAME_TITLES.get(project.kind, "Same content")


def _choose_group(
    project: Project, run: Run, on_change: Callable[[], None] | None
) -> GroupName | None:
    """Draw the chosen group of alike examples with a way out of it, or nothing without one."""
    state = st.session_state
    word = str(state["group"] if "group" in state else st.query_params.get("group", ""))
    if not word:
        state.pop("group", None)
        st.query_params.pop("group", None)
        return None
    name = find_group(run, word)
    if name is None:
        state.pop("group", None)
        st.query_params.pop("group", None)
        st.warning(
            f"This run has no group “{escape_markdown(word[:40])}”, so all examples are shown. "
            + ("Open one under Groups." if read_group_counts(run.config) else NO_GROUPS)
        )
        return None
    title = f"{name_group_kind(project, name.kind)}, no. {name.number}"
    chosen = select_in_address(
        "Group",
        {"": "All", word: title},
        name="group",
        default="",
        width=200,
        on_change=on_change,
        help="Examples that are alike by their contents; opened under Groups.",
    )
    return name if chosen else None


def find_group(run: Run, word: str) -> GroupName | None:
    """Return the group that a word names; None where the run has none of that name."""
    name = parse_group(word)
    counts = read_group_counts(run.config)
    known = name is not None and name.kind in counts and name.number <= counts[name.kind].groups
    return name if known else None


def _choose_span(
    project: Project, on_change: Callable[[], None] | None
) -> tuple[float | None, float | None]:
    """Draw between which numbers the given ones must lie, of a project with numbers."""
    if not is_regression(project):
        return None, None
    with st.container(horizontal=True, width="content"):  # one is nothing without the other
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


def _choose_split(run: Run, on_change: Callable[[], None] | None) -> Split:
    """Draw the choice of the split, where test examples are ranked."""
    if not run.test_signals:
        if st.query_params.get("split") == "test":
            st.warning(
                "This run ranks no test examples, so train examples are shown. Score again on Runs."
            )
        return "train"
    chosen = select_in_address(
        "Split",
        _SPLIT_CHOICES,
        name="split",
        default="train",
        width=100,
        on_change=on_change,
        help=_SPLIT_HELP,
    )
    return "test" if chosen == "test" else "train"


def filter_to_json(filter: QueueFilter) -> dict[str, Any]:
    """Return a filter as a screen sends it with its questions."""
    return {
        "given": list(filter.given_labels),
        "predicted": list(filter.predicted_labels),
        "suggested": list(filter.suggested_labels),
        "disagrees": filter.disagreement_only,
        "differs": filter.suggestion_differs,
        "text": filter.text,
        "from": filter.given_from,
        "to": filter.given_to,
        "status": filter.status,
        "split": filter.split,
        "group": "" if filter.group is None else str(filter.group),
    }


def read_filter(sent: Mapping[str, Any]) -> QueueFilter | None:
    """Return the filter that a screen sent, which may be anything; None where it is none."""
    labels = [sent.get(name, []) for name in ("given", "predicted", "suggested")]
    text, status = sent.get("text", ""), sent.get("status", "any")
    split, ends = sent.get("split", "train"), [sent.get(name) for name in _ENDS]
    word = sent.get("group", "")
    group = parse_group(word) if isinstance(word, str) else None
    is_sound = (
        (word == "" or group is not None)
        and all(isinstance(one, list) for one in labels)
        and all(type(label) is int for one in labels for label in one)
        and isinstance(text, str)
        and len(text) <= LONGEST_TEXT
        and all(one is None or _is_number(one) for one in ends)
        and status in _STATUS_CHOICES
        and split in SPLITS
    )
    if not is_sound:
        return None
    given, predicted, suggested = map(tuple, labels)
    return QueueFilter(
        given_labels=given,
        predicted_labels=predicted,
        suggested_labels=suggested,
        status=status,
        disagreement_only=bool(sent.get("disagrees")),
        suggestion_differs=bool(sent.get("differs")),
        text=text,
        given_from=ends[0],
        given_to=ends[1],
        split=split,
        group=group,
    )


def _is_number(sent: Any) -> bool:
    return type(sent) in (int, float) and abs(sent) <= LARGEST


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
    signals, drawn = run.of_split(_read_split(run)).signals, _list_drawn(project, run)
    names = [name for key in ("given", *_CLASSES_OF) if key in drawn for name in _chosen(key)]
    active = len([name for name in names if name in project.classes])
    active += len([key for key in _DIFFERENCES if key in drawn and _chosen(key)])
    active += bool(_chosen("contains"))
    active += bool(_chosen("group"))
    active += is_regression(project) and any(_chosen(key) for key in _ENDS)
    split = " of the test split" if _read_split(run) == "test" else ""
    offered = name_signals(signals)
    chosen = str(st.session_state.get("signal"))
    if chosen not in offered:
        chosen = read_choice("signal", offered, choose_default_signal(signals))
    order = offered[chosen]
    filters = f", {active} filters on" if active > 1 else ", one filter on" if active else ""
    return escape_markdown(f"Which suspects{split}: by {order[0].lower()}{order[1:]}{filters}")


def _read_split(run: Run) -> Split:
    """Return the chosen split, also before its box has read the address."""
    chosen = st.session_state.get("split") or st.query_params.get("split")
    return "test" if chosen == "test" and run.test_signals else "train"


def review_address(project: Project, run: Run) -> str:
    """Return the address at which the review asks for the suspects that are chosen here."""
    query = {"project": str(st.session_state.get("project")), **list_chosen(project, run)}
    return f"review?{urlencode(query, doseq=True)}"


def list_chosen(project: Project, run: Run) -> dict[str, str | Sequence[str]]:
    """Return order and filters as they stand in the address, but the state."""
    drawn = _list_drawn(project, run)
    query: dict[str, str | Sequence[str]] = {}
    split, signal = _read_split(run), st.session_state.get("signal")
    if split == "test":
        query["split"] = split
    if signal and signal != choose_default_signal(run.of_split(split).signals):
        query["signal"] = str(signal)
    for key in ("given", *_CLASSES_OF, "contains", "group"):
        query[key] = _chosen(key) if key in drawn or key in ("contains", "group") else ()
    query |= {key: "true" for key in _DIFFERENCES if key in drawn and _chosen(key)}
    query |= {key: _chosen(key) for key in _ENDS if is_regression(project)}
    return query


def remember_view(project: Project, run: Run, view: QueueView) -> str:
    """Return order and filter as one word of an address, for a page that has no such widgets."""
    query = {**list_chosen(project, run), "status": view.filter.status}
    return urlencode(query, doseq=True)


def recall_view(project: Project, run: Run, word: str) -> QueueView | None:
    """Return what `remember_view` made a word of; None where it is none, or fits no more."""
    query = parse_qs(word)
    if not query:
        return None

    def labels(key: str) -> tuple[int, ...]:
        chosen = set(query.get(key, []))
        return tuple(label for label, name in enumerate(project.classes) if name in chosen)

    split: Split = "test" if query.get("split") == ["test"] and run.test_signals else "train"
    signals = run.of_split(split).signals
    if not signals:
        return None
    signal = query.get("signal", [choose_default_signal(signals)])[0]
    status = query.get("status", ["pending"])[0]
    if signal not in signals or status not in _STATUS_CHOICES:
        return None
    return QueueView(
        signal=signal,
        filter=QueueFilter(
            given_labels=labels("given"),
            predicted_labels=labels("predicted"),
            suggested_labels=labels("suggested"),
            status=status,  # type: ignore[arg-type]  # one of _STATUS_CHOICES
            disagreement_only="disagrees" in query,
            suggestion_differs="differs" in query,
            text="".join(query.get("contains", []))[:LONGEST_TEXT],
            given_from=_read_number(query.get("from")),
            given_to=_read_number(query.get("to")),
            split=split,
            group=parse_group("".join(query.get("group", []))),
        ),
    )


def _read_number(words: Sequence[str] | None) -> float | None:
    """Return the number that stands in an address, or None."""
    try:
        number = float((words or [""])[0])
    except ValueError:
        return None
    return number if _is_number(number) else None


def forget_filters() -> None:
    """Forget what was chosen before: who follows a link to some examples means those alone.

    Streamlit keeps a widget's value for a run or two after Back, and would join it to the address.
    """
    for key in (
        "given",
        *_CLASSES_OF,
        *_DIFFERENCES,
        *_ENDS,
        "contains",
        "status",
        "split",
        "group",
    ):
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
