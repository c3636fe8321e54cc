"""A measured gain in plain words, for pages, the terminal and the report."""

from __future__ import annotations

import math

from relabel.text import counted
from relabel.worth.gain.figures import Interval, Judged
from relabel.worth.gain.saved import Gain

# Standard errors that a model must be above the most frequent class by, to have learned something.
_ABOVE_GUESSING = 2.0
# Share of the variance that a model of numbers must explain at least.
_LEAST_EXPLAINED = 0.05
# Fewer test examples move by whole percents.
FEW_TEST = 100


def name_measure(gain: Gain) -> str:
    """Return "test accuracy", or what numbers have."""
    return "test accuracy" if gain.measure == "accuracy" else "test R\N{SUPERSCRIPT TWO}"


def format_level(gain: Gain, value: float) -> str:
    """Return an accuracy as percent with one digit, an R2 with three."""
    return f"{value:.1%}" if gain.measure == "accuracy" else f"{value:.3f}"


def format_difference(gain: Gain, value: float) -> str:
    """Return a difference with its sign: percentage points, or R2."""
    if gain.measure == "accuracy":
        text = f"{100 * value:+.1f}"
        text = text if float(text) else "0.0"
    else:
        text = f"{value:+.3f}"
        text = text if float(text) else "0.000"
    return text.replace("-", "\N{MINUS SIGN}")


def format_interval(gain: Gain, interval: Interval) -> str:
    """Return "+1.8 points (95% interval +1.1 to +2.5)"."""
    mean, low, high = (
        format_difference(gain, value) for value in (interval.mean, interval.low, interval.high)
    )
    unit = " points" if gain.measure == "accuracy" else ""
    return f"{mean}{unit} (95% interval {low} to {high})"


def describe_headline(gain: Gain) -> str:
    """Return in a sentence what the corrections did to the model."""
    judged = gain.main
    change = judged.difference("given", "corrected")
    levels = (
        f"{format_level(gain, judged.mean('given'))} to "
        f"{format_level(gain, judged.mean('corrected'))}"
    )
    if not gain.corrected and not gain.excluded:
        return (
            f"No decision changed a label so far, so there is no gain: {name_measure(gain)} is "
            f"{format_level(gain, judged.mean('given'))} with and without the review."
        )
    if not change.is_certain:
        return (
            f"No gain can be told from chance: {name_measure(gain)} went from {levels}, "
            f"{format_interval(gain, change)}."
        )
    verb = "raised" if change.mean > 0 else "lowered"
    return (
        f"The corrections {verb} {name_measure(gain)} from {levels}: "
        f"{format_interval(gain, change)}."
    )


def describe_control(gain: Gain) -> str:
    """Return in a sentence what as many reviews at random would have brought."""
    judged = gain.main
    control = judged.difference("given", "control")
    more = judged.difference("control", "corrected")
    if not more.is_certain:
        told = "What was done differs from that by no more than chance"
    else:
        told = f"What was done brought {'more' if more.mean > 0 else 'less'} than that"
    return (
        f"As many reviews spent on random examples would have brought "
        f"{format_interval(gain, control)}. {told}: {format_interval(gain, more)}."
    )


def describe_control_kind(gain: Gain) -> str:
    """Return how the control was made, and what that means for the comparison."""
    control = gain.control
    changed = f"{control.corrections:,.0f} labels changed on average"
    if control.kind == "audit" and control.rate is not None:
        low, high = control.low or 0.0, control.high or 0.0
        told = (
            f"Estimated from the random audit: {control.drawn:,} random examples say that "
            f"{control.rate:.1%} of the labels are wrong (95% interval {low:.1%} to {high:.1%}), "
            f"so {counted(gain.reviewed, 'random review')} would have found about as many errors "
            f"as the control corrects ({changed}), drawn anew for every training from those that "
            "were found."
        )
        if control.capped:
            told += (
                " That is more than were found in all, so the control corrects all of them and "
                "no more."
            )
        return told
    return (
        "There is no random audit, so the control was resampled from the decisions: as many "
        f"examples were drawn at random from all, and those whose answer is known got it "
        f"({changed}). Errors that nobody has found stay in it, so random reviews may have "
        "brought more than is said here. An audit on Overview makes it an estimate."
    )


def describe_method(gain: Gain) -> str:
    """Return what was trained, how often, and what the interval covers."""
    left_out = (
        f" {counted(gain.excluded, 'excluded example')} "
        f"{'was' if gain.excluded == 1 else 'were'} left out of the training."
        if gain.excluded
        else ""
    )
    stayed = (
        f" {counted(gain.ambiguous, 'example')} marked ambiguous kept "
        f"{'its' if gain.ambiguous == 1 else 'their'} given answer."
        if gain.ambiguous
        else ""
    )
    return (
        f"{gain.model}, trained {len(gain.seeds)} times on each set of labels, each time with the "
        "same initial weights and the same order of batches for all of them.{}{} The interval "
        "covers chance in the trainings and in which {:,} test examples there are."
    ).format(left_out, stayed, gain.main.rows)


def describe_test_labels(gain: Gain) -> str:
    """Return by which test labels it was judged, with the second figure where there is one."""
    if len(gain.judged) == 1:
        return (
            "The test labels are as they were given and may hold errors themselves, which hides a "
            "part of a gain."
        )
    other = gain.judged[1]
    change = other.difference("given", "corrected")
    return (
        f"{counted(gain.test_reviewed, 'test label')} "
        f"{'was' if gain.test_reviewed == 1 else 'were'} reviewed and "
        f"{gain.test_changed:,} of them changed. By the test labels in force, "
        f"{other.rows:,} examples, {name_measure(gain)} went from "
        f"{format_level(gain, other.mean('given'))} to "
        f"{format_level(gain, other.mean('corrected'))}: {format_interval(gain, change)}. What "
        "stands above is by the test labels as they were given."
    )


def list_doubts(gain: Gain) -> list[str]:
    """Return why the figures say little, where they do."""
    judged, doubts = gain.main, []
    if is_weak(gain, judged):
        guess = (
            f"the most frequent class alone reaches {judged.guess:.1%}"
            if gain.measure == "accuracy"
            else "guessing the mean reaches 0"
        )
        doubts.append(
            f"The model has hardly learned anything ({name_measure(gain)} "
            f"{format_level(gain, judged.mean('given'))}; {guess}), so a difference says little "
            "about the labels. Measure with the whole network, or train another one."
        )
    if judged.rows < FEW_TEST:
        doubts.append(
            f"There are only {counted(judged.rows, 'test example')}, so a gain must be large to "
            "be seen."
        )
    return doubts


def is_weak(gain: Gain, judged: Judged) -> bool:
    """Return whether the models are hardly better than guessing."""
    best = max(judged.mean("given"), judged.mean("corrected"))
    if gain.measure != "accuracy":
        return best < _LEAST_EXPLAINED
    error = math.sqrt(judged.guess * (1 - judged.guess) / max(judged.rows, 1))
    return bool(best < judged.guess + _ABOVE_GUESSING * error)


def describe_gain(gain: Gain) -> list[str]:
    """Return all that is to be said of a gain, a sentence or two each, the most important first."""
    told = [describe_headline(gain)]
    if gain.corrected or gain.excluded:
        told += [describe_control(gain), describe_control_kind(gain)]
    return [*told, describe_method(gain), describe_test_labels(gain), *list_doubts(gain)]
