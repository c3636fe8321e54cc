"""Exports of Prodigy (``db-out``): JSON lines with an answer to a question about each example.

The question is a label to accept or reject (binary), or several options of which some are accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from relabel.importers.columns.values import show
from relabel.importers.options import ImportOptions
from relabel.importers.readers.json_lines import JsonLinesReader, peek_objects
from relabel.importers.records import Problem
from relabel.text import counted
from tracin_core.errors import InputError

_ANSWERS = ("accept", "reject", "ignore")
_CONTENT = ("text", "image")
_SHOWN = 5
# How the question was put, and what says where in the example something is.
_ASIDE = ("options", "spans", "tokens", "relations", "config")


def is_prodigy(path: Path) -> bool:
    """Return whether a file begins with answers as Prodigy writes them."""
    first = peek_objects(path)
    return bool(first) and all(
        one.get("answer") in _ANSWERS
        and any(isinstance(one.get(name), str) for name in _CONTENT)
        and ("_task_hash" in one or "label" in one or "accept" in one or "spans" in one)
        for one in first
    )


class ProdigyReader(JsonLinesReader):
    """Rows of an export of Prodigy."""

    passed_over = _ASIDE

    def __init__(self, path: Path, options: ImportOptions) -> None:
        super().__init__(path, options)
        has, named, labels = self._look_through()
        self._check_is_classified(has)
        if has["rejected"] and len(labels) == 1 and not has["accept"] and options.label is None:
            raise InputError(
                f"{self.path} is an export of Prodigy that asks in all rows about one label, "
                f"{show(labels.pop())}, which is accepted or rejected. Expected several labels. "
                "Take the answers as the classes: --label answer --classes reject,accept"
            )
        content = "image" if has["image"] > has["text"] else "text"
        label = "accept" if has["accept"] else "label"
        notes = list(self.schema.notes)
        if has["rejected"] and label == "label":
            notes.append(
                f"Of {counted(has['rejected'], 'rejected row')} it is known only that the label "
                "does not hold, so they have none. If nobody has accepted another label for them, "
                "label them with Prodigy's textcat.manual or image.manual."
            )
        if named and label == "accept":
            shown = ", ".join(f"{key} ({text})" for key, text in list(named.items())[:_SHOWN])
            notes.append(f"Classes are called by the options' ids, not by their texts: {shown}.")
        if has["spans"]:
            notes.append(f"Marked passages, in {counted(has['spans'], 'row')}, are not read.")
        roles = {"label": label, content: content}
        self.schema = replace(self.schema, roles=roles, notes=tuple(notes))

    def _look_through(self) -> tuple[Counter[str], dict[str, str], set[str]]:
        """Count what rows have; find texts of options that differ from their ids, and labels."""
        has: Counter[str] = Counter()
        named: dict[str, str] = {}
        labels: set[str] = set()
        for _, found in self._parse():
            if isinstance(found, Problem):
                continue
            has.update(name for name in (*_CONTENT, "label", "accept", "spans") if found.get(name))
            has["rejected"] += found.get("answer") == "reject"
            if len(labels) < _SHOWN and found.get("label"):
                labels.add(str(found["label"]))
            for key, text in _list_options(found):
                if key != text and len(named) < _SHOWN:
                    named[key] = text
        return has, named, labels

    def _check_is_classified(self, has: Counter[str]) -> None:
        """Check that some examples have labels of their own.

        Raises:
            InputError: If there are marked passages alone, or nothing.
        """
        if has["label"] or has["accept"]:
            return
        found = "marked passages (spans)" if has["spans"] else "neither a label nor options"
        raise InputError(
            f"{self.path} is an export of Prodigy with {found}. Expected one label for each "
            'example: {"text": "...", "label": "POS", "answer": "accept"}, or "accept": ["POS"] '
            "with options. Passages are not checked here; classify whole texts with "
            "textcat.manual, or cut the passages out and import them as texts of their own."
        )


def _list_options(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the ids and texts of a row's options."""
    options = found.get("options")
    listed = options if isinstance(options, list) else []
    pairs = [(one.get("id"), one.get("text")) for one in listed if isinstance(one, dict)]
    return [(str(key), str(text)) for key, text in pairs if key is not None and text is not None]
