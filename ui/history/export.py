"""The corrected labels to take away, in any form that can hold them, and the history itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import current_run
from relabel.db.team.reviewers import may_lead
from relabel.errors import RunFolderError
from relabel.export import export_labels
from relabel.export.counts import count_exported
from relabel.export.history import export_history
from relabel.exporters.exported import Exported, OwnFile
from relabel.exporters.labelstudio import describe_interface
from relabel.exporters.own.source import list_imports, name_ending, open_own
from relabel.exporters.registry import EXPORTERS, OF_SOURCE, Exporter, list_fitting
from relabel.importers.files.shared import FileState, read_state
from relabel.runs.held_out import HeldOut
from relabel.text import Split
from tracin_core.files import expand_path
from ui.failures import report_errors
from ui.inspect.unseen import get_held_out
from ui.session import current_reviewer, get_engine, get_workspace
from ui.uploads import read_path
from ui.wording import escape_markdown

_ONLY_LEADS = "Only a lead exports. Team says who leads."


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """What a person wants to take away."""

    exporter: Exporter
    reviewed_only: bool
    excluded: str
    evidence: bool
    own: OwnFile


def draw_export(project: Project) -> None:
    """Draw the choice of form and the download.

    The file is made when the button is pressed, so it holds what stands in the database then,
    and not what stood there when the page was drawn.
    """
    fitting = {one.name: one for one in list_fitting(project.kind, project.task)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Corrected labels",
            list(fitting),
            format_func=lambda name: EXPORTERS[name].title,
            key="export-format",
            width=260,
        )
        exporter = fitting.get(chosen) or next(iter(fitting.values()))
        reviewed_only = st.toggle(
            "Reviewed examples only",
            key="export-reviewed",
            help="Otherwise every example is in the file, with the label as it stands now.",
        )
        with st.popover("What is in it", key="export-options"):
            choice = _draw_options(project, exporter, bool(reviewed_only))
        is_ready = _check_own(project, choice)
        may_export = may_lead(get_engine(), current_reviewer())
        st.download_button(
            "Export",
            _file_maker(project, choice),
            file_name=exporter.name_file(
                project.slug,
                reviewed_only=choice.reviewed_only,
                day=date.today(),
                of_source=name_ending(project.settings, choice.own.number),
            ),
            mime=exporter.mime,
            type="primary",
            key="export",
            on_click="ignore",
            disabled=not (is_ready and may_export),
            help=None if may_export else _ONLY_LEADS,
        )
    counts = count_exported(get_engine(), project.id)
    held = counts.describe(exporter, reviewed_only=choice.reviewed_only, excluded=choice.excluded)
    st.caption(f"{held}. {describe_changes(choice.exporter, choice.own)}")
    if exporter.name == "label-studio":
        with st.expander("The labelling interface for Label Studio"):
            st.code(describe_interface(project.kind, project.task, project.classes), language="xml")


def _draw_options(project: Project, exporter: Exporter, reviewed_only: bool) -> _Choice:
    """Draw what can be said of a form beside which examples are in it."""
    drops = st.toggle(
        "Without excluded examples",
        value=exporter.drops_excluded,
        key=f"export-drops-{exporter.drops_excluded}",
        help="Where they are in the file, they are marked; a folder of images has no mark for it.",
    )
    is_own = exporter.extension == OF_SOURCE
    evidence = False
    if exporter.is_table or exporter.name == "huggingface":
        evidence = st.toggle(
            "With predictions, ranks and scores", key="export-evidence", help="Of the current run."
        )
    return _Choice(
        exporter=exporter,
        reviewed_only=reviewed_only,
        excluded="drop" if drops else "keep",
        evidence=bool(evidence),
        own=_draw_own(project) if is_own else OwnFile(),
    )


def _draw_own(project: Project) -> OwnFile:
    """Draw how a person's own file is given back."""
    imports = list_imports(project.settings)
    number = None
    if len(imports) > 1:
        number = st.selectbox(
            "Which file",
            range(1, len(imports) + 1),
            format_func=lambda one: f"{one}: {imports[one - 1]}",
            key="export-import",
        )
    beside = st.toggle(
        "With columns for what was decided",
        key="export-beside",
        help="Given, predicted and suggested label, rank, scores, decision, reviewer and time, "
        "after your own columns.",
    )
    protects = st.toggle(
        "Protect spreadsheets from formulas",
        key="export-protects",
        help="Puts an apostrophe before cells of a CSV that a spreadsheet would run. This changes "
        "bytes that are yours.",
    )
    typed = st.text_input(
        "Where the file is now",
        key="export-source",
        placeholder=imports[(number or 1) - 1] if imports else "",
        help="Where it was imported from, if you leave this empty. It must be the same file.",
    )
    return OwnFile(
        number=number, path=read_path(typed or ""), beside=bool(beside), protects=bool(protects)
    )


def _check_own(project: Project, choice: _Choice) -> bool:
    """Check that a file can be given back, and say why not: a download cannot say it."""
    if choice.exporter.extension != OF_SOURCE:
        return True
    path = choice.own.path or _imported_path(project, choice.own.number)
    with report_errors():
        _open_once(project, choice.own, _read_states(path))
        return True
    return False


def _imported_path(project: Project, number: int | None) -> Path | None:
    places = list_imports(project.settings)
    return expand_path(Path(places[(number or 1) - 1])) if places else None


def _read_states(path: Path | None) -> list[FileState | None]:
    """Return the state of a file, or of those in a folder; many of a data set lie side by side."""
    if path is None or not path.is_dir():
        return [] if path is None else [read_state(path)]
    return [read_state(one) for form in ("", "*/") for one in sorted(path.glob(form + "*.parquet"))]


@st.cache_data(show_spinner="Looking at the file", max_entries=20, hash_funcs={Project: repr})
def _open_once(project: Project, own: OwnFile, states: list[FileState | None]) -> str:
    """Open the file once for each state that it is in; return its name."""
    exported = Exported(
        columns={}, kind=project.kind, task=project.task, settings=project.settings, own=own
    )
    return open_own(exported).name


def _file_maker(project: Project, choice: _Choice) -> Callable[[], bytes]:
    who = current_reviewer()  # a download runs outside of the page, which knows the person

    def make_file() -> bytes:
        return export_labels(
            get_engine(),
            project.id,
            format=choice.exporter.name,
            reviewed_only=choice.reviewed_only,
            held_out=_open_suggestions(project, "train"),
            held_out_test=_open_suggestions(project, "test"),
            excluded=choice.excluded,
            evidence=choice.evidence,
            own=choice.own,
            media=get_workspace().media_folder(project.slug),
            asked_by=who,
        )

    return make_file


def draw_history_export(project: Project) -> None:
    """Draw the download of every event."""
    tables = [one for one in EXPORTERS.values() if one.is_table]
    who = current_reviewer()
    may_export = may_lead(get_engine(), who)

    def make_file(exporter: Exporter) -> bytes:
        content = export_history(get_engine(), project.id, format=exporter.name, asked_by=who)
        return content if isinstance(content, bytes) else content.read_bytes()

    with st.popover("Take the history away", key="history-forms"):
        st.caption(
            "Every decision and every undo, with who, when, the label before and after, and the "
            "suggestion, rank and score that were shown."
        )
        for exporter in tables:
            st.download_button(
                exporter.title,
                lambda exporter=exporter: make_file(exporter),  # type: ignore[misc]
                file_name=exporter.name_file(
                    project.slug, reviewed_only=False, day=date.today(), what="history"
                ),
                mime=exporter.mime,
                key=f"history-{exporter.name}",
                on_click="ignore",
                disabled=not may_export,
                help=None if may_export else _ONLY_LEADS,
            )


def _open_suggestions(project: Project, split: Split) -> HeldOut | None:
    """Return what models of the current run suggest; None where there is nothing to read.

    The corrected labels are what an export is for; Review and Inspect say what is damaged.
    """
    run = current_run(get_engine(), project.id)
    try:
        return None if run is None else get_held_out(project, run, split)
    except RunFolderError:
        return None


def describe_changes(exporter: Exporter, own: OwnFile) -> str:
    """Return in words what a form does to texts."""
    if exporter.extension == OF_SOURCE and not own.protects:
        return "Your file holds what you imported, byte for byte, but for the corrected labels."
    if exporter.extension == OF_SOURCE:
        return "In your file, cells that a spreadsheet would run begin with an apostrophe."
    if exporter.changes:
        return f"In the {exporter.title}, {escape_markdown(exporter.changes)}."
    return f"{exporter.title} holds the texts as they are."
