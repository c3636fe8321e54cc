"""The corrected labels, to take away."""

from __future__ import annotations

from datetime import date

import streamlit as st

from tracin_core.exporters import EXPORTERS
from tracin_core.reviews.export import export_labels
from tracin_core.reviews.projects import Project
from ui.segments import segment_words
from ui.session import get_engine


def draw_export(project: Project) -> None:
    """Draw the choice of format and the download.

    The file is made when the button is pressed, so it holds what stands in the database then,
    and not what stood there when the page was drawn.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.segmented_control(
            "Corrected labels",
            list(EXPORTERS),
            format_func=lambda name: segment_words(EXPORTERS[name].title),
            default=next(iter(EXPORTERS)),
            required=True,
            key="export-format",
        )
        exporter = EXPORTERS[chosen or next(iter(EXPORTERS))]
        reviewed_only = st.toggle(
            "Reviewed examples only",
            key="export-reviewed",
            help="Otherwise every example is in the file, with the label as it stands now.",
        )

        def make_file() -> bytes:
            return export_labels(
                get_engine(), project.id, format=exporter.name, reviewed_only=bool(reviewed_only)
            )

        st.download_button(
            "Export",
            make_file,
            file_name=f"{project.slug}-labels-{date.today():%Y-%m-%d}.{exporter.extension}",
            mime=exporter.mime,
            type="primary",
            key="export",
            on_click="ignore",
        )
    st.caption(_describe_changes())


def _describe_changes() -> str:
    """Return in words what each format does to texts."""
    words = [f"in the {one.title}, {one.changes}" for one in EXPORTERS.values() if one.changes]
    *most, last = [one.title for one in EXPORTERS.values() if not one.changes]
    verb = "hold" if most else "holds"
    lossless = f"{', '.join(most)} and {last}" if most else last
    sentence = "; ".join([*words, f"{lossless} {verb} the texts as they are."])
    return sentence[0].upper() + sentence[1:]
