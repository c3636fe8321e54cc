"""The table of the kinds of models that are cross-validated: ``candidates`` has a file a family.

A new kind is one more file there that registers itself. Listing them imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from relabel.text import KINDS, TASKS, Kind, Task
from tracin_core.errors import ConfigurationError

# What a candidate reads of the examples, made once for all that read the same:
# "words": word 1- and 2-grams with TF-IDF, sparse; "characters": runs of 2 to 5 characters of
# words, hashed, sparse; "features": rows of length one, of a frozen network or of a small picture's
# pixels; "numbers": the rows of a table as its encoder has them; "inputs": what built-in networks
# take, given as positions.
Reads = Literal["words", "characters", "words and characters", "features", "numbers", "inputs"]

_FOLDER = "relabel.crossval.candidates"


class Matrix(Protocol):
    """Rows of numbers that are chosen by positions: an array, or a sparse matrix."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return rows, and numbers of a row."""

    def __getitem__(self, rows: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """One fit of a candidate: what it learns from, and what it is asked about.

    Attributes:
        rows: All examples as the candidate reads them, N rows: those of the train split, then
            those of the test split.
        learned: Positions that it is fitted to, shape ``(A,)``.
        asked: Positions that it is asked about, shape ``(B,)``.
        targets: Class indices or, for regression, standardised numbers, of all, shape ``(N,)``.
        num_classes: K; 0 for regression.
        seed: Of whatever is drawn by chance.
        network: How to fit a built-in network; None where the candidate is none.
    """

    rows: Matrix
    learned: npt.NDArray[np.intp]
    asked: npt.NDArray[np.intp]
    targets: npt.NDArray[Any]
    num_classes: int
    seed: int
    network: Any = None

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted."""
        return self.num_classes == 0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much there is to fit.

    Attributes:
        examples: N, of both splits.
        width: Numbers of a row; of sparse ones those that are not zero.
        classes: K; 1 for regression.
    """

    examples: int
    width: float
    classes: int


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One kind of model.

    Attributes:
        name: In files; stable.
        title: For people.
        kinds: Of examples that it is for.
        tasks: What it predicts.
        reads: What it is given of the examples.
        fit_predict: Fits to a fold and returns, of the examples asked about, logarithms of the
            probabilities, shape ``(B, K)``, or for regression standardised numbers, ``(B,)``.
        estimate: Seconds of one fit on one core, roughly.
        network: Name of the built-in network that is the same kind of model; empty for none.
        is_leave_one_out: Whether one call tells of every example what all others say; then it is
            asked once, with all examples as learned and asked.
    """

    name: str
    title: str
    kinds: tuple[Kind, ...]
    tasks: tuple[Task, ...] = TASKS
    reads: Reads
    fit_predict: Callable[[Fold], npt.NDArray[np.floating]]
    estimate: Callable[[Size], float]
    network: str = ""
    is_leave_one_out: bool = False


_CANDIDATES: dict[str, Candidate] = {}


def register_candidate(candidate: Candidate) -> Candidate:
    """Register a kind of model.

    Raises:
        ConfigurationError: If its kind or task is unknown, or another one has its name.
    """
    if not set(candidate.kinds) <= set(KINDS) or not set(candidate.tasks) <= set(TASKS):
        raise ConfigurationError(
            f"Found a candidate {candidate.name!r} for {candidate.kinds} and {candidate.tasks}; "
            f"expected some of {', '.join(KINDS)} and of {', '.join(TASKS)}. Correct it."
        )
    known = _CANDIDATES.get(candidate.name)
    if known and known != candidate and known.title != candidate.title:
        raise ConfigurationError(
            f"Found two candidates called {candidate.name!r}. Give the second another name."
        )
    _CANDIDATES[candidate.name] = candidate
    return candidate


def list_candidates(kind: Kind, task: Task) -> tuple[Candidate, ...]:
    """Return the kinds of models for some data, in the order of their files."""
    _load()
    return tuple(one for one in _CANDIDATES.values() if kind in one.kinds and task in one.tasks)


@cache
def _load() -> None:
    load_candidates(import_module(_FOLDER).__path__)


def load_candidates(folders: Iterable[str]) -> None:
    """Import every file of some folders of the package; they register what they hold."""
    for module in sorted(each.name for each in iter_modules(folders)):
        import_module(f"{_FOLDER}.{module}")
