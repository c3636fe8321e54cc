"""What can be compared: every attribution method, every signal of a run, and a random order.

A new method or signal is there without an entry here. Scores that only a method makes are no
signals of their own here: the method itself is compared. Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relabel.runs.config import Rates
from relabel.text import Task
from relabel.triage.signals import SIGNALS, SUSPICION
from tracin_core.attribution import DEFAULT_METHOD, list_methods
from tracin_core.errors import ConfigurationError

RANDOM = "random"
RECORDED = f"{DEFAULT_METHOD}_recorded"
_USUAL = (
    DEFAULT_METHOD,
    RECORDED,
    "last_checkpoint",
    "influence_functions",
    "representer",
    "mean_loss",
    "mean_margin",
    "mean_residual",
    SUSPICION,
    RANDOM,
)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to rank the train examples.

    Attributes:
        name: On the command line and in files.
        title: For people.
        method: The attribution method that is run anew; "" for what the run has measured.
        signal: The run's ranking that is read; "" for a method, and for the random order.
        rates: Whether checkpoints count with their learning rates, or all the same.
    """

    name: str
    title: str
    method: str = ""
    signal: str = ""
    rates: Rates = "ones"


def list_contenders(task: Task) -> dict[str, Contender]:
    """Return all ways to rank the examples of a task by name, in the order of their tables."""
    found = []
    for method in list_methods().values():
        if method.name == DEFAULT_METHOD:
            title = f"{method.title}, equal rates"
            found.append(Contender(name=method.name, title=title, method=method.name))
            title = f"{method.title}, recorded rates"
            found.append(
                Contender(name=RECORDED, title=title, method=method.name, rates="recorded")
            )
        else:
            found.append(Contender(name=method.name, title=method.title, method=method.name))
    found += [
        Contender(name=signal.name, title=signal.title, signal=signal.name)
        for signal in SIGNALS.values()
        if signal.task in (None, task)
    ]
    found.append(Contender(name=RANDOM, title="Random order"))
    return {one.name: one for one in found}


def choose_contenders(names: Sequence[str], task: Task) -> list[Contender]:
    """Return the ways that are asked for, or the usual ones, each once.

    Raises:
        ConfigurationError: If there is none of a name.
    """
    known = list_contenders(task)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(
            f"There is no method or signal called {unknown[0]!r:.80}. Choose among "
            f"{', '.join(known)}."
        )
    chosen = names or [name for name in _USUAL if name in known]
    return [known[name] for name in dict.fromkeys(chosen)]
