"""The table of signals: every number by which train examples can be ranked, high for suspects.

A new signal is one more entry of ``SIGNALS``. The scores of an attribution method that no entry
reads are signals of their own, so that a new method needs none. Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.runs.signals import Signals
from relabel.text import Task
from relabel.triage.suspicion import combine_margins, combine_residuals, rank_within_classes
from tracin_core.attribution import AttributionMethod, list_methods
from tracin_core.errors import ConfigurationError

# Needed by signals that weight checkpoints; not known where a checkpoint has no recorded one.
LEARNING_RATES = "learning_rates"

# The name of the combined signal, which ranks the queue where a run has it.
SUSPICION = "suspicion"
# The order that a queue has learned from decisions: entered beside a run's signals when a person
# wants it, and then it ranks the queue.
LEARNED = "learned"
# What is known of the train examples beside what the capture pass measured, arrays ``(N,)``:
# what models that have not seen an example say of its label, the neighbours among them alone, ...
HELD_OUT, NEIGHBOURS, LABELS = "held_out", "neighbours", "labels"
# ... the part of the network's own course in the suspicion, one number, shape ``()``, ...
COURSE = "course"
# ... and how much the test examples speak against it, all and those of the likeliest other label.
OPPOSITION, OPPOSITION_OF_OTHER = "opposition", "opposition_of_other"


@dataclass(frozen=True)
class Measured:
    """What a signal is computed from.

    Attributes:
        signals: Of the train split, arrays ``(C, N)``.
        rates: The learning rate at each checkpoint, ``(C,)``; empty where they are not known.
        known: Other numbers of the train examples by name, ``(N,)``.
    """

    signals: Signals
    rates: npt.NDArray[np.float64]
    known: Mapping[str, npt.NDArray[Any]]


# Returns ``(N,)``.
Compute = Callable[[Measured], npt.NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One ranking of the train examples.

    Attributes:
        name: As it stands in the database, in addresses and on the command line.
        title: For people.
        explanation: What it is, and when it fails, in a sentence or two.
        task: Of which projects; None for all.
        needs: Measures, scores and what else is known, by name, and ``LEARNING_RATES``; a run that
            lacks one is not ranked by it.
        compute: Makes the numbers.
    """

    name: str
    title: str
    explanation: str = ""
    task: Task | None = None
    needs: tuple[str, ...]
    compute: Compute


def _sum_of(score: str) -> Compute:
    return lambda found: found.signals.scores[score].astype(np.float64).sum(axis=0)


def _weighted_sum_of(score: str) -> Compute:
    # TracInCP (Pruthi et al. 2020, arXiv:2002.08484v3, Sec. 3.2) weights each checkpoint with its
    # learning rate. On real label noise the last layer's self-influence ranked better with the
    # rates ignored, so that is what the queue uses unless told otherwise.
    return lambda found: found.rates @ found.signals.scores[score].astype(np.float64)


def _mean_of(score: str) -> Compute:
    # The mean of a score that is the same at every checkpoint is the score itself.
    return lambda found: found.signals.scores[score].astype(np.float64).mean(axis=0)


def _known(name: str) -> Compute:
    return lambda found: found.known[name].astype(np.float64)


def _compute_mean_loss(found: Measured) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = found.signals.loss.astype(np.float64).mean(axis=0)
    return mean


def _compute_mean_margin(found: Measured) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = -found.signals.margin.astype(np.float64).mean(axis=0)
    return mean


def _compute_mean_residual(found: Measured) -> npt.NDArray[np.float64]:
    residual = np.asarray(found.signals.residual, dtype=np.float64)
    mean: npt.NDArray[np.float64] = np.abs(residual).mean(axis=0)
    return mean


def _normalise_self_influence(found: Measured) -> npt.NDArray[np.float64]:
    # Divided by the largest at each checkpoint's own scale: late checkpoints, whose gradients are
    # small, would otherwise say nothing beside the first.
    scores = found.signals.scores["self_influence_last"].astype(np.float64)
    means = scores.mean(axis=1, keepdims=True)
    mean: npt.NDArray[np.float64] = (scores / np.where(means > 0, means, 1.0)).mean(axis=0)
    return mean


def _compute_suspicion(found: Measured) -> npt.NDArray[np.float64]:
    combine = combine_margins if found.signals.residual is None else combine_residuals
    return combine(found.signals, found.known[HELD_OUT], float(found.known[COURSE]))


def _compute_held_out(found: Measured) -> npt.NDArray[np.float64]:
    held_out = found.known[HELD_OUT].astype(np.float64)
    return held_out if found.signals.residual is None else np.abs(held_out)


def _rank_within_classes(found: Measured) -> npt.NDArray[np.float64]:
    return rank_within_classes(_compute_suspicion(found), found.known[LABELS])


def _by_name(*signals: Signal) -> dict[str, Signal]:
    return {signal.name: signal for signal in signals}


# In the order in which they are offered; the first that a run has ranks the queue unless a person
# chooses another.
SIGNALS: dict[str, Signal] = _by_name(
    Signal(
        name=LEARNED,
        title="Learned from decisions",
        explanation="What was decided, learned by a logistic regression on the other signals and "
        "the pairs of labels. It is taken only where it ranks random draws at least as well, and "
        "fails where later examples are wrong in other ways than those decided so far.",
        needs=(LEARNED,),
        compute=_known(LEARNED),
    ),
    Signal(
        name=SUSPICION,
        title="Suspicion",
        explanation="What models that have not seen the example say against its label or number, "
        "together with the course of the training where that adds to it and the network has not "
        "learned its examples by heart. It fails where whole groups are labelled wrong alike: "
        "models learn that, too.",
        needs=("loss", HELD_OUT, COURSE),
        compute=_compute_suspicion,
    ),
    Signal(
        name="self_influence",
        title="Self-influence (last layer)",
        explanation="How much a training step on the example would lower its own loss, by the "
        "last layer's gradients. It also ranks rare and difficult examples high, and says little "
        "once the network has learned wrong labels by heart.",
        needs=("self_influence_last",),
        compute=_sum_of("self_influence_last"),
    ),
    Signal(
        name="self_influence_all",
        title="Self-influence (all layers)",
        explanation="The same by the gradients of all layers. Examples that are large or unusual "
        "in their content stand high whatever their label.",
        needs=("self_influence_all",),
        compute=_sum_of("self_influence_all"),
    ),
    Signal(
        name="self_influence_recorded",
        title="Self-influence (last layer, recorded rates)",
        explanation="Each checkpoint counts with its learning rate, as the paper has it. Where the "
        "rate falls, early checkpoints decide, at which the network knew little.",
        needs=("self_influence_last", LEARNING_RATES),
        compute=_weighted_sum_of("self_influence_last"),
    ),
    Signal(
        name="self_influence_normalised",
        title="Self-influence (last layer, normalised)",
        explanation="Each checkpoint counts alike, whatever the size of its gradients. Late "
        "checkpoints may have learned wrong labels by heart.",
        needs=("self_influence_last",),
        compute=_normalise_self_influence,
    ),
    Signal(
        name="mean_loss",
        title="Mean loss",
        explanation="The loss of the given label, averaged over the checkpoints. A network that "
        "has learned wrong labels by heart has a small loss on them.",
        needs=("loss",),
        compute=_compute_mean_loss,
    ),
    Signal(
        name="mean_margin",
        title="Mean negative margin",
        explanation="How far the logit of the given label is below the largest other one, averaged "
        "over the checkpoints. It fails as the mean loss does.",
        task="classification",
        needs=("margin",),
        compute=_compute_mean_margin,
    ),
    Signal(
        name="mean_residual",
        title="Mean absolute residual",
        explanation="How far the number is from the network's, averaged over the checkpoints. "
        "Targets that vary more where they are large stand high for that alone.",
        task="regression",
        needs=("residual",),
        compute=_compute_mean_residual,
    ),
    Signal(
        name="held_out",
        title="Out-of-fold disagreement",
        explanation="What models that have not seen the example say against its label, or how far "
        "its number is from theirs. It fails where these models are weak: see Runs.",
        needs=("loss", HELD_OUT),
        compute=_compute_held_out,
    ),
    Signal(
        name="neighbour_margin",
        title="Disagreement of the neighbours",
        explanation="How much more of the nearest examples, by their features, carry another label "
        "than the given one. It fails where what looks alike need not have the same label.",
        task="classification",
        needs=("margin", NEIGHBOURS),
        compute=_known(NEIGHBOURS),
    ),
    Signal(
        name="class_percentile",
        title="Suspicion within the class",
        explanation="The place by suspicion among the examples with the same label, so that every "
        "class has its turn. It fails where errors gather in a few classes.",
        task="classification",
        needs=("margin", HELD_OUT, COURSE, LABELS),
        compute=_rank_within_classes,
    ),
    Signal(
        name="test_opposition",
        title="Opposition to the test examples",
        explanation="How much training on the example raises the loss of the test examples: the "
        "list of recurring opponents. It needs test labels that are right, and says little where "
        "few are wrong.",
        needs=("loss", OPPOSITION),
        compute=_known(OPPOSITION),
    ),
    Signal(
        name="other_opposition",
        title="Opposition to test examples of the likeliest other label",
        explanation="The same over those test examples alone that carry the label which is most "
        "probable beside the given one. It needs a test split with every class.",
        task="classification",
        needs=("margin", OPPOSITION_OF_OTHER),
        compute=_known(OPPOSITION_OF_OTHER),
    ),
)


def list_signals() -> dict[str, Signal]:
    """Return all signals by name, in the order in which they are offered."""
    read = {need for signal in SIGNALS.values() for need in signal.needs}
    of_methods = _by_name(
        *(
            Signal(name=score, title=title, needs=(score,), compute=_mean_of(score))
            for method in list_methods().values()
            for score, title in method.scores.items()
            if score not in read
        )
    )
    return of_methods | SIGNALS


def check_score_names(method: AttributionMethod) -> None:
    """Check that a method's scores can be stored and ranked beside what is measured anyway.

    Raises:
        ConfigurationError: If one has the name of a measure or of a signal that does not read it.
    """
    of_measures = {"position", "checkpoint", *(entry.name for entry in fields(Signals))}
    of_signals = {name for name, signal in SIGNALS.items() if name not in signal.needs}
    of_signals -= {need for signal in SIGNALS.values() for need in signal.needs}
    if taken := sorted((of_measures | of_signals) & set(method.scores)):
        raise ConfigurationError(
            f"The attribution method {method.name!r} calls a score {taken[0]!r}, as another number "
            "of every run is called. Choose another name for it."
        )


def name_signals(names: Iterable[str]) -> dict[str, str]:
    """Return the titles of those signals that are asked for, in the order of the table.

    A name that the table lacks is a score of a method that this process does not know: it is its
    own title and stands first, as the scores of a run's method do.
    """
    chosen = list(names)
    signals = list_signals()
    unknown = {name: name for name in chosen if name not in signals}
    return unknown | {name: signal.title for name, signal in signals.items() if name in chosen}


def choose_default_signal(names: Sequence[str]) -> str:
    """Return the signal that ranks unless a person chooses another.

    Args:
        names: Of the run's signals.

    Returns:
        The learned one, where there is one; else the first of an attribution method that the table
        does not know; else the suspicion; else the first of the run's method, else its first; the
        table's first of a run without any.
    """
    signals, of_methods = list_signals(), _list_scores()
    if LEARNED in names:
        return LEARNED
    if unknown := [name for name in names if name not in signals]:
        return unknown[0]  # of a method that this process does not know
    offered = [name for name in signals if name in set(names)]
    of_others = [name for name in offered if name not in SIGNALS]
    combined = [name for name in offered if name == SUSPICION]
    first = [name for name in offered if of_methods.intersection(signals[name].needs)]
    return next(iter([*of_others, *combined, *first, *offered, *SIGNALS]))


def compute_signals(
    signals: Signals,
    learning_rates: Sequence[float | None],
    known: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
) -> dict[str, npt.NDArray[np.float64]]:
    """Return every ranking of the train examples for which everything is known.

    Args:
        signals: Of the train split, arrays of shape ``(C, N)``.
        learning_rates: Step size at each checkpoint, shape ``(C,)``; None where it is not known,
            and then there is no ranking with the rates.
        known: What else is known of the train examples by name, shape ``(N,)`` each.

    Returns:
        By signal name, shape ``(N,)`` each, high for suspects.
    """
    task: Task = "classification" if signals.residual is None else "regression"
    names = set(signals.list_columns()) | set(known)
    rates = [rate for rate in learning_rates if rate is not None]
    if len(rates) == len(learning_rates):
        names.add(LEARNING_RATES)
    measured = Measured(signals, np.asarray(rates, dtype=np.float64), known)
    return {
        name: signal.compute(measured)
        for name, signal in list_signals().items()
        if signal.task in (None, task) and names.issuperset(signal.needs)
    }


def title_scores(names: Iterable[str]) -> dict[str, str]:
    """Return what scores of methods are called in charts, in the order of the methods."""
    chosen = set(names)
    titles = {
        score: title
        for method in list_methods().values()
        for score, title in method.scores.items()
        if score in chosen
    }
    return titles | {name: name for name in sorted(chosen - set(titles))}


def describe_scores(names: Iterable[str]) -> str:
    """Return the quantity that scores of one method are, such as "self-influence"."""
    chosen = set(names)
    quantities = [
        method.quantity for method in list_methods().values() if chosen & method.scores.keys()
    ]
    return next(iter(quantities), "score")


def describe_quantity(signal: str) -> str:
    """Return what a signal's numbers are, in few words, for a line of text."""
    entry = list_signals()[signal]
    of_method = _list_scores().intersection(entry.needs)
    return describe_scores(of_method) if of_method else entry.title.lower()


def _list_scores() -> set[str]:
    return {score for method in list_methods().values() for score in method.scores}
