"""Problems as they are met: all are counted, the first of each kind are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tracin_core.sources.records import Problem

KEPT_PER_KIND = 50
KEPT = 500


class ProblemLog:
    """Counts problems without growing with their number.

    Attributes:
        counts: Problems by what is wrong.
        num_refused: Those that leave an example out.
    """

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self.num_refused = 0
        self._kept: list[Problem] = []
        for problem in problems:
            self.add(problem)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first."""
        self.counts[problem.what] += 1
        self.num_refused += problem.refused
        if self.counts[problem.what] <= KEPT_PER_KIND and len(self._kept) < KEPT:
            self._kept.append(problem)

    def count(self, what: str, number: int, *, refused: bool = True) -> None:
        """Count problems of a kind that are not described one by one."""
        if number > 0:
            self.counts[what] += number
            self.num_refused += number if refused else 0

    @property
    def kept(self) -> tuple[Problem, ...]:
        """Return the problems that were kept, in the order they were met."""
        return tuple(self._kept)

    def to_json(self) -> dict[str, Any]:
        """Return the problems that were kept, and how many there are, as plain JSON."""
        return {
            "kept": [asdict(problem) for problem in self._kept],
            "counts": dict(self.counts),
            "num_refused": self.num_refused,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProblemLog:
        """Return the log that ``to_json`` described."""
        log = cls()
        log._kept = [Problem(**problem) for problem in data["kept"]]
        log.counts = Counter(data["counts"])
        log.num_refused = int(data["num_refused"])
        return log


def choose_problems(problems: Sequence[Problem], number: int) -> list[Problem]:
    """Choose some problems, in their order, so that those of every kind are among them."""
    of_kind: Counter[str] = Counter()
    ranked = []
    for place, problem in enumerate(problems):
        ranked.append((of_kind[problem.what], place))
        of_kind[problem.what] += 1
    return [problems[place] for place in sorted(place for _, place in sorted(ranked)[:number])]
