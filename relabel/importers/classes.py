"""The classes of imported data: their order, spellings of one name, classes too small to learn.

Names that differ in capitals, blanks, Unicode forms or look-alike letters are reported, or merged
where that was asked for. ``Plan`` and ``KnownData`` are here because the classes that a project
has already come first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from shlex import quote

import numpy as np
import numpy.typing as npt

from relabel.features.records import KEY_BYTES
from relabel.importers.columns.labels import note_missing, note_several, sort_names
from relabel.importers.columns.values import show
from relabel.importers.options import ImportOptions
from relabel.importers.records import KEPT_PER_KIND, Problem, ProblemLog, Source, row_number
from relabel.importers.scan import MAX_CLASSES, Survey, describe_refused, too_many_classes
from relabel.text import counted
from tracin_core.errors import InputError

OTHER_CLASS = -1  # a true class that the project does not have
UNKNOWN_TRUTH = -2
NO_DIGEST = bytes(KEY_BYTES)  # of a content that is not known
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
SINGLE = "class with one example"
_MANY = 20  # classes; of fewer, a small sample may have as many examples
_TOLD = 3  # classes of too many


def _read_no_keys(known: Sequence[int]) -> list[str]:
    return []


@dataclass(frozen=True, eq=False)
class KnownData:
    """The examples that a project has already.

    Attributes:
        classes: Of the project.
        digests: Of the keys, shape ``(M,)``.
        labels, values: As the data had them when they were imported, before planted errors.
        has_test: Whether some are for testing.
        content_digests: Of the contents where the keys are given ones, ``NO_DIGEST`` where not
            known, shape ``(M,)``; None where the keys are made of the contents.
        read_keys: Returns the keys of some of them, by their places in the arrays.
    """

    classes: tuple[str, ...]
    digests: npt.NDArray[np.void]
    labels: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    has_test: bool
    content_digests: npt.NDArray[np.void] | None = None
    read_keys: Callable[[Sequence[int]], list[str]] = _read_no_keys


@dataclass(eq=False)
class Plan:
    """What becomes of each example, by the order of reading.

    Attributes:
        classes: Of the project, new ones after the known.
        classes_added: Those that are new in a project that exists.
        kept: Which examples are imported, shape ``(N,)``.
        splits: 0 train, 1 test, shape ``(N,)``.
        labels, values: As they will stand in the project, planted errors included.
        data_labels: As the data has them, shape ``(N,)``.
        true_labels: Class indices, ``OTHER_CLASS`` or ``UNKNOWN_TRUTH``, shape ``(N,)``.
        true_values: NaN where not known, shape ``(N,)``.
        ways: How an example was made wrong, indices into ``planting.WAYS``, shape ``(N,)``.
        duplicates: Examples left out because the same one came before.
        repeats: Numbers of the rows of the first of them, and of those they are the same as, where
            the contents are compared.
        num_known: Examples that the project has already.
        problems: Duplicates, conflicts and changes.
        notes: What a person should know.
    """

    classes: tuple[str, ...]
    classes_added: tuple[str, ...]
    kept: npt.NDArray[np.bool_]
    splits: npt.NDArray[np.int8]
    labels: npt.NDArray[np.int32]
    data_labels: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    true_labels: npt.NDArray[np.int32]
    true_values: npt.NDArray[np.float64]
    ways: npt.NDArray[np.int8]
    duplicates: int = 0
    repeats: Sequence[tuple[int, int]] = ()
    num_known: int = 0
    problems: ProblemLog = field(default_factory=ProblemLog)
    notes: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return the examples that are imported by split."""
        kept = self.splits[self.kept]
        return {"train": int((kept == 0).sum()), "test": int((kept == 1).sum())}


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
    """Report all names that may be one class written in several ways.

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


def order_classes(source: Source, survey: Survey, known: KnownData | None) -> tuple[str, ...]:
    """Return the names in the data's own order, else sorted; after those that are known."""
    used = [survey.names[code] for code in np.unique(survey.labels) if code >= 0]
    ordered = dict.fromkeys((*(source.classes or ()), *sort_names(used)))
    if known is not None:
        ordered = dict.fromkeys((*known.classes, *ordered))
    if len(ordered) > MAX_CLASSES:
        raise too_many_classes(f"{len(ordered):,}", _tell_some(source, survey))
    return tuple(ordered)


def _tell_some(source: Source, survey: Survey) -> str:
    """Return the first few classes with the places where they were met first."""
    codes, firsts = np.unique(survey.labels, return_index=True)
    met = sorted(zip(firsts[codes >= 0], codes[codes >= 0], strict=True))[:_TOLD]
    places = source.places({int(survey.rows[first]) for first, _ in met})
    return ", ".join(
        f"{show(survey.names[code])} ({places[int(survey.rows[first])]})" for first, code in met
    )


def check_classes(plan: Plan, source: Source, survey: Survey) -> None:
    """Check that there is something to tell apart, and report what is thin.

    Args:
        plan: What was decided so far.
        source: Says where an example is.
        survey: What the first reading found.

    Raises:
        InputError: If all examples are of one class.
    """
    counts = np.bincount(plan.labels[plan.kept], minlength=len(plan.classes))
    if (counts > 0).sum() < 2:
        only = plan.classes[int(counts.argmax())]
        refused = describe_refused(survey.problems, len(survey))
        raise InputError(
            f"{'All ' if counts.sum() > 1 else ''}{counted(int(counts.sum()), 'example')} "
            f"{'are' if counts.sum() > 1 else 'is'} of one class, {only!r}. Expected at least "
            "two classes, or nothing can be told apart. Add examples of others, or name another "
            "column with --label; a number is predicted with --target."
            + _describe_answer(source.options)
            + _describe_repeats(plan, source)
            + (f" {refused}" if refused else "")
        )
    for count, words in ((0, "no example"), (1, "one example")):
        names = [name for name, found in zip(plan.classes, counts, strict=True) if found == count]
        if names:
            shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
            what = "classes have" if len(names) > 1 else "class has"
            plan.notes.append(
                f"{len(names)} {what} {words}: {shown}. A network cannot learn from so few: add "
                "examples, merge classes, or expect these to be found suspect."
            )
    used, total = int((counts > 0).sum()), int(counts.sum())
    if used > _MANY and 2 * used > total:
        plan.notes.append(
            f"{used:,} classes for {total:,} examples: nearly every label is one of its own. Is "
            "the label a name, a number or a text of the example? Name another column with --label."
        )
    _note_untrained(plan, counts)
    _report_single(plan, source, survey, np.flatnonzero(counts == 1))


def _describe_repeats(plan: Plan, source: Source) -> str:
    """Describe how many examples were left out because they are the same as others, and why."""
    if not plan.duplicates:
        return ""
    why = source.explain_repeats(plan.repeats, plan.duplicates)
    repeat = "repeats another one" if plan.duplicates == 1 else "repeat others"
    return " ".join((f" {counted(plan.duplicates, 'example')} {repeat}.", *why))


def _describe_answer(options: ImportOptions) -> str:
    """Describe what to do where a single label was put to people, who accepted or rejected it."""
    if options.status is None:
        return ""
    return (
        f" If {options.status!r} itself says what an example is, as where one label was accepted "
        f"or rejected, make it the label: --label {quote(options.status)}, with the two answers "
        "that count as --classes, such as --classes accept,reject."
    )


def _note_untrained(plan: Plan, counts: npt.NDArray[np.int64]) -> None:
    """Note the classes whose examples are all for testing."""
    trained = np.bincount(plan.labels[plan.kept & (plan.splits == 0)], minlength=len(counts))
    names = [plan.classes[number] for number in np.flatnonzero((counts > 0) & (trained == 0))]
    if names:
        shown = ", ".join(map(show, names[:10])) + (", …" if len(names) > 10 else "")
        plan.notes.append(
            f"All examples of {counted(len(names), 'class', 'classes')} are for testing: {shown}. "
            "A network cannot learn a class that it is not trained with, so each of them will be "
            "found wrong. Is it a class? Add train examples of it, or leave it out."
        )


def _report_single(
    plan: Plan, source: Source, survey: Survey, numbers: npt.NDArray[np.int64]
) -> None:
    """Report the examples that are alone in their class."""
    alone = np.flatnonzero(plan.kept & np.isin(plan.labels, numbers))
    told = alone[:KEPT_PER_KIND]
    places = source.places({int(survey.rows[number]) for number in told})
    for number in told:
        row = int(survey.rows[number])
        message = (
            f"It is the only example of the class {show(plan.classes[plan.labels[number]])}. If "
            "the label is misspelled, correct it; else add examples of the class or merge it "
            "with another."
        )
        where = places[row]
        plan.problems.add(Problem(row_number(row, where), where, message, SINGLE, refused=False))
    plan.problems.count(SINGLE, len(alone) - len(told), refused=False)


def note_names(plan: Plan, source: Source) -> None:
    """Note names that are one class in several spellings, several in one, or none at all."""
    counts = np.bincount(plan.data_labels[plan.kept], minlength=len(plan.classes))
    by_name = {name: int(count) for name, count in zip(plan.classes, counts, strict=True)}
    plan.notes += note_twins(by_name, is_merged=source.options.merge_twins)
    if source.columns:
        plan.notes += note_several(by_name, source.target) + note_missing(by_name, source.target)
