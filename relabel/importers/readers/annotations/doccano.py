"""Exports of doccano: JSON lines with a list of labels, or with marked passages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from relabel.importers.files.served import names_picture
from relabel.importers.options import ImportOptions
from relabel.importers.readers.json_lines import JsonLinesReader, peek_objects
from relabel.importers.records import Problem
from tracin_core.errors import InputError

# What is labelled, by the version of doccano and the kind of project.
_CONTENT = ("text", "data", "filename")
# Where passages and what is between them stand.
_MARKED = ("entities", "relations", "labels", "label")


def is_doccano(path: Path) -> bool:
    """Return whether a file begins with objects as doccano writes them."""
    first = peek_objects(path)
    return bool(first) and all(
        any(isinstance(one.get(name), str) for name in _CONTENT)
        and (isinstance(one.get("label"), list) or _is_marked(one))
        for one in first
    )


def _is_marked(found: Mapping[str, Any]) -> bool:
    """Return whether passages of a text are marked: ``[[0, 5, "PER"]]``, or objects that say so."""
    return any(
        isinstance(one := found.get(name), list)
        and any(
            isinstance(part, list) or (isinstance(part, dict) and "start_offset" in part)
            for part in one
        )
        for name in _MARKED
    )


class DoccanoReader(JsonLinesReader):
    """Rows of an export of doccano."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        super().__init__(path, options)
        self._check_is_classified()
        columns = self.schema.columns
        content = next((name for name in _CONTENT if name in columns), None)
        roles = {"label": "label"} if "label" in columns else {}
        if content is not None:
            roles["image" if self._names_pictures(content) else "text"] = content
        self.schema = replace(self.schema, roles=roles)

    def _names_pictures(self, column: str) -> bool:
        return all(names_picture(one.get(column)) for one in peek_objects(self.path))

    def _check_is_classified(self) -> None:
        """Check that some examples have labels of their own.

        Raises:
            InputError: If passages are marked in all that have labels.
        """
        marked, example = 0, 0
        for number, found in self._parse():
            if isinstance(found, Problem):
                continue
            if _is_marked(found):
                marked, example = marked + 1, example or number
            elif found.get("label"):
                return
        if marked:
            raise InputError(
                f"{self.path} is an export of doccano in which passages are marked (sequence "
                f"labelling), in {marked:,} rows, such as row {example:,}. Expected one label for "
                'each text: {"text": "...", "label": ["pos"]}. Passages are not checked here; '
                "classify whole texts, or cut the passages out and import them as texts of their "
                "own."
            )
