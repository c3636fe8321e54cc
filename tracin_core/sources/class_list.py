"""Which classes there are, in which order, and which of them are too thin to learn."""

from __future__ import annotations

from shlex import quote

import numpy as np
import numpy.typing as npt

from tracin_core.errors import InputError
from tracin_core.numerals import counted
from tracin_core.sources.labels import sort_names
from tracin_core.sources.name_forms import note_missing, note_several
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.plan_data import Known, Plan
from tracin_core.sources.problems import KEPT_PER_KIND
from tracin_core.sources.records import Problem, Source, row_number
from tracin_core.sources.survey import MAX_CLASSES, Survey, describe_refused, too_many_classes
from tracin_core.sources.twins import note_twins
from tracin_core.sources.values import show

SINGLE = "class with one example"
_MANY = 20  # classes; of fewer, a small sample may have as many examples
_TOLD = 3  # classes of too many


def order_classes(source: Source, survey: Survey, known: Known | None) -> tuple[str, ...]:
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
    """See that there is something to tell apart, and report what is thin.

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
    """Say how many examples were left out because they are the same as others, and why."""
    if not plan.duplicates:
        return ""
    why = source.explain_repeats(plan.repeats, plan.duplicates)
    repeat = "repeats another one" if plan.duplicates == 1 else "repeat others"
    return " ".join((f" {counted(plan.duplicates, 'example')} {repeat}.", *why))


def _describe_answer(options: ImportOptions) -> str:
    """Say what to do where a single label was put to people, who accepted or rejected it."""
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
