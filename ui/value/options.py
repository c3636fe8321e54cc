"""What the Value page is about: which test examples, whose gradients, what is explained."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from relabel.db.positions import PlacedExamples, find_last_event, read_placed
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.runs.folder import RunFolder
from relabel.text import Layers, shorten
from relabel.valuation.groups import DIVISIONS, Division, ValueGroup, parse_positions
from relabel.valuation.valuation import Valuation, ValueQuery, choose_groups, compute_valuation
from ui.address import select_in_address
from ui.failures import report_errors
from ui.inspect.evidence import LAYER_WORDS
from ui.labels import is_regression
from ui.runs.layers import layers_of
from ui.session import get_engine, run_folder
from ui.wording import escape_markdown

_DIVISIONS = {
    "all": "All test examples",
    "class": "A class",
    "correctness": "Right or wrong predictions",
    "chosen": "Some that I name",
}
_OF_NUMBERS = ("all", "chosen")
_EXPLAINED = {"loss": "Loss of the labels", "score": "Score of the predictions"}
_BY: dict[str, Division] = {name: name for name in DIVISIONS}
_TITLES = {"right": "predicted as labelled", "wrong": "predicted otherwise"}
_NAME_LENGTH = 40  # characters


def draw_options(
    project: Project, run: Run, test: PlacedExamples
) -> tuple[ValueQuery | None, Layers, str]:
    """Draw the choices that stand in the address.

    Returns:
        What is asked for, or None while no test example is named; the layers; and the name of the
        group that is shown, "" for the first one.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        divisions = {
            name: words
            for name, words in _DIVISIONS.items()
            if not is_regression(project) or name in _OF_NUMBERS
        }
        by = select_in_address("Worth to", divisions, name="by", default="all", width=230)
        shown = ""
        positions: tuple[int, ...] = ()
        if by == "chosen":
            positions = _draw_positions(len(test.ids))
        elif by in ("class", "correctness"):
            shown = _choose_group(project, test, _BY[by])
        explained = select_in_address(
            "Told by", _EXPLAINED, name="explained", default="loss", width=220
        )
        layers = _choose_layers(run)
    if by == "chosen" and not positions:
        return None, layers, shown
    query = ValueQuery(
        by=_BY.get(by, "all"),
        positions=positions,
        layers=layers,
        explained="score" if explained == "score" else "loss",
    )
    return query, layers, shown


def _choose_layers(run: Run) -> Layers:
    scored = layers_of(run)
    if len(scored) == 1:
        return scored[0]
    offered: dict[str, str] = {name: LAYER_WORDS[name] for name in scored}
    chosen = select_in_address("Gradients of", offered, name="layers", default=scored[0], width=150)
    return "all" if chosen == "all" else "last"


def _choose_group(project: Project, test: PlacedExamples, by: Division) -> str:
    groups = choose_groups(project, test, ValueQuery(by=by))
    titles = name_groups(groups)
    default = "wrong" if "wrong" in titles else next(iter(titles))
    label = "Class" if by == "class" else "Predictions"
    return select_in_address(label, titles, name=f"group-{by}", default=default, width=260)


def name_groups(groups: list[ValueGroup]) -> Mapping[str, str]:
    """Return what the screen says of each group, by its name."""
    return {
        group.name: f"{shorten(group.title, _NAME_LENGTH)} ({len(group.positions):,})"
        for group in groups
    }


def _draw_positions(count: int) -> tuple[int, ...]:
    """Draw the field for numbers of test examples, which the address keeps; return those typed."""
    key = "tests"
    if key not in st.session_state:
        st.session_state[key] = st.query_params.get(key, "")
    typed = st.text_input(
        "Test examples",
        key=key,
        max_chars=500,
        width=260,
        placeholder="3, 17, 20-40",
        help="Their numbers in the test split, as Inspect says them, from 1.",
    )
    if typed:
        st.query_params[key] = typed
    with report_errors():
        return parse_positions(typed, count)
    return ()


def read_test(project: Project, run: Run, count: int) -> PlacedExamples:
    """Return the test examples that the run has scored, read once for each state of the labels."""
    return _read(project, run, "test", count, find_last_event(get_engine(), project.id))


@st.cache_resource(
    show_spinner=False,
    max_entries=8,
    hash_funcs={Project: lambda one: one.id, Run: lambda one: one.id},
)
def _read(project: Project, run: Run, split: str, count: int, last_event: int) -> PlacedExamples:
    return read_placed(get_engine(), project.id, run.id, split, count)


def value_project(project: Project, run: Run, query: ValueQuery) -> Valuation:
    """Return the values that are asked for, computed once for each state of the labels.

    Raises:
        NoTestExamplesError: If the run has scored no test examples.
        NoScoreVectorsError: If the gradients of the predictions have not been computed.
        InputError: If there are too many groups.
        RunFolderError: If a file of the run is missing or damaged.
    """
    folder = run_folder(project, run)
    return _compute(
        project, run, RunFolder(folder), query, find_last_event(get_engine(), project.id)
    )


@st.cache_resource(
    show_spinner="Adding up the influences",
    max_entries=4,
    hash_funcs={
        Project: lambda one: one.id,
        Run: lambda one: one.id,
        RunFolder: lambda one: str(one.root),
        ValueQuery: repr,
    },
)
def _compute(
    project: Project, run: Run, folder: RunFolder, query: ValueQuery, last_event: int
) -> Valuation:
    return compute_valuation(get_engine(), project, run, folder, query)


def describe_query(valuation: Valuation, group: ValueGroup) -> str:
    """Return which test examples are meant, for a sentence."""
    count = len(group.positions)
    if group.name == "all":
        return f"all {count:,} test examples"
    if group.name == "chosen":
        return f"the {count:,} test examples that you named"
    title = escape_markdown(shorten(group.title, _NAME_LENGTH))
    if group.name in _TITLES:
        return f"the {count:,} test examples that are {title}"
    return f"the {count:,} test examples of the class {title}"
