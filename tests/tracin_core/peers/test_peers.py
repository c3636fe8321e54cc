"""What peers hold true of their own scores holds of ours, where there is anything alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from benchmarks.peer_cases import make_table
from benchmarks.report import PAGE
from tests.tracin_core.peers.everything import CASES, FAMILIES
from tests.tracin_core.peers.families import cases_of


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_holds_here(case) -> None:
    case.run()


def test_every_family_has_cases_or_a_reason() -> None:
    for family in FAMILIES:
        assert bool(list(cases_of(family))) == bool(family.ending), family
        assert bool(family.reason) != bool(family.ending), family
        assert family.theirs > 0
    assert len({(family.peer, family.name) for family in FAMILIES}) == len(FAMILIES)


def test_no_two_cases_are_alike() -> None:
    assert max(Counter(map(str, CASES)).values()) == 1


def test_the_table_stands_in_the_documentation() -> None:
    assert make_table({}) in PAGE.read_text(encoding="utf-8")
