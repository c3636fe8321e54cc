"""What was understood of data, or what it will add to a project, in two or three sentences."""

from __future__ import annotations

from tracin_core.importing.looking import Understood
from tracin_core.numerals import counted
from tracin_core.sources.formats import IMPORTERS
from tracin_core.sources.records import Preview
from tracin_core.texts import shorten

_NOUNS = {"image": "image", "text": "text", "table": "row"}


def summarize(understood: Understood) -> str:
    """Return what data is and how many examples a new project, or an existing one, gets of it."""
    preview, known = understood.preview, understood.num_known
    said = [_describe(preview)] if known is None else _describe_growth(understood, known)
    if preview.num_refused:
        said.append(
            f"{preview.num_refused:,} cannot be used and would be left out; “Problems” says why."
        )
    if preview.duplicates:
        are = "is" if preview.duplicates == 1 else "are"
        said.append(f"{preview.duplicates:,} {are} there more than once and would be taken once.")
    return " ".join(said)


def _describe(preview: Preview) -> str:
    noun = counted(preview.num_usable, _NOUNS.get(preview.kind, "example"))
    kind, answer = IMPORTERS[preview.format].title, _describe_answer(preview)
    return f"A {kind}: {noun}, each with {answer}; {_describe_splits(preview)}."


def _describe_growth(understood: Understood, known: int) -> list[str]:
    """Return what is new and what is known."""
    preview = understood.preview
    new = preview.num_usable
    kind = IMPORTERS[preview.format].title
    said = [f"A {kind}, in which nothing is new."]
    if new:
        noun = counted(new, f"new {_NOUNS.get(preview.kind, 'example')}")
        said = [f"A {kind} with {noun}: {_describe_splits(preview)}."]
    if known:
        is_known = "is" if known == 1 else "are"
        said.append(f"{known:,} {is_known} there already and would stay as decided.")
    if understood.classes_added:
        names = ", ".join(f"“{shorten(name, 40)}”" for name in understood.classes_added[:5])
        more = len(understood.classes_added) - 5
        said.append(f"New classes: {names}{f' and {more:,} more' if more > 0 else ''}.")
    return said


def _describe_answer(preview: Preview) -> str:
    if preview.task == "regression":
        return f"a number, “{shorten(preview.target, 60)}”"
    return f"one of {len(preview.classes):,} classes"


def _describe_splits(preview: Preview) -> str:
    return " and ".join(
        f"{count:,} to {'train' if split == 'train' else 'test'} with"
        for split, count in preview.counts.items()
    )
