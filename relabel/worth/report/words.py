"""The sentences of a report, for somebody who has never heard of influences."""

from __future__ import annotations

from datetime import UTC, datetime

from relabel.db.yields import LONGEST_LOOK
from relabel.text import counted, format_seconds
from relabel.worth.gain.words import (
    describe_control,
    describe_control_kind,
    describe_headline,
    describe_method,
    describe_test_labels,
    list_doubts,
)
from relabel.worth.report.collect import ReportFacts
from relabel.worth.report.telling import TellingCorrection


def format_day(moment: datetime | None) -> str:
    """Return a day as "1 December 2026"."""
    if moment is None:
        return "–"
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y}"


def _answer_word(facts: ReportFacts) -> str:
    return "value" if facts.is_regression else "label"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def summarise(facts: ReportFacts) -> list[str]:
    """Return the few sentences that a hurried person reads."""
    progress, what = facts.progress, _answer_word(facts)
    if not progress.reviewed:
        return [
            f"Nothing has been decided about the {counted(progress.total, 'train example')} yet. "
            "Review some of the queue, then make the report again."
        ]
    told = [
        f"{counted(progress.reviewed, 'of the train examples', 'of the train examples')} "
        f"({_share(progress.reviewed, progress.total)} of {progress.total:,}) "
        f"{'was' if progress.reviewed == 1 else 'were'} reviewed by "
        f"{counted(len(facts.reviewers), 'person', 'people')}.",
        f"{counted(facts.found, f'wrong {what}')} {'was' if facts.found == 1 else 'were'} found: "
        f"{facts.corrected:,} corrected, {facts.excluded:,} left out. That is "
        f"{_share(facts.found, progress.reviewed)} of what was looked at.",
    ]
    if facts.audit is not None:
        told.append(_describe_rate(facts))
    told.append(
        describe_headline(facts.gain)
        if facts.gain is not None
        else "What the corrections are worth to a model has not been measured yet."
    )
    return told


def describe_reviewed(facts: ReportFacts) -> list[str]:
    """Return what was reviewed, when, and how it was decided."""
    progress = facts.progress
    if facts.first is None:
        return ["Nothing has been decided yet."]
    states = [
        (facts.corrected, "corrected"),
        (facts.confirmed, "confirmed as they were given"),
        (facts.excluded, "left out of the training"),
        (facts.ambiguous, "marked as ambiguous: they keep their answer"),
    ]
    listed = ", ".join(f"{number:,} {name}" for number, name in states if number)
    first, last = format_day(facts.first), format_day(facts.last)
    when = f"on {first}" if first == last else f"between {first} and {last}"
    told = [
        f"People looked at examples one by one, the most suspect first, {when}. Of the "
        f"{counted(progress.reviewed, 'decided train example')}: {listed or 'none'}. "
        f"{counted(progress.total - progress.reviewed, 'example')} "
        f"{'has' if progress.total - progress.reviewed == 1 else 'have'} not been looked at."
    ]
    if facts.test_progress.reviewed:
        told.append(
            f"Of the {counted(facts.test_progress.total, 'test example')}, by which models are "
            f"judged, {facts.test_progress.reviewed:,} were reviewed as well."
        )
    if any(one.per_hour for one in facts.reviewers):
        told.append(
            "Decisions an hour count the time that an example stood on the screen; more than "
            f"{format_seconds(LONGEST_LOOK)} at one of them counts as a pause."
        )
    return told


def describe_found(facts: ReportFacts) -> list[str]:
    """Return what was found, in words."""
    if not facts.found:
        return ["No error was found so far."]
    told = []
    if facts.flows:
        most = facts.flows[0]
        told.append(
            f"Most often, {facts.names[most.given]} was given where {facts.names[most.other]} is "
            f"right: {counted(most.count, 'time')}."
        )
    elif facts.is_regression:
        told.append(f"{counted(facts.corrected, 'number')} were corrected.")
    if facts.found_by_rank:
        last = facts.found_by_rank[-1]
        told.append(
            f"Of the {last.reviewed:,} examples that the current ranking has and that were "
            f"reviewed, {last.found:,} were wrong. A curve that flattens says that what is still "
            "to come holds fewer errors."
        )
    return told


def _describe_rate(facts: ReportFacts) -> str:
    audit = facts.audit
    if audit is None:
        return ""
    return (
        f"By a random audit of {counted(audit.num_audited, 'example')}, {audit.rate:.1%} of the "
        f"{_answer_word(facts)}s as given are wrong (95% interval {audit.low:.1%} to "
        f"{audit.high:.1%})."
    )


def describe_left(facts: ReportFacts) -> list[str]:
    """Return how many errors are probably left, and whether the review may stop."""
    what = _answer_word(facts)
    if facts.audit is None:
        told = [
            f"How many wrong {what}s there are in all is not known: only a random audit can tell, "
            "and none has been answered. What the ranking shows first says nothing about what it "
            "shows last."
        ]
    else:
        total, found = facts.progress.total, facts.found
        left, low, high = (
            max(round(share * total) - found, 0)
            for share in (facts.audit.rate, facts.audit.low, facts.audit.high)
        )
        told = [
            _describe_rate(facts),
            f"With {found:,} found, about {left:,} are left (between {low:,} and {high:,}) among "
            f"the {total:,} train examples. The audit's examples were drawn at random; what the "
            "ranking showed does not enter this estimate.",
        ]
    if facts.stop is not None and facts.progress.reviewed:
        told += [f"May the review stop? {facts.stop.sentence}", facts.stop.promise]
    return [sentence for sentence in told if sentence]


def describe_worth(facts: ReportFacts) -> list[str]:
    """Return what the corrections gained, or why that is not known."""
    gain = facts.gain
    if gain is None:
        return [
            "What the corrections are worth to a model has not been measured. Measure the gain on "
            "History, which takes seconds to minutes, and make the report again."
        ]
    told = [describe_headline(gain)]
    if gain.corrected or gain.excluded:
        told += [
            "So that this is no matter of luck, the same model was also trained after as many "
            "reviews of random examples: the control. " + describe_control(gain),
            describe_control_kind(gain),
        ]
    if facts.gain_age:
        told.append(
            f"{counted(facts.gain_age, 'decision')} {'has' if facts.gain_age == 1 else 'have'} "
            "come since it was measured and had no part in it."
        )
    return [*told, *list_doubts(gain)]


def describe_how(facts: ReportFacts) -> list[str]:
    """Return how suspects were found and how the gain was measured."""
    told = []
    if facts.run is not None:
        quality = facts.run.config.get("model")
        network = quality.get("name") if isinstance(quality, dict) else None
        network = f" (a network of the kind {network})" if isinstance(network, str) else ""
        told.append(
            f"A model{network} was trained on the data. How each training example moved the model "
            "was recorded at several moments of its training (TracIn, Pruthi et al. 2020), and "
            "other models were asked about examples that they had not seen. Examples were ranked "
            f"by “{facts.ranking}”: those whose {_answer_word(facts)} fits least come first. "
            "People decided; no label was changed by a program."
        )
        told.append(
            "Examples “spoke for” a label where learning from them made the model surer of it, "
            "and “against” it where learning from them made it less sure. Examples that look alike "
            "and speak against a label often carry the right one."
        )
    if facts.gain is not None:
        told += [describe_method(facts.gain), describe_test_labels(facts.gain)]
    told.append(
        "Every decision, with who made it and when, is kept; the history can be exported and "
        "checked."
    )
    return told


def list_limits(facts: ReportFacts) -> list[str]:
    """Return what the figures do not say."""
    what = _answer_word(facts)
    limits = [
        f"A {what} counts as wrong where a reviewer said so; reviewers err as well.",
        "The ranking shows likely errors first, so the share of errors among the reviewed examples "
        "is not the share in the data.",
    ]
    if facts.audit is None:
        limits.append("Without a random audit nobody knows how many errors are left.")
    else:
        limits.append(
            "The audit's interval is about chance in which examples were drawn, and not about "
            "errors in the audit's own answers."
        )
    if facts.gain is None:
        limits.append(f"Better {what}s need not mean a better model; that was not measured.")
    else:
        limits.append(
            "The gain is that of one kind of model on these test examples. Another model, or other "
            "data, may gain more or less."
        )
        if facts.gain.control.kind == "audit":
            limits.append(
                "The control corrects errors that the review found, which are the plainer ones; "
                "random reviews meet subtler ones, too, so the control is rather too good."
            )
        else:
            limits.append(
                "The control knows only the errors that the review has found, so random reviews "
                "may have gained more than it says."
            )
    return limits


def describe_correction(facts: ReportFacts, one: TellingCorrection) -> list[str]:
    """Return what is said beside a correction."""
    told = [
        f"Given as {one.given}; {one.reviewer} decided for {one.corrected}."
        + ("" if one.rank is None else f" It was number {one.rank:,} of the suspects.")
    ]
    if one.is_suggested:
        told.append(f"Models that had not seen it said {one.corrected}, too.")
    if one.votes is not None and one.asked:
        carry = "carries" if one.votes == 1 else "carry"
        told.append(
            f"Of the {counted(one.asked, 'training example')} that spoke most against the given "
            f"label, {one.votes} {carry} the corrected one."
        )
    return told
