"""What was understood of the data, before anything is written."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from relabel.importers.formats.registry import IMPORTERS
from relabel.importers.records import Preview, PreviewRow, choose_problems
from relabel.text import shorten
from ui.fields import name_texts
from ui.wording import SPLIT_WORDS, escape_markdown

# "--label or --target says otherwise.", "--format table says otherwise." and "with --label"
_SWITCHES = re.compile(
    r" *--[a-z-]+(?: [a-z-]+)?(?:(?:,| or| and)+ --[a-z-]+)* says? (?:otherwise|else)\."
)
_SWITCH = re.compile(r" with --([a-z]+(?:-[a-z]+)*)")
_LEFT = re.compile(r"--([a-z]+(?:-[a-z]+)*)")
BOXES = {
    "text": "“Columns with the text”",
    "image": "“Column with the image”",
    "features": "“Columns that the model sees”",
    "label": "“Column with the class”",
    "target": "“Column with the number”",
    "split": "“Column that tells train from test”",
    "key": "“Column with a lasting name”",
    "truth": "“Column with the truth”",
    "status": "“Column that says whether a label holds”",
    "status-values": "“Values with which a row is taken”",
    "classes": "“Names of the classes”",
    "train-values": "“Folders to train with”",
    "test-values": "“Folders to test with”",
    "merge-twins": "“Merge spellings of a name”",
    "encoding": "“Encoding of a text file”",
    "delimiter": "“Between the fields of a line”",
    "sheet": "“Sheet of a workbook”",
    "columns": "“Names of the columns”",
}
_SHOWN_PROBLEMS = 20
_SHOWN_CLASSES = 1000
_SHOWN_NOTES = 12
_CELL_LENGTH = 400  # characters; a cell shows a line and a bubble shows the rest
_THUMBNAIL = 64  # CSS pixels
_TABLE_HEIGHT = 320  # CSS pixels


def draw_preview(preview: Preview) -> None:
    """Draw what was understood: notes, the first rows, classes, columns and problems."""
    folders = IMPORTERS[preview.format].layout == "folders"
    told = [without_switches(note, folders=folders) for note in preview.notes]
    notes = [note for note in told if note]
    if notes:
        _draw_notes(notes)
    num_problems = sum(preview.problem_counts.values())
    names = [
        "First rows",
        "Classes" if preview.classes else "",
        "Columns" if preview.columns else "",
    ]
    title = f"{preview.problem_noun.capitalize()}s"
    names.append(f"{title} ({num_problems:,})" if num_problems else "")
    tabs = dict(zip((n for n in names if n), st.tabs([n for n in names if n]), strict=True))
    for name, tab in tabs.items():
        with tab:
            if name == "First rows":
                _draw_rows(preview.rows, preview)
            elif name == "Classes":
                _draw_classes(preview)
            elif name == "Columns":
                _draw_columns(preview)
            else:
                _draw_problems(preview)


def _draw_notes(notes: list[str]) -> None:
    """Draw all notes; the first of many at once: a wide table may have one for every column."""
    lines = [f"- {escape_markdown(note)}" for note in notes]
    st.caption("\n".join(lines[:_SHOWN_NOTES]))
    if len(lines) > _SHOWN_NOTES:
        with st.expander(f"{len(lines) - _SHOWN_NOTES} more notes", key="preview-more-notes"):
            st.caption("\n".join(lines[_SHOWN_NOTES:]))


def without_switches(text: str, *, folders: bool = False) -> str:
    """Return a message with the names of the boxes here for the command line's switches.

    Args:
        text: The message.
        folders: Whether the box on the screen for the classes is that of their folders.
    """
    boxes = BOXES | ({"classes": "“Folders that are classes”"} if folders else {})
    plain = _SWITCH.sub(
        lambda found: f" under {boxes[found[1]]}" if found[1] in boxes else "",
        _SWITCHES.sub("", text),
    )
    return _LEFT.sub(lambda found: boxes.get(found[1], found[0]), plain.strip())


def _draw_rows(rows: Sequence[PreviewRow], preview: Preview) -> None:
    if not rows:
        st.caption("There is no row to show.")
        return
    answer = "Number" if preview.task == "regression" else "Label"
    table: dict[str, list[object]] = {
        "Place": [row.where for row in rows],
        "Split": [SPLIT_WORDS.get(row.split, row.split) for row in rows],
        answer: [shorten(row.answer, _CELL_LENGTH) for row in rows],
    }
    config = {}
    if preview.kind == "image":
        # Beside the frame's own names, a column of the data could bear any name.
        table["Image"] = [_data_address(row.image) for row in rows]
        config["Image"] = st.column_config.ImageColumn(width="small")
    elif preview.kind == "text":
        table["Text"] = [
            shorten(name_texts(row.text, row.fields) or "", _CELL_LENGTH) for row in rows
        ]
        config["Text"] = st.column_config.TextColumn(width="large")
    else:
        taken = set(table)
        for name in rows[0].fields or {}:
            shown = name if name not in taken else f"{name} "
            table[shown] = [_cell((row.fields or {}).get(name)) for row in rows]
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        column_config=config,
        row_height=_THUMBNAIL if preview.kind == "image" else None,
        height=min(_TABLE_HEIGHT, 40 + _THUMBNAIL * len(rows))
        if preview.kind == "image"
        else "auto",
        alt="The first rows of the data",
        key="preview-rows",
    )


def _data_address(image: bytes | None) -> str | None:
    """Return the picture itself as an address, so that the browser asks nobody for it."""
    if image is None:
        return None
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def _cell(value: object) -> str:
    return "–" if value is None else shorten(str(value), _CELL_LENGTH)


def _draw_classes(preview: Preview) -> None:
    names = preview.classes[:_SHOWN_CLASSES]
    frame = pd.DataFrame(
        {
            "Class": [shorten(name, _CELL_LENGTH) for name in names],
            "Examples": [preview.class_counts.get(name, 0) for name in names],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        alt="Examples by class",
        key="preview-classes",
    )
    if len(preview.classes) > _SHOWN_CLASSES:
        st.caption(f"The first {_SHOWN_CLASSES:,} of {len(preview.classes):,} classes.")


def _draw_columns(preview: Preview) -> None:
    frame = pd.DataFrame(
        {
            "Column": [column.name for column in preview.columns],
            "Used as": [column.role for column in preview.columns],
            "Holds": [column.kind for column in preview.columns],
            "For example": [" · ".join(column.examples) for column in preview.columns],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        alt="The columns and what they are used as",
        key="preview-columns",
    )


def _draw_problems(preview: Preview) -> None:
    counts = sorted(preview.problem_counts.items(), key=lambda item: -item[1])
    st.caption(escape_markdown("; ".join(f"{what}: {count:,}" for what, count in counts)))
    # The first with their places and the way out.
    folders = IMPORTERS[preview.format].layout == "folders"
    shown = choose_problems(preview.problems, _SHOWN_PROBLEMS)
    for problem in shown:
        tail = "" if problem.refused else " (kept)"
        st.text(f"{problem.where}{tail}: {without_switches(problem.message, folders=folders)}")
    total = sum(preview.problem_counts.values())
    if total > len(shown):
        st.caption(f"The first {len(shown)} of {total:,}.")
