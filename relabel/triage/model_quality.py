"""What a run's model is worth, in a sentence: near guessing, still learning, learned by heart.

The queue of a model that has learned nothing looks like any other queue. So whoever reads one is
told, with the numbers and the way out. Read without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import class_balance
from relabel.models.registry import find_network
from relabel.runs.held_out import HeldOutSummary, recall_summary
from relabel.text import counted
from relabel.triage.suspicion import BY_HEART as BY_HEART_OF_UNSEEN

# Standard errors of an accuracy that luck may bring: about one useless model in forty has more.
LUCK = 2.0
# Of fewer held-out examples an accuracy of a half has an error of 20 percentage points and more.
LEAST_JUDGED = 25
# Share of variance explained that is next to nothing; of few examples more is.
LITTLE_R2 = 0.1
# A loss above this part of a constant guess's: hardly anything is learned. Classifiers that rank
# label errors well had 40% and less of it, those that had barely begun 92% and more.
HARDLY_LEARNED = 0.85
# Where the loss is below this part of a constant guess's, the probabilities tell classes apart even
# if the accuracy is that of the most frequent class, as it is where one class is rare.
TELLS_APART = 0.8
# By heart: nearly all train labels are predicted as given, the held-out ones are wrong several
# times as often, and the gap is large beyond the held-out accuracy's own error. A good model of
# labels with errors in them predicts fewer as given, because it contradicts the wrong ones.
BY_HEART, BY_HEART_R2 = 0.95, 0.9
TIMES_AS_WRONG = 4.0
GAP, GAP_R2 = 0.10, 0.20
# Where models have been asked that have not seen an example, less of a gap is enough: both numbers
# are of the same train labels, and there are many of them.
GAP_TO_UNSEEN = 0.03
# A fall over the last epochs, by so large a part, that goes on to the very last one.
STILL_FALLING = 0.03


@dataclass(frozen=True)
class ModelJudgement:
    """What is to be said about the model of a run.

    Attributes:
        warnings: What is wrong with it, the gravest first; a sentence or two each, with numbers
            and the way out. Empty for a good model.
        remark: What else is worth knowing about its figures; empty mostly.
        course: How its training went and why it ended; empty where that is not known.
        unseen: What models that have not seen an example say of the labels, in sentences: how well
            they agree, which network was chosen, and whether it has learned labels by heart; or why
            none could be asked. Empty where none were to be.
    """

    warnings: tuple[str, ...] = ()
    course: str = ""
    remark: str = ""
    unseen: tuple[str, ...] = ()


def judge_run(engine: Engine, project: Project, run: Run) -> ModelJudgement:
    """Judge the model of a run; one of an earlier version by the little that was written down.

    Args:
        engine: The database.
        project: The run's project.
        run: The run.
    """
    quality = run.config.get("quality")
    summary = recall_summary(run.config)
    balance = class_balance(engine, project.id) if summary or not quality else []
    trained, tested = ([row.given for row in balance if row.split == s] for s in ("train", "test"))
    unseen = None
    if summary is not None:
        unseen = UnseenLabels(
            summary=summary,
            network=str(dict(run.config.get("model") or {}).get("name", "")),
            seen=run.config.get("seen_agreement"),
            guess=max(trained, default=0) / max(sum(trained), 1),
            is_regression=project.task == "regression",
        )
    not_asked = str(run.config.get("not_asked") or "")
    if isinstance(quality, Mapping) and quality:
        return judge_quality(quality, unseen, not_asked)
    accuracy = run.checkpoints[-1]["test_accuracy"] if run.checkpoints else None
    if accuracy is None or not sum(tested):
        return judge_quality({}, unseen, not_asked)
    facts: dict[str, float | None] = {
        "measure": accuracy,
        "num_judged": sum(tested),
        "guess": max(tested) / sum(tested),
    }
    if dict(run.config.get("model") or {}).get("name") != "own":  # whose loss may be any
        facts["train_loss"] = run.checkpoints[-1]["train_loss"]
        facts["train_guess_loss"] = _entropy(trained)
    return judge_quality(facts, unseen, not_asked)


@dataclass(frozen=True, kw_only=True)
class UnseenLabels:
    """What is known of labels beside models that have not seen them.

    Attributes:
        summary: Of the cross-validation.
        network: Name of the network that was trained.
        seen: How well it tells, at its last checkpoint, the labels that it was trained on, as the
            summary has an agreement; None where that is not known.
        guess: Share of the most frequent train label; 0 where it is not known, and for regression.
        is_regression: Whether the agreements are shares of a variance.
    """

    summary: HeldOutSummary
    network: str
    seen: float | None
    guess: float = 0.0
    is_regression: bool = False

    @property
    def is_by_heart(self) -> bool:
        """Whether the network has learned labels by heart that models which have not seen doubt."""
        if self.seen is None:
            return False
        wrong_seen, wrong_unseen = 1.0 - self.seen, 1.0 - self.summary.agreement
        luck = 0.0
        if not self.is_regression:
            agreement = min(max(self.summary.agreement, 0.0), 1.0)
            luck = LUCK * _standard_error(agreement, max(self.summary.num_examples, 1))
        gap = wrong_unseen - wrong_seen
        return wrong_seen <= BY_HEART_OF_UNSEEN * wrong_unseen and gap > GAP_TO_UNSEEN + luck

    @property
    def is_guessing(self) -> bool:
        """Whether the models agree with no more labels than the best constant guess."""
        if self.is_regression:
            return self.summary.agreement <= LITTLE_R2
        number = max(self.summary.num_examples, 1)
        luck = LUCK * math.sqrt(self.guess * (1 - self.guess) / number)
        return self.guess > 0 and self.summary.agreement <= self.guess + luck


def _entropy(counts: Sequence[int]) -> float:
    """Return the loss in nats of naming each class with the probability of its share."""
    shares = [count / sum(counts) for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def judge_quality(
    quality: Mapping[str, Any], unseen: UnseenLabels | None = None, not_asked: str = ""
) -> ModelJudgement:
    """Judge a model by what its training wrote down.

    Args:
        quality: As ``training.quality.Outcome`` has it; what is missing or None is not known.
            Empty for a training that goes on or of an earlier version.
        unseen: What models that have not seen an example say; None where none were asked.
        not_asked: Why none could be; empty where they were, or nobody wanted it.
    """
    known = {name: value for name, value in quality.items() if value is not None}
    said: tuple[str, ...] = (describe_not_asked(not_asked),) if not_asked else ()
    warnings: list[str] = []
    if unseen is not None:
        said = (describe_agreement(unseen), describe_choice(unseen))
        if unseen.is_by_heart:
            said += (_describe_by_heart_of_unseen(unseen),)
        if unseen.is_guessing:
            warnings.append(_describe_guessing_unseen(unseen))
    if not known:
        return ModelJudgement(tuple(warnings), unseen=said)
    course = _describe_course(known) if "reason" in known else ""
    warnings += _find_warnings(known, asked_unseen=unseen is not None)
    return ModelJudgement(tuple(warnings), course, _remark_on_figures(known), said)


def describe_not_asked(reason: str) -> str:
    """Return that nobody was asked who has not seen the examples, and why."""
    return (
        "No models were asked that have not seen an example, so suspects are ranked by the network "
        f"that has seen their labels. {reason}"
    )


def describe_agreement(unseen: UnseenLabels) -> str:
    """Return how well models that have not seen the labels agree with them."""
    summary = unseen.summary
    best = max(summary.candidates, key=lambda one: one.agreement, default=None)
    number, agreed = f"{summary.num_examples:,}", _percent(summary.agreement)
    if unseen.is_regression:
        found = f"explain {agreed} of the variance of the {number} train numbers"
        alone = "explains"
    else:
        found = f"agree with {agreed} of the {number} given train labels"
        alone = "agrees with"
    kind = "" if best is None else f"; the best kind alone ({best.title}) {alone} "
    kind += "" if best is None else _percent(best.agreement)
    return f"Models that have not seen an example {found}{kind}."


def describe_choice(unseen: UnseenLabels) -> str:
    """Return which network explains its training, and why that one."""
    chosen = title_network(unseen.network)
    best = unseen.summary.network
    if best and best == unseen.network:
        return (
            f"TracIn explains this network: {chosen}; of the kinds of models that are networks, "
            "its kind agrees most."
        )
    if not best:
        return f"TracIn explains this network: {chosen}. No network was among those compared."
    return (
        f"TracIn explains this network: {chosen}, as was asked for; of the networks that were "
        f"compared, {title_network(best)} agrees most."
    )


def title_network(name: str) -> str:
    """Return what a built-in network is called; the name itself of any other."""
    network = find_network(name)
    own = "a network of your own" if name == "own" else name.replace("_", " ")
    return own if network is None else network.title


def _describe_by_heart_of_unseen(unseen: UnseenLabels) -> str:
    seen, agreed = _percent(unseen.seen or 0.0), _percent(unseen.summary.agreement)
    taken = "numbers" if unseen.is_regression else "labels"
    if unseen.is_regression:
        found = f"explains {seen} of the variance of the train numbers"
        beside = f"explain {agreed}"
    else:
        found = f"predicts {seen} of the train labels as given"
        beside = f"agree with {agreed}"
    return (
        f"The network has learned {taken} by heart: at its last checkpoint it {found}, where "
        f"models that have not seen them {beside}. So what it says of a wrong one is often the "
        f"wrong one again; suspicion and suggested {taken} come from the models that have not "
        "seen the example."
    )


def _describe_guessing_unseen(unseen: UnseenLabels) -> str:
    agreed, number = _percent(unseen.summary.agreement), f"{unseen.summary.num_examples:,}"
    if unseen.is_regression:
        found = f"they explain {agreed} of the variance of {number} train numbers"
    else:
        found = (
            f"they agree with {agreed} of {number} train labels, where always naming the most "
            f"frequent class does with {_percent(unseen.guess)}"
        )
    return (
        f"Models that have not seen an example are no better than guessing: {found}. The suspects "
        "are not to be trusted: look whether the labels can be told from the data that was "
        "imported, or import more examples."
    )


def _remark_on_figures(known: Mapping[str, Any]) -> str:
    """Return the remark that a few absurd numbers decide a regression's figures, where they do."""
    share = _share(known, "loss", "guess_loss")
    low = known.get("is_regression") and known.get("test_measure", 1.0) < LITTLE_R2
    if not low or share is None or share > TELLS_APART:
        return ""
    return (
        "A few held-out numbers far from all others decide the test error and the explained "
        f"variance. Without the worst ones the model has {share:.0%} of the loss of a constant "
        "guess, so look at those numbers before you doubt the model."
    )


def _find_warnings(known: Mapping[str, Any], *, asked_unseen: bool) -> list[str]:
    said = []
    few = known.get("num_judged", 0) < LEAST_JUDGED
    if _has_hardly_learned(known):
        said.append(_describe_hardly_learned(known))
    elif not few and _is_guessing(known):
        said.append(_describe_guessing(known))
    # The models that have not seen an example say it better, and the queue is theirs.
    if not asked_unseen and _is_by_heart(known):
        said.append(_describe_by_heart(known))
    if (fall := _find_fall(known)) is not None:
        said.append(
            f"The held-out loss was still falling when the training ended ({_loss(fall[0])} to "
            f"{_loss(fall[1])}), so it finds fewer errors than it could. {_go_on(known)}"
        )
    if few and not said and not asked_unseen:
        said.append(_describe_too_few(known))
    return said


def _has_hardly_learned(known: Mapping[str, Any]) -> bool:
    pairs = (("train_loss", "train_guess_loss"), ("loss", "guess_loss"))
    shares = [_share(known, loss, guess) for loss, guess in pairs]
    found = [share for share in shares if share is not None]
    # The train loss must be there: an overconfident model's held-out loss is above any guess.
    return shares[0] is not None and min(found) > HARDLY_LEARNED


def _share(known: Mapping[str, Any], loss: str, guess: str) -> float | None:
    if loss not in known or not known.get(guess):
        return None
    return float(known[loss]) / float(known[guess])


def _is_guessing(known: Mapping[str, Any]) -> bool:
    if "measure" not in known or known["measure"] > _reaches_by_guessing(known):
        return False
    share = _share(known, "loss", "guess_loss")
    return share is None or share > TELLS_APART


def _reaches_by_guessing(known: Mapping[str, Any]) -> float:
    """Return what a model that knows nothing reaches but for rare luck."""
    number = max(1, int(known.get("num_judged", 1)))
    if known.get("is_regression"):
        # The correlation of n numbers with something unrelated has a standard error of 1/sqrt(n),
        # and its square bounds the variance that is explained.
        return max(LITTLE_R2, LUCK * LUCK / number)
    guess = float(known.get("guess", 0.0))
    return guess + LUCK * math.sqrt(guess * (1 - guess) / number)


def _is_by_heart(known: Mapping[str, Any]) -> bool:
    if "measure" not in known or "train_measure" not in known or not known.get("num_judged"):
        return False
    held_out, trained = float(known["measure"]), float(known["train_measure"])
    if (1 - held_out) < TIMES_AS_WRONG * (1 - trained):
        return False
    if known.get("is_regression"):
        return trained >= BY_HEART_R2 and held_out < trained - GAP_R2
    luck = LUCK * _standard_error(held_out, known["num_judged"])
    return trained >= BY_HEART and held_out + luck < trained - GAP


def _standard_error(accuracy: float, number: int) -> float:
    return math.sqrt(accuracy * (1 - accuracy) / number)


def _find_fall(known: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the two losses of a fall that had not ended, or None."""
    before, after = known.get("loss_before"), known.get("loss_after")
    if known.get("reason") in ("most epochs", "time") and before is not None and after is not None:
        return (before, after) if after < (1 - STILL_FALLING) * before else None
    losses = [float(loss) for loss in known.get("last_losses", ())]
    if known.get("reason") not in ("fixed", "too few", "time") or len(losses) < 2:
        return None
    fell = losses[-1] < (1 - STILL_FALLING) * losses[0] and losses[-1] == min(losses)
    return (losses[0], losses[-1]) if fell else None


def _go_on(known: Mapping[str, Any]) -> str:
    """Return how a training that ended too early gets further."""
    if known["reason"] == "fixed":
        return (
            "Train again with more epochs, or leave their number open: then they go on until it "
            "stops falling."
        )
    tried = counted(int(known.get("epochs_tried", known.get("epochs", 0))), "epoch")
    return f"Their number was open; train again and set one that is above the {tried} of now."


def _describe_guessing(known: Mapping[str, Any]) -> str:
    return (
        f"The model is no better than guessing: {_describe_reached(known)}. Its suspects are not "
        "to be trusted: look whether the labels can be told from the data that was imported, "
        "import more examples, or train longer."
    )


def _describe_hardly_learned(known: Mapping[str, Any]) -> str:
    loss, guess = _loss(known["train_loss"]), _loss(known["train_guess_loss"])
    reached = f", and {_describe_reached(known)}" if "measure" in known else ""
    return (
        f"The model is little better than guessing: its train loss is {loss} where a constant "
        f"guess has {guess}{reached}. Its suspects are not to be trusted: train longer, with a "
        "larger learning rate or another model, or look whether the labels can be told from the "
        "data that was imported."
    )


def _describe_reached(known: Mapping[str, Any]) -> str:
    """Return what a model reaches on held-out examples, beside what guessing reaches."""
    number = counted(known.get("num_judged", 0), "held-out example")
    if known.get("is_regression"):
        explained = _percent(known["measure"]) if known["measure"] >= 0.005 else "none"
        return f"it explains {explained} of the variance of {number}"
    return (
        f"it is right for {_percent(known['measure'])} of {number}, where always naming the most "
        f"frequent class is for {_percent(known['guess'])}"
    )


def _describe_by_heart(known: Mapping[str, Any]) -> str:
    trained, held_out = _percent(known["train_measure"]), _percent(known["measure"])
    number = counted(known["num_judged"], "held-out example")
    if known.get("is_regression"):
        found = (
            f"it explains {trained} of the variance of the train numbers, {held_out} of {number}"
        )
    else:
        found = f"it predicts {trained} of the train labels as given, and {held_out} of {number}"
    return (
        f"The model has learned its examples by heart: {found}. So it has learned wrong labels, "
        "too, and its own suggestions say little: train with fewer epochs, or import more examples."
    )


def _describe_too_few(known: Mapping[str, Any]) -> str:
    number = known.get("num_judged", 0)
    if not number:
        return (
            "No examples are held out, so nothing says how good the model is. Import the data "
            "with a test split, or with a share of it held out for testing."
        )
    found = ""
    if "measure" in known and not known.get("is_regression"):
        luck = LUCK * _standard_error(0.5, number)
        found = f": its accuracy may be off by {100 * luck:.0f} percentage points"
    judge = "judges" if number == 1 else "judge"
    return (
        f"Only {counted(number, 'held-out example')} {judge} the model, too few to tell how good "
        f"it is{found}. Import more examples, or hold out a larger share for testing."
    )


def _describe_course(known: Mapping[str, Any]) -> str:
    kept, tried = int(known.get("epochs", 0)), int(known.get("epochs_tried", 0))
    epochs, more = counted(kept, "epoch"), counted(tried - kept, "further epoch")
    before, after = known.get("loss_before"), known.get("loss_after")
    losses = "" if before is None or after is None else f" ({_loss(before)} to {_loss(after)})"
    reason = known["reason"]
    if reason == "settled":
        return f"{epochs}; {more} did not lower the held-out loss{losses} and were dropped."
    if reason == "rose":
        dropped = f"; {more} {'was' if tried - kept == 1 else 'were'} dropped"
        return f"{epochs}{dropped}, as the held-out loss rose{losses}."
    if reason == "most epochs":
        return f"{epochs}{_dropped(more, tried - kept)}, the most that are tried."
    if reason == "time":
        limit = f"{float(known.get('max_seconds', 0)):.0f} s"
        return (
            f"{epochs}{_dropped(more, tried - kept)}; {known.get('round_epochs', kept)} more would "
            f"have passed the limit of {limit}."
        )
    if reason == "patience":
        return f"{epochs}; it ended early, because the test loss fell no more{losses}."
    if reason == "too few":
        return f"{epochs}; too few examples are held out to say when to stop."
    return f"{epochs}, as was set."


def _dropped(more: str, number: int) -> str:
    return f" ({more} {'was' if number == 1 else 'were'} dropped)" if number else ""


def _percent(fraction: float) -> str:
    shown = f"{fraction:.0%}"
    return "0%" if shown == "-0%" else shown


def _loss(value: float) -> str:
    return f"{value:.3g}"
