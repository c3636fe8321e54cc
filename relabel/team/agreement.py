"""How far two people agree who have answered about the same examples without knowing each other's.

An answer is a label: the given one where it was kept, the new one where it was corrected, and what
was done instead where there is none, such as "Excluded". Of numbers only what was done counts: two
people who both correct a number agree there if they name the same one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relabel.db.decisions.kinds import find_kind
from relabel.db.project_rules import Project
from relabel.db.team.opinions import AnswerPair


@dataclass(frozen=True)
class PairAgreement:
    """Two people.

    Attributes:
        first, second: Their names, in the order of the alphabet.
        count: Examples that both have answered.
        agreed: Of these, with the same answer.
        kappa: Cohen's; None where it is undefined, as both gave one and the same answer throughout.
    """

    first: str
    second: str
    count: int
    agreed: int
    kappa: float | None


@dataclass(frozen=True)
class AnswerAgreement:
    """One answer, such as a class.

    Attributes:
        name: Of the answer.
        given: How often it was given, by either of the two.
        kappa: Fleiss' for this answer against all others; None where it is undefined.
    """

    name: str
    given: int
    kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """All examples that two people have answered.

    Attributes:
        count: How many.
        agreed: Of these, with the same answer twice.
        kappa: Fleiss' over all; None where it is undefined.
        pairs: By pair of people, the most examples first.
        answers: By answer, the most frequent first.
    """

    count: int
    agreed: int
    kappa: float | None
    pairs: list[PairAgreement]
    answers: list[AnswerAgreement]


def measure_agreement(project: Project, pairs: Sequence[AnswerPair]) -> Agreement:
    """Return how far the people of a project agree.

    Args:
        project: Its classes name the answers.
        pairs: What each two have answered.
    """
    told = [name_answers(project, one) for one in pairs]
    names = sorted({name for both in told for name in both})
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(told), len(names)), dtype=np.int64)
    for row, both in enumerate(told):
        for name in both:
            counts[row, place[name]] += 1
    answers = [
        AnswerAgreement(name, int(counts[:, column].sum()), compute_answer_kappa(counts, column))
        for name, column in place.items()
    ]
    return Agreement(
        count=len(told),
        agreed=sum(first == second for first, second in told),
        kappa=compute_fleiss_kappa(counts),
        pairs=_measure_people(pairs, told),
        answers=sorted(answers, key=lambda one: (-one.given, one.name)),
    )


def name_answers(project: Project, pair: AnswerPair) -> tuple[str, str]:
    """Return what the two of a pair have answered, each in words."""
    first = _name_answer(project, pair, pair.first_action, pair.first_label)
    second = _name_answer(project, pair, pair.second_action, pair.second_label)
    if pair.first_value != pair.second_value and first == second:
        return first, f"{second} to another number"
    return first, second


def _name_answer(project: Project, pair: AnswerPair, action: str, label: int | None) -> str:
    kind = find_kind(action)
    if kind.effect == "confirm" and project.classes:
        return project.classes[pair.given_label]
    return kind.state_title if label is None else project.classes[label]


def _measure_people(
    pairs: Sequence[AnswerPair], told: Sequence[tuple[str, str]]
) -> list[PairAgreement]:
    by_people: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for pair, (first, second) in zip(pairs, told, strict=True):
        if pair.first <= pair.second:
            by_people[pair.first, pair.second].append((first, second))
        else:
            by_people[pair.second, pair.first].append((second, first))
    found = [
        PairAgreement(
            *people,
            count=len(both),
            agreed=sum(one == other for one, other in both),
            kappa=compute_cohen_kappa([one for one, _ in both], [other for _, other in both]),
        )
        for people, both in by_people.items()
    ]
    return sorted(found, key=lambda one: (-one.count, one.first, one.second))


def compute_cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Return Cohen's kappa of two people's answers, by scikit-learn.

    Args:
        first: One person's answers, shape ``(N,)``.
        second: The other's about the same examples, in the same order.

    Returns:
        From -1 to 1; None where both gave one and the same answer throughout, as chance then
        explains everything.
    """
    if len({*first, *second}) < 2:
        return None
    # It takes a second to load, and most pages do without.
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(list(first), list(second)))


def compute_fleiss_kappa(counts: NDArray[np.int64]) -> float | None:
    """Return Fleiss' kappa, for people who may be other ones at each example.

    Fleiss 1971, Measuring nominal scale agreement among many raters, Psychological Bulletin 76(5),
    378-382: ``(P - P_e) / (1 - P_e)`` with ``P`` the mean share of agreeing pairs
    and ``P_e`` the sum of the squared shares of the answers.

    Args:
        counts: How many people gave each answer, shape (examples, answers); every row has the
            same sum, of at least 2.

    Returns:
        At most 1; None where all answers are the same, or there are none.
    """
    if not counts.size:
        return None
    people = int(counts[0].sum())
    agreeing = (counts * (counts - 1)).sum(axis=1) / (people * (people - 1))
    shares = counts.sum(axis=0) / counts.sum()
    by_chance = float((shares**2).sum())
    return None if by_chance == 1 else float((agreeing.mean() - by_chance) / (1 - by_chance))


def compute_answer_kappa(counts: NDArray[np.int64], column: int) -> float | None:
    """Return Fleiss' kappa for one answer against all others (the same paper).

    ``1 - sum_i n_i (n - n_i) / (N n (n - 1) p (1 - p))``, with ``n_i`` of ``n`` people having given
    the answer at example ``i`` of ``N``, and ``p`` its share of all.

    Args:
        counts: As for `compute_fleiss_kappa`.
        column: Which answer.

    Returns:
        At most 1; None where everybody has given it, or nobody.
    """
    given, people = counts[:, column], int(counts[0].sum())
    share = float(given.sum()) / float(counts.sum())
    if share in (0.0, 1.0):
        return None
    apart = float((given * (people - given)).sum())
    return 1 - apart / (len(given) * people * (people - 1) * share * (1 - share))
