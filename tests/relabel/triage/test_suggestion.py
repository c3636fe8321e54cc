from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relabel.triage.evidence import Suggestion, suggest_label


def test_the_majority_of_the_opponents_is_suggested():
    assert suggest_label([3, 3, 5, 3], given_label=1) == Suggestion(label=3, votes=3, of=4)


def test_a_tie_suggests_nothing():
    assert suggest_label([3, 5, 3, 5], given_label=1) is None


def test_no_opponents_suggest_nothing():
    assert suggest_label([], given_label=1) is None


def test_the_given_label_is_never_suggested():
    assert suggest_label([1, 1, 2], given_label=1) is None


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 4))
def test_a_suggestion_counts_right_and_leads(labels: list[int], given_label: int):
    found = suggest_label(labels, given_label)
    if found is not None:
        assert found.label != given_label
        assert found.votes == labels.count(found.label)
        assert found.of == len(labels)
        others = [labels.count(other) for other in set(labels) - {found.label}]
        assert all(found.votes > count for count in others)
