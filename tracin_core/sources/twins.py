"""Class names that are one name written in several ways: capitals, blanks, Unicode, look-alikes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tracin_core.numerals import counted
from tracin_core.sources.survey import Survey

_MAX_TOLD = 6_000  # characters of all groups together
# Letters of Cyrillic and Greek that look like Latin ones, for comparing only (Unicode's
# confusables, UTS 39, small letters after case folding).
_LOOK_ALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455"  # Cyrillic
    "\u04bb\u0501\u051b\u051d\u0432\u043c\u043d\u0442\u043a"
    "\u03b1\u03b5\u03bf\u03c1\u03b9\u03c5\u03bd\u03ba\u03c4\u03f2",  # Greek
    "aeopcyxijshdqwbmhtkaeopiuvktc",
)
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u00ad\u034f\u061c\u180e")
# Hyphens and dashes of every length; at the end of a name they may mean something: "A-".
_BETWEEN = re.compile(r"\s+|(?<=\w)[\s_\-\u2010-\u2015\u2212]+(?=\w)")
_ENDS = " .,;:!\"'`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
Group = list[str]


def plain_form(name: str) -> str:
    """Return what all spellings of a name have in common; names of one form are twins."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", name) if not _is_invisible(c))
    folded = unicodedata.normalize("NFKC", visible.casefold())
    text = _BETWEEN.sub(" ", folded.replace("_", " ")).strip(_ENDS)
    if not any(c.isalnum() for c in text) or _NUMBER.fullmatch(folded.strip()):
        return folded.strip() or name
    # Also whole words of Cyrillic, or a single Latin letter in one would hide it.
    return text.translate(_LOOK_ALIKES)


def find_twins(names: Collection[str]) -> list[Group]:
    """Return the groups of names that are the same but for their spelling, largest first."""
    return _group(names, plain_form)


def note_twins(counts: Mapping[str, int], *, is_merged: bool = False) -> list[str]:
    """Tell of all names that may be one class written in several ways.

    Args:
        counts: Examples by class name.
        is_merged: Whether those that differ in spelling alone were made one already.
    """
    notes = []
    twins = find_twins(counts)
    if twins and not is_merged:
        notes.append(
            f"{sum(map(len, twins))} of the {len(counts)} class names look like "
            f"{counted(len(twins), 'class', 'classes')} spelled in several ways: "
            f"{_tell(twins, counts)}. They are taken for different classes. If they are the same, "
            "--merge-twins makes them one each, by the most frequent spelling."
        )
    # Of names that are twins already, the first one stands for all.
    firsts = list({plain_form(name): name for name in reversed(list(counts))}.values())
    near = _group(firsts[::-1], _near_form)
    if near:
        notes.append(
            f"Class names that are nearly the same: {_tell(near, counts)}. They stay different "
            "classes. If some are the same, write them alike in the data."
        )
    return notes


def merge_twins(survey: Survey, preferred: Sequence[str]) -> tuple[Survey, list[str]]:
    """Make one class of all names that differ in spelling alone.

    Args:
        survey: Of the data.
        preferred: Names that a class is called by if it has one of them, such as those that the
            project has already; of others the most frequent spelling is taken.

    Returns:
        The survey with other labels and truths, and notes of what was merged.
    """
    used = survey.labels[survey.labels >= 0]
    counts = np.bincount(used, minlength=len(survey.names))
    known = {plain_form(name): name for name in reversed(preferred)}
    names = list(dict.fromkeys((*survey.names, *preferred)))
    places = {name: place for place, name in enumerate(names)}
    table = np.arange(len(names) + 1)
    table[-1] = -1  # what has no label, or no known truth
    merged = []
    by_form: dict[str, list[int]] = {}
    for code, name in enumerate(survey.names):
        by_form.setdefault(plain_form(name), []).append(code)
    for form, codes in by_form.items():
        own = max((survey.names[code] for code in codes), key=_rank(counts, survey.names))
        chosen = places[known.get(form, own)]
        others = [code for code in codes if code != chosen and counts[code]]
        table[codes] = chosen
        if others:
            taken = ", ".join(
                f"{reveal(survey.names[code])} ({int(counts[code]):,})" for code in others
            )
            merged.append(f"{reveal(names[chosen])} takes {taken}")
    changed = replace(
        survey,
        labels=table[survey.labels].astype(np.int32),
        true_labels=table[survey.true_labels].astype(np.int32),
        names=tuple(names),
    )
    told = f"Class names that were merged (--merge-twins): {_list_some(merged)}."
    return changed, [told] if merged else ["--merge-twins found no class names to merge."]


def _rank(
    counts: npt.NDArray[np.int64], names: Sequence[str]
) -> Callable[[str], tuple[int, bool, int, str]]:
    """Return how good a spelling is: the most frequent one, of equals the plainest."""
    number = {name: int(count) for name, count in zip(names, counts, strict=True)}

    def rank(name: str) -> tuple[int, bool, int, str]:
        is_plain = all(c.isalnum() or c == " " for c in unicodedata.normalize("NFC", name))
        return number[name], is_plain and unicodedata.is_normalized("NFC", name), -len(name), name

    return rank


def reveal(name: str) -> str:
    """Return a name in quotes, with what nobody can see or tell apart written as its number."""
    folded = unicodedata.normalize("NFC", name)
    is_latin = any(unicodedata.name(c, "").startswith("LATIN") for c in folded)
    shown = "".join(
        c if _is_plain(c, is_latin) else c.encode("ascii", "backslashreplace").decode()
        for c in name
    )
    # Blanks at the ends and several in a row would be lost where lines are wrapped.
    shown = re.sub(r"(?<= ) |^ | $", r"\\x20", shown)
    return f"'{shown}'"


def _is_plain(character: str, is_latin: bool) -> bool:
    if character == " " or (character.isascii() and character.isprintable()):
        return True
    if _is_invisible(character) or unicodedata.category(character) in ("Zs", "Mn", "Cc", "Cs"):
        return False
    if not character.isprintable():
        return False
    script = unicodedata.name(character, "").split(" ")[0]
    return not (is_latin and script in ("CYRILLIC", "GREEK", "FULLWIDTH"))


def _is_invisible(character: str) -> bool:
    if "\U000e0000" <= character <= "\U000e007f":  # which tell the flags of countries apart
        return False
    is_selector = "\ufe00" <= character <= "\ufe0f"
    return unicodedata.category(character) == "Cf" or character in _INVISIBLE or is_selector


def _near_form(name: str) -> str:
    """Return a name without accents and the "s" of a plural, a number by its value."""
    plain = plain_form(name)
    if _NUMBER.fullmatch(plain) and len(plain) < 16:
        return f"{float(plain):.15g}"
    bare = "".join(
        c for c in unicodedata.normalize("NFD", plain) if unicodedata.category(c) != "Mn"
    ).replace(" ", "")
    return bare[:-1] if len(bare) > 3 and bare.endswith("s") and not bare.endswith("ss") else bare


def _group(names: Collection[str], form: Callable[[str], str]) -> list[Group]:
    by_form: dict[str, Group] = {}
    for name in names:
        by_form.setdefault(form(name), []).append(name)
    return sorted((group for group in by_form.values() if len(group) > 1), key=len, reverse=True)


def _tell(groups: Sequence[Group], counts: Mapping[str, int]) -> str:
    told = [" = ".join(f"{reveal(name)} ({counts[name]:,})" for name in group) for group in groups]
    return _list_some(told)


def _list_some(told: Sequence[str]) -> str:
    """Return what is told, and how much more there would be of very much."""
    kept: list[str] = []
    for one in told:
        if kept and sum(map(len, kept)) + len(one) > _MAX_TOLD:
            break
        kept.append(one)
    more = len(told) - len(kept)
    return "; ".join(kept) + (f"; and {counted(more, 'more group', 'more groups')}" if more else "")
