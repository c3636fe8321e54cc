"""The table of signals: every number by which train examples can be ranked, high for suspects.

A new signal is one more entry of ``SIGNALS``. The scores of an attribution method that no entry
reads are signals of their own, so that a new method needs none. Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from relabel.runs.signals import Signals
from relabel.text import Task
from tracin_core.attribution import AttributionMethod, list_methods
from tracin_core.errors import ConfigurationError

# Needed by signals that weight checkpoints; not known where a checkpoint has no recorded one.
LEARNING_RATES = "learning_rates"

# Takes what was measured of the train split, arrays ``(C, N)``, and the learning rates, ``(C,)``,
# empty where they are not known; returns ``(N,)``.
Compute = Callable[[Signals, npt.NDArray[np.float64]], npt.NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One ranking of the train examples.

    Attributes:
        name: As it stands in the database, in addresses and on the command line.
        title: For people.
        task: Of which projects; None for all.
        needs: Measures and scores that it reads, by the names of their columns, and
            ``LEARNING_RATES``; a run that lacks one is not ranked by it.
        compute: Makes the numbers.
    """

    name: str
    title: str
    task: Task | None = None
    needs: tuple[str, ...]
    compute: Compute


def _sum_of(score: str) -> Compute:
    return lambda signals, rates: signals.scores[score].astype(np.float64).sum(axis=0)


def _weighted_sum_of(score: str) -> Compute:
    # TracInCP (Pruthi et al. 2020, arXiv:2002.08484v3, Sec. 3.2) weights each checkpoint with its
    # learning rate. On real label noise the last layer's self-influence ranked better with the
    # rates ignored, so that is what the queue uses unless told otherwise.
    return lambda signals, rates: rates @ signals.scores[score].astype(np.float64)


def _mean_of(score: str) -> Compute:
    # The mean of a score that is the same at every checkpoint is the score itself.
    return lambda signals, rates: signals.scores[score].astype(np.float64).mean(axis=0)


def _compute_mean_loss(signals: Signals, rates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = signals.loss.astype(np.float64).mean(axis=0)
    return mean


def _compute_mean_margin(
    signals: Signals, rates: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = -signals.margin.astype(np.float64).mean(axis=0)
    return mean


def _compute_mean_residual(
    signals: Signals, rates: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    residual = np.asarray(signals.residual, dtype=np.float64)
    mean: npt.NDArray[np.float64] = np.abs(residual).mean(axis=0)
    return mean


def _by_name(*signals: Signal) -> dict[str, Signal]:
    return {signal.name: signal for signal in signals}


# In the order in which they are offered; the first that a run has of its attribution method ranks
# the queue unless a person chooses another.
SIGNALS: dict[str, Signal] = _by_name(
    Signal(
        name="self_influence",
        title="Self-influence (last layer)",
        needs=("self_influence_last",),
        compute=_sum_of("self_influence_last"),
    ),
    Signal(
        name="self_influence_all",
        title="Self-influence (all layers)",
        needs=("self_influence_all",),
        compute=_sum_of("self_influence_all"),
    ),
    Signal(
        name="self_influence_recorded",
        title="Self-influence (last layer, recorded rates)",
        needs=("self_influence_last", LEARNING_RATES),
        compute=_weighted_sum_of("self_influence_last"),
    ),
    Signal(name="mean_loss", title="Mean loss", needs=("loss",), compute=_compute_mean_loss),
    Signal(
        name="mean_margin",
        title="Mean negative margin",
        task="classification",
        needs=("margin",),
        compute=_compute_mean_margin,
    ),
    Signal(
        name="mean_residual",
        title="Mean absolute residual",
        task="regression",
        needs=("residual",),
        compute=_compute_mean_residual,
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
        The first of the run's attribution method, else its first; the table's first of a run
        without any.
    """
    signals, of_methods = list_signals(), _list_scores()
    if unknown := [name for name in names if name not in signals]:
        return unknown[0]  # of a method that this process does not know
    offered = [name for name in signals if name in set(names)]
    first = [name for name in offered if of_methods.intersection(signals[name].needs)]
    return next(iter([*first, *offered, *SIGNALS]))


def compute_signals(
    signals: Signals, learning_rates: Sequence[float | None]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return every ranking of the train examples for which everything is known.

    Args:
        signals: Of the train split, arrays of shape ``(C, N)``.
        learning_rates: Step size at each checkpoint, shape ``(C,)``; None where it is not known,
            and then there is no ranking with the rates.

    Returns:
        By signal name, shape ``(N,)`` each, high for suspects.
    """
    task: Task = "classification" if signals.residual is None else "regression"
    known = set(signals.list_columns())
    rates = [rate for rate in learning_rates if rate is not None]
    if len(rates) == len(learning_rates):
        known.add(LEARNING_RATES)
    return {
        name: signal.compute(signals, np.asarray(rates, dtype=np.float64))
        for name, signal in list_signals().items()
        if signal.task in (None, task) and known.issuperset(signal.needs)
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
