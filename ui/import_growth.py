"""What more data will add to a project that exists, before anything is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from tracin_core.errors import TracInError
from tracin_core.importing.growth import describe_other_texts
from tracin_core.importing.surveying import preview_import, survey_for
from tracin_core.numerals import counted
from tracin_core.reviews.projects import Project
from tracin_core.sources import ImportOptions, Preview
from ui.import_preview import draw_problem_list, without_switches
from ui.import_reading import name_data
from ui.plain_text import escape_markdown, shorten
from ui.session import get_engine, get_workspace

_KEPT = "import-growth"


@dataclass(frozen=True)
class Growth:
    """What an import will add.

    Attributes:
        preview: Of the data as it is read into the project.
        num_known: Examples that the project has already.
        classes_added: Classes that are new to it.
    """

    preview: Preview
    num_known: int
    classes_added: tuple[str, ...]


def draw_growth(path: Path, options: ImportOptions, project: Project) -> int:
    """Compare the data with the project, and say what is new, known, and changed.

    Returns:
        The number of examples that would be added; 0 where the data does not fit the project,
        which is said.
    """
    try:
        with st.spinner("Comparing the data with the project"):
            growth = _read_growth(path, options, project)
    except TracInError as error:
        st.error(escape_markdown(without_switches(str(error))))
        return 0
    st.markdown(escape_markdown(summarize_growth(growth)))
    other_texts = describe_other_texts(project, growth.preview.options)
    if other_texts:
        st.warning(escape_markdown(other_texts))
    total = sum(growth.preview.problem_counts.values())
    if total:
        with st.expander(f"{counted(total, 'finding')} beside what the project has"):
            draw_problem_list(growth.preview.problems, total=total)
    return growth.preview.num_usable


def summarize_growth(growth: Growth) -> str:
    """Return what is new and what is known, in two or three sentences."""
    new, known = growth.preview.num_usable, growth.num_known
    said = [f"{counted(new, 'example')} would be added." if new else "Nothing in it is new."]
    if known:
        is_known = "is" if known == 1 else "are"
        said.append(f"{known:,} {is_known} there already and would stay as decided.")
    if growth.classes_added:
        names = ", ".join(f"“{shorten(name, 40)}”" for name in growth.classes_added[:5])
        more = len(growth.classes_added) - 5
        said.append(f"New classes: {names}{f' and {more:,} more' if more > 0 else ''}.")
    return " ".join(said)


def _read_growth(path: Path, options: ImportOptions, project: Project) -> Growth:
    """Return the comparison; the second time from memory, until data or project has changed."""
    batches = len(project.settings.get("imports", ()))
    asked = json.dumps(options.to_json(), sort_keys=True)
    mark = f"{name_data(path)} {project.id} {batches} {asked}"
    kept = st.session_state.get(_KEPT)
    if kept is None or kept[0] != mark:
        surveyed = survey_for(get_engine(), project.slug, path, options)
        preview, plan = preview_import(get_engine(), get_workspace(), project.slug, surveyed)
        kept = (mark, Growth(preview, plan.num_known, plan.classes_added))
        st.session_state[_KEPT] = kept
    found: Growth = kept[1]
    return found
