"""Cases of peers' own test suites, re-stated: what each is about, and how it ends here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Ending = Literal["passed", "refused"]


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        family: What it belongs to.
        choices: What distinguishes it from the family's others.
        run: Runs it; an `AssertionError` if it does not hold.
    """

    family: Family
    choices: dict[str, Any]
    run: Callable[[], None]

    def __str__(self) -> str:
        told = ", ".join(f"{key} {value}" for key, value in self.choices.items())
        return f"{self.family.peer}: {self.family.name}" + (f" ({told})" if told else "")


@dataclass(frozen=True)
class Family:
    """Cases of one peer about one thing.

    Attributes:
        peer: "captum", "dattri" or "kronfluence".
        name: What they are about.
        theirs: How many cases the peer has of it, on a CPU.
        ending: "passed" where the relation holds here too; "refused" where our message is the
            right answer, as the peer's own error is; "" where there is nothing alike.
        reason: Why there is nothing alike.
    """

    peer: str
    name: str
    theirs: int
    ending: Ending | Literal[""]
    reason: str = ""


FAMILIES: list[Family] = []
CASES: list[Case] = []


def restates(
    peer: str, name: str, theirs: int, ending: Ending = "passed", **choices: tuple[Any, ...]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a family, with a case for every combination of choices."""
    family = Family(peer, name, theirs, ending)
    FAMILIES.append(family)

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for values in itertools.product(*choices.values()):
            chosen = dict(zip(choices, values, strict=True))
            CASES.append(Case(family, chosen, _bind(function, chosen)))
        return function

    return register


def has_no_equivalent(peer: str, name: str, theirs: int, reason: str) -> None:
    """Register a family of which there is nothing alike here."""
    FAMILIES.append(Family(peer, name, theirs, "", reason))


def cases_of(family: Family) -> Iterator[Case]:
    """Yield the family's cases."""
    return (case for case in CASES if case.family is family)


def _bind(function: Callable[..., None], chosen: dict[str, Any]) -> Callable[[], None]:
    return lambda: function(**chosen)
