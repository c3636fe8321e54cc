"""The format of what Label Studio exports, and of what this program exports for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_COLUMNS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader


@register_importer
class LabelStudioImporter(Importer):
    """One file of tasks with annotations (JSON), or of flat objects (JSON-MIN)."""

    name = "label-studio"
    title = "export of Label Studio"
    expected = "an export of Label Studio (JSON or JSON-MIN, choices and numbers)"
    order = 42
    layout = "rows"
    extensions = (".json",)
    is_sniffed = True
    forms = (
        Form(
            name="label-studio",
            words="an export of Label Studio",
            options=(*OF_COLUMNS, "encoding"),
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Return whether the file begins with tasks."""
        from relabel.importers.readers.annotations.label_studio import is_label_studio
        from relabel.importers.readers.table import is_json

        return not path.is_dir() and is_json(path) and is_label_studio(path)

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader:
        """Open the file; whoever names what is inside of a task gets it as a table of that.

        So did this program before it knew these files, and projects remember those names.
        """
        from relabel.importers.readers.annotations.label_studio import LabelStudioReader
        from relabel.importers.readers.json_lines import JsonLinesReader

        named = (options.label, options.target, options.image, *options.text_columns)
        is_inside = any(one and one.startswith(("data.", "annotations.")) for one in named)
        return (JsonLinesReader if is_inside else LabelStudioReader)(path, options)
