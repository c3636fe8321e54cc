"""Decide what becomes of each example: kept or not, in which split, with which label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracin_core.errors import InputError
from tracin_core.examples.label_noise import flip_labels
from tracin_core.sources.accepted_options import check_split_options
from tracin_core.sources.class_list import check_classes, note_names, order_classes
from tracin_core.sources.plan_data import OTHER_CLASS, UNKNOWN_TRUTH, Known, Plan
from tracin_core.sources.plan_reports import answer_word, report_changed, report_same
from tracin_core.sources.planting import FLIPPED, NOT_PLANTED, plant_values
from tracin_core.sources.records import Source
from tracin_core.sources.sameness import find_same
from tracin_core.sources.splitting import split_examples
from tracin_core.sources.survey import Survey, describe_refused
from tracin_core.sources.twins import merge_twins


def make_plan(source: Source, survey: Survey, known: Known | None = None) -> Plan:
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
    same = find_same(survey.digests, survey.splits, before, order)
    labels = np.maximum(table[survey.labels], 0).astype(np.int32)
    plan = Plan(
        classes=classes,
        classes_added=() if known is None else classes[len(known.classes) :],
        kept=same.is_new,
        splits=survey.splits.copy(),
        labels=labels,
        data_labels=labels.copy(),
        values=survey.values.copy(),
        true_labels=table[survey.true_labels].astype(np.int32),
        true_values=survey.true_values.copy(),
        ways=np.full(len(survey), NOT_PLANTED, dtype=np.int8),
        duplicates=len(same.repeats),
        num_known=int((same.known >= 0).sum()),
    )
    plan.notes += merged
    report_same(plan, source, survey, same)
    if known is not None:
        report_changed(plan, source, survey, same, known)
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
    known: Known | None,
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
