"""Tell a person which examples are the same, contradict each other, or have changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tracin_core.sources.plan_data import NO_DIGEST, Known, Plan
from tracin_core.sources.problems import KEPT_PER_KIND
from tracin_core.sources.records import Problem, Source, row_number
from tracin_core.sources.sameness import Indices, Sameness, find_same
from tracin_core.sources.survey import Survey
from tracin_core.sources.values import show

# What is wrong, as problems of a kind are counted; such examples are known, and stay.
CHANGED_ANSWER = "changed in the data"
CHANGED_CONTENT = "known with other content"
_COMPARED = 5_000  # repeated rows whose other columns are compared: a megabyte
_CONTENT_WORDS = {"text": "another text", "image": "another image", "table": "other values"}


def report_same(plan: Plan, source: Source, survey: Survey, same: Sameness) -> None:
    """Report repeated keys, and equal contents with different labels."""
    has_keys = survey.content_digests is not survey.digests
    repeats = same.repeats
    _report_pairs(plan, source, survey, repeats, same.first[repeats], has_keys)
    if not has_keys:
        told = repeats[:_COMPARED]
        pairs = zip(survey.rows[told], survey.rows[same.first[told]], strict=True)
        plan.repeats = [(int(one), int(other)) for one, other in pairs]
    if has_keys:
        taken = plan.kept
        contents = find_same(
            survey.content_digests[taken], survey.splits[taken], places=survey.rows[taken]
        )
        kept = np.flatnonzero(plan.kept)
        others, firsts = kept[contents.repeats], kept[contents.first[contents.repeats]]
        differ = _differ(plan, others, firsts)
        _describe(
            plan,
            source,
            survey,
            (others[differ], firsts[differ]),
            what="label conflict",
            tell=lambda other, first: (
                f"The same content as {first}, but with another {answer_word(source)}. "
                "One of the two is wrong. Both are imported."
            ),
            refused=False,
        )


def _report_pairs(
    plan: Plan, source: Source, survey: Survey, others: Indices, firsts: Indices, has_keys: bool
) -> None:
    """Report repeated examples; those with another label are findings of their own."""
    differ = _differ(plan, others, firsts)
    what = "key" if has_keys else "content"
    way_out = "Give each its own key." if has_keys else "If both are meant, name keys with --key."
    _describe(
        plan,
        source,
        survey,
        (others[~differ], firsts[~differ]),
        what="duplicate",
        tell=lambda other, first: f"The same {what} as {first}, which is kept. {way_out}",
    )
    _describe(
        plan,
        source,
        survey,
        (others[differ], firsts[differ]),
        what="label conflict",
        tell=lambda other, first: (
            f"The same {what} as {first}, but with another {answer_word(source)}. One of the "
            "two is wrong: correct it in the data. The first is kept."
        ),
    )


def answer_word(source: Source) -> str:
    """Return what is predicted, in one word."""
    return "label" if source.task == "classification" else "number"


def _differ(plan: Plan, others: Indices, firsts: Indices) -> npt.NDArray[np.bool_]:
    answers = plan.labels if plan.classes else plan.values
    differ: npt.NDArray[np.bool_] = answers[others] != answers[firsts]
    return differ


def _describe(
    plan: Plan,
    source: Source,
    survey: Survey,
    pairs: tuple[Indices, Indices],
    *,
    what: str,
    tell: Callable[[str, str], str],
    refused: bool = True,
) -> None:
    """Report pairs of examples: the first ones in words, the others as a number."""
    told = [(int(a), int(b)) for a, b in zip(*pairs, strict=True)][:KEPT_PER_KIND]
    rows = {int(survey.rows[number]) for pair in told for number in pair}
    places = source.places(rows)
    for other, first in told:
        row = int(survey.rows[other])
        where = places[row]
        plan.problems.add(
            Problem(
                row_number(row, where),
                where,
                tell(where, places[int(survey.rows[first])]),
                what,
                refused,
            )
        )
    plan.problems.count(what, len(pairs[0]) - len(told), refused=refused)


def report_changed(
    plan: Plan, source: Source, survey: Survey, same: Sameness, known: Known
) -> None:
    """Report examples whose label or content is no longer the one that was imported.

    Whatever has changed, the project keeps what it has: decisions may rest on it.
    """
    again = np.flatnonzero(same.known >= 0)
    before = same.known[again]
    _report_changed_answers(plan, source, survey, (again, before), known)
    if known.content_digests is not None:
        _report_changed_contents(plan, source, survey, (again, before), known)


def _report_changed_answers(
    plan: Plan, source: Source, survey: Survey, pairs: tuple[Indices, Indices], known: Known
) -> None:
    again, before = pairs
    if plan.classes:
        changed = plan.labels[again] != known.labels[before]
        names = [plan.classes[number] for number in known.labels[before[changed]]]
    else:
        changed = plan.values[again] != known.values[before]
        names = [f"{value:.10g}" for value in known.values[before[changed]]]
    told = iter(names)
    others = again[changed]
    _describe(
        plan,
        source,
        survey,
        (others, others),
        what=CHANGED_ANSWER,
        tell=lambda other, first: (
            f"Its {answer_word(source)} is another one than {next(told)!r}, with which it was "
            "imported. The project keeps that one, because decisions may rest on it; correct it "
            "in the review."
        ),
        refused=False,
    )


def _report_changed_contents(
    plan: Plan, source: Source, survey: Survey, pairs: tuple[Indices, Indices], known: Known
) -> None:
    assert known.content_digests is not None  # noqa: S101 - for the type checker
    again, before = pairs
    old, new = known.content_digests[before], survey.content_digests[again]
    changed = (old != new) & (old != np.void(NO_DIGEST))
    others = again[changed]
    keys = iter(known.read_keys([int(place) for place in before[changed][:KEPT_PER_KIND]]))
    content = _CONTENT_WORDS[source.kind]
    _describe(
        plan,
        source,
        survey,
        (others, others),
        what=CHANGED_CONTENT,
        tell=lambda other, first: (
            f"The key {show(next(keys))} is known with {content}. What was imported is kept as it "
            "was, with every decision on it. If this is another example, give it a key of its "
            "own; if it replaces the old one, give it a new key and exclude the old one in the "
            "review, or import everything into a new project."
        ),
        refused=False,
    )
