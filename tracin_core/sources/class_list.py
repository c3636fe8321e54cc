"""Which classes there are, in which order, and which of them are too thin to learn."""

from __future__ import annotations

import numpy as np

from tracin_core.errors import InputError
from tracin_core.sources.labels import sort_names
from tracin_core.sources.plan_data import Known, Plan
from tracin_core.sources.records import Source
from tracin_core.sources.survey import MAX_CLASSES, Survey, too_many_classes


def order_classes(source: Source, survey: Survey, known: Known | None) -> tuple[str, ...]:
    """Return the names in the data's own order, else sorted; after those that are known."""
    used = [survey.names[code] for code in np.unique(survey.labels) if code >= 0]
    ordered = dict.fromkeys((*(source.classes or ()), *sort_names(used)))
    if known is not None:
        ordered = dict.fromkeys((*known.classes, *ordered))
    if len(ordered) > MAX_CLASSES:
        raise too_many_classes(f"{len(ordered):,}")
    return tuple(ordered)


def check_classes(plan: Plan) -> None:
    """See that there is something to tell apart, and note what is thin.

    Raises:
        InputError: If all examples are of one class.
    """
    counts = np.bincount(plan.labels[plan.kept], minlength=len(plan.classes))
    if (counts > 0).sum() < 2:
        only = plan.classes[int(counts.argmax())]
        raise InputError(
            f"All {int(counts.sum()):,} examples are of one class, {only!r}. Expected at least "
            "two classes, or nothing can be told apart. Add examples of others, or name another "
            "column with --label; a number is predicted with --target."
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
            if count == 1:
                plan.problems.count("class with one example", len(names), refused=False)
    _note_alike(plan)


def _note_alike(plan: Plan) -> None:
    """Note names that differ in letter case only, which are often one class written twice."""
    by_plain: dict[str, list[str]] = {}
    for name in plan.classes:
        by_plain.setdefault(name.casefold(), []).append(name)
    alike = [names for names in by_plain.values() if len(names) > 1]
    if alike:
        plan.notes.append(
            f"Classes that differ only in capital letters: {' / '.join(alike[0])}. If they are "
            "one, write them alike in the data."
        )
