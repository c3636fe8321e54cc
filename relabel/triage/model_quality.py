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
from relabel.text import counted

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
    """

    warnings: tuple[str, ...] = ()
    course: str = ""
    remark: str = ""


def judge_run(engine: Engine, project: Project, run: Run) -> ModelJudgement:
    """Judge the model of a run; one of an earlier version by the little that was written down.

    Args:
        engine: The database.
        project: The run's project.
        run: The run.
    """
    quality = run.config.get("quality")
    if isinstance(quality, Mapping) and quality:
        return judge_quality(quality)
    accuracy = run.checkpoints[-1]["test_accuracy"] if run.checkpoints else None
    balance = class_balance(engine, project.id)
    trained, tested = ([row.given for row in balance if row.split == s] for s in ("train", "test"))
    if accuracy is None or not sum(tested):
        return ModelJudgement()
    facts: dict[str, float | None] = {
        "measure": accuracy,
        "num_judged": sum(tested),
        "guess": max(tested) / sum(tested),
    }
    if dict(run.config.get("model") or {}).get("name") != "own":  # whose loss may be any
        facts["train_loss"] = run.checkpoints[-1]["train_loss"]
        facts["train_guess_loss"] = _entropy(trained)
    return judge_quality(facts)


def _entropy(counts: Sequence[int]) -> float:
    """Return the loss in nats of naming each class with the probability of its share."""
    shares = [count / sum(counts) for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def judge_quality(quality: Mapping[str, Any]) -> ModelJudgement:
    """Judge a model by what its training wrote down.

    Args:
        quality: As ``training.quality.Outcome`` has it; what is missing or None is not known.
            Empty for a training that goes on or of an earlier version.
    """
    if not quality:
        return ModelJudgement()
    known = {name: value for name, value in quality.items() if value is not None}
    course = _describe_course(known) if "reason" in known else ""
    return ModelJudgement(tuple(_find_warnings(known)), course, _remark_on_figures(known))


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


def _find_warnings(known: Mapping[str, Any]) -> list[str]:
    said = []
    few = known.get("num_judged", 0) < LEAST_JUDGED
    if _has_hardly_learned(known):
        said.append(_describe_hardly_learned(known))
    elif not few and _is_guessing(known):
        said.append(_describe_guessing(known))
    if _is_by_heart(known):
        said.append(_describe_by_heart(known))
    if (fall := _find_fall(known)) is not None:
        said.append(
            f"The held-out loss was still falling when the training ended ({_loss(fall[0])} to "
            f"{_loss(fall[1])}), so it finds fewer errors than it could. Train again with more "
            "epochs, or leave their number open: then they go on until it stops falling."
        )
    if few and not said:
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
