"""The corrected labels, to take away."""

from __future__ import annotations

from datetime import date

import streamlit as st

from tracin_core.reviews.export import ExportFormat, export_labels
from tracin_core.reviews.projects import Project
from ui.segments import segment_words
from ui.session import get_engine

_FORMATS: dict[ExportFormat, tuple[str, str]] = {
    "csv": ("CSV", "text/csv"),
    "parquet": ("Parquet", "application/vnd.apache.parquet"),
    "jsonl": ("JSON Lines", "application/jsonl"),
}


def draw_export(project: Project) -> None:
    """Draw the choice of format and the download.

    The file is made when the button is pressed, so it holds what stands in the database then,
    and not what stood there when the page was drawn.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.segmented_control(
            "Corrected labels",
            list(_FORMATS),
            format_func=lambda name: segment_words(_FORMATS[name][0]),
            default="csv",
            required=True,
            key="export-format",
        )
        form: ExportFormat = chosen or "csv"
        reviewed_only = st.toggle(
            "Reviewed examples only",
            key="export-reviewed",
            help="Otherwise every example is in the file, with the label as it stands now.",
        )

        def make_file() -> bytes:
            return export_labels(
                get_engine(), project.id, format=form, reviewed_only=bool(reviewed_only)
            )

        st.download_button(
            "Export",
            make_file,
            file_name=f"{project.slug}-labels-{date.today():%Y-%m-%d}.{form}",
            mime=_FORMATS[form][1],
            type="primary",
            key="export",
            on_click="ignore",
        )
    st.caption(
        "In the CSV, cells that a spreadsheet would run as a formula begin with an apostrophe; "
        "Parquet and JSON Lines hold the texts as they are."
    )
