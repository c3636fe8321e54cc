"""Plan an import: for each example whether it is kept, its split and its label.

Repeated, contradicting and changed examples are reported; a share of every class is kept for
testing where the data has no split; a share of the labels or numbers is made wrong where that was
asked for, to see how many are found.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from relabel.features.records import choose_test_rows, flip_labels
from relabel.importers.accepted_options import check_split_options
from relabel.importers.classes import (
    NO_DIGEST,
    OTHER_CLASS,
    UNKNOWN_TRUTH,
    KnownData,
    Plan,
    check_classes,
    merge_twins,
    note_names,
    order_classes,
)
from relabel.importers.columns.values import show
from relabel.importers.records import KEPT_PER_KIND, Problem, Source, row_number
from relabel.importers.scan import Duplicates, Indices, Survey, describe_refused, find_duplicates
from tracin_core.errors import ConfigurationError, InputError

# What is wrong, as problems of a kind are counted; such examples are known, and stay.
CHANGED_ANSWER = "changed in the data"
CHANGED_CONTENT = "known with other content"
_COMPARED = 5_000  # repeated rows whose other columns are compared: a megabyte
_CONTENT_WORDS = {"text": "another text", "image": "another image", "table": "other values"}
FACTOR = 10.0  # a slipped decimal point
# How an example was made wrong, as the truth file has it.
WAYS = ("", "label", "multiplied", "swapped")
NOT_PLANTED, FLIPPED, MULTIPLIED, SWAPPED = range(4)


def report_duplicates(plan: Plan, source: Source, survey: Survey, duplicates: Duplicates) -> None:
    """Report repeated keys, and equal contents with different labels."""
    has_keys = survey.content_digests is not survey.digests
    repeats = duplicates.repeats
    _report_pairs(plan, source, survey, repeats, duplicates.first[repeats], has_keys)
    if not has_keys:
        told = repeats[:_COMPARED]
        pairs = zip(survey.rows[told], survey.rows[duplicates.first[told]], strict=True)
        plan.repeats = [(int(one), int(other)) for one, other in pairs]
    if has_keys:
        taken = plan.kept
        contents = find_duplicates(
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
    plan: Plan, source: Source, survey: Survey, duplicates: Duplicates, known: KnownData
) -> None:
    """Report examples whose label or content is no longer the one that was imported.

    Whatever has changed, the project keeps what it has: decisions may rest on it.
    """
    again = np.flatnonzero(duplicates.known >= 0)
    before = duplicates.known[again]
    _report_changed_answers(plan, source, survey, (again, before), known)
    if known.content_digests is not None:
        _report_changed_contents(plan, source, survey, (again, before), known)


def _report_changed_answers(
    plan: Plan, source: Source, survey: Survey, pairs: tuple[Indices, Indices], known: KnownData
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
    plan: Plan, source: Source, survey: Survey, pairs: tuple[Indices, Indices], known: KnownData
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


def split_examples(
    labels: npt.NDArray[np.int32], *, share: float, seed: int, stratified: bool, both: bool
) -> npt.NDArray[np.int8]:
    """Return 1 for the examples to test with and 0 for the others.

    Args:
        labels: Class indices, shape ``(N,)``.
        share: Share for testing, between 0 and 1.
        seed: The same seed and examples give the same split.
        stratified: Whether to take the share of every class.
        both: Whether there must be at least one example of each split, and of every class one to
            train with.

    Returns:
        Codes, shape ``(N,)``.
    """
    groups = labels if stratified else np.zeros_like(labels)
    chosen = choose_test_rows(groups.astype(np.int64), share=share, seed=seed)
    codes = np.zeros(len(labels), dtype=np.int8)
    codes[chosen] = 1
    if both:
        codes[_first_of_untrained(groups, codes)] = 0
        if len(codes) > 1 and not codes.any():
            codes[np.random.default_rng(seed).integers(len(codes))] = 1
    return codes


def _first_of_untrained(
    groups: npt.NDArray[np.int32], codes: npt.NDArray[np.int8]
) -> npt.NDArray[np.intp]:
    """Return the first example of each group that is wholly for testing."""
    names, first = np.unique(groups, return_index=True)
    return first[~np.isin(names, groups[codes == 0])]


def plant_values(
    values: npt.NDArray[np.float64], *, share: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Return a copy of the numbers with a share of them wrong.

    About half of those are ten times as large or a tenth, the others swapped with each other.

    Args:
        values: True numbers, shape ``(N,)``; left as they are.
        share: Share to change, 0 to 1.
        seed: The same seed gives the same errors.

    Returns:
        Numbers and, for each, its way of being wrong (an index into ``WAYS``), both ``(N,)``.
        A number that multiplying or swapping would leave as it is stays right.

    Raises:
        ConfigurationError: If the share is not between 0 and 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ConfigurationError(
            f"Found a share of planted errors of {share}, expected a number from 0 to 1. Pass for "
            "example 0.05 to change one number in twenty."
        )
    generator = np.random.default_rng(seed)
    planted = np.array(values, dtype=np.float64)
    chosen = generator.choice(len(planted), size=round(share * len(planted)), replace=False)
    half = len(chosen) // 4 * 2  # swapping takes pairs
    multiplied, swapped = chosen[half:], chosen[:half]
    factors = generator.choice([FACTOR, 1 / FACTOR], size=len(multiplied))
    planted[multiplied] = values[multiplied] * factors
    _swap(planted, values, swapped)
    ways = np.zeros(len(planted), dtype=np.int8)
    ways[multiplied], ways[swapped] = MULTIPLIED, SWAPPED
    ways[planted == values] = NOT_PLANTED
    return planted, ways


def _swap(
    planted: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    chosen: npt.NDArray[np.int64],
) -> None:
    """Pair each of the lower half with one of the upper half, so that no pair is of equals."""
    ordered = chosen[np.argsort(values[chosen], kind="stable")]
    low, high = ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]
    planted[low], planted[high] = values[high], values[low]


def make_plan(source: Source, survey: Survey, known: KnownData | None = None) -> Plan:
    """Decide about every example.

    Args:
        source: Where they come from; says where one is.
        survey: What the first reading found.
        known: What the project has already, for growth.

    Raises:
        InputError: If there are too few or too many classes, or none is for training.
    """
    is_classes = source.task == "classification"
    merged: list[str] = []
    if is_classes and source.options.merge_twins:
        preferred = (*(known.classes if known else ()), *(source.classes or ()))
        survey, merged = merge_twins(survey, preferred)
    classes = order_classes(source, survey, known) if is_classes else ()
    numbers = {name: number for number, name in enumerate(classes)}
    # Truths may name classes that no example has: those get a number that no label has.
    table = np.array([numbers.get(name, OTHER_CLASS) for name in survey.names] + [UNKNOWN_TRUTH])
    # By their places in the data: an archive may hold its files in any order.
    order = survey.rows
    before = None if known is None else known.digests
    duplicates = find_duplicates(survey.digests, survey.splits, before, order)
    labels = np.maximum(table[survey.labels], 0).astype(np.int32)
    plan = Plan(
        classes=classes,
        classes_added=() if known is None else classes[len(known.classes) :],
        kept=duplicates.is_new,
        splits=survey.splits.copy(),
        labels=labels,
        data_labels=labels.copy(),
        values=survey.values.copy(),
        true_labels=table[survey.true_labels].astype(np.int32),
        true_values=survey.true_values.copy(),
        ways=np.full(len(survey), NOT_PLANTED, dtype=np.int8),
        duplicates=len(duplicates.repeats),
        num_known=int((duplicates.known >= 0).sum()),
    )
    plan.notes += merged
    report_duplicates(plan, source, survey, duplicates)
    if known is not None:
        report_changed(plan, source, survey, duplicates, known)
    _split(plan, source, survey, known, order)
    if is_classes and known is None:
        check_classes(plan, source, survey)
    if is_classes:
        note_names(plan, source)
    _plant(plan, source, order)
    return plan


def _split(
    plan: Plan,
    source: Source,
    survey: Survey,
    known: KnownData | None,
    order: npt.NDArray[np.int64],
) -> None:
    """Use the data's split, or make one.

    Raises:
        InputError: If no example is for training.
        OptionWithoutEffectError: If a split is chosen though the data has one.
    """
    kept = plan.splits[plan.kept]
    has_test = (kept == 1).any() or (known is not None and known.has_test)
    if len(kept) and ((kept < 0).any() or not has_test):
        if (kept == 0).any():
            plan.notes.append("The data has no examples for testing.")
        options = source.options
        chosen = _in_order(plan.kept, order)
        plan.splits[chosen] = split_examples(
            plan.labels[chosen],
            share=options.test_share,
            seed=options.seed,
            stratified=bool(plan.classes),
            both=known is None,
        )
        plan.notes.append(
            f"Split: {options.test_share:.0%} of the examples"
            + (" of every class" if plan.classes else "")
            + f" are kept for testing, chosen by seed {options.seed}. --test-share and --seed "
            "say otherwise."
        )
    elif known is None:
        check_split_options(source.options, has_split=True)
    if known is None and not (plan.splits[plan.kept] == 0).any():
        refused = describe_refused(survey.problems, len(survey))
        raise InputError(
            "All examples are for testing. Expected some for training, whose labels are to be "
            "checked. Say with --train-values which values of the split, or folders, are."
            + (f" {refused}" if refused else "")
        )


def _in_order(mask: npt.NDArray[np.bool_], order: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Return the examples of a mask by their places in the data."""
    found = np.flatnonzero(mask)
    return found[np.argsort(order[found], kind="stable")]


def _plant(plan: Plan, source: Source, order: npt.NDArray[np.int64]) -> None:
    """Make a share of the train labels wrong, and remember what they were."""
    share, seed = source.options.plant, source.options.seed
    if share <= 0:
        return
    train = _in_order(plan.kept & (plan.splits == 0), order)
    if plan.classes:
        true = plan.labels[train].astype(np.int64)
        planted = flip_labels(true, len(plan.classes), noise=share, seed=seed)
        unknown = plan.true_labels[train] == UNKNOWN_TRUTH
        plan.true_labels[train[unknown]] = true[unknown]
        plan.labels[train] = planted
        plan.ways[train[planted != true]] = FLIPPED
    else:
        values = plan.values[train]
        unknown = np.isnan(plan.true_values[train])
        plan.true_values[train[unknown]] = values[unknown]
        plan.values[train], plan.ways[train] = plant_values(values, share=share, seed=seed)
    count = int((plan.ways != NOT_PLANTED).sum())
    plan.notes.append(
        f"{count:,} of {len(train):,} train {answer_word(source)}s are made wrong on purpose "
        f"(--plant {share:g}, seed {seed}); `evaluate` knows which."
    )
