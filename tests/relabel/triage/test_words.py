"""An influence falls apart by word, and the words are found in both texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relabel.features.ngrams import NgramEncoder
from relabel.models.build import build_model
from relabel.models.networks.text import NgramLinearConfig
from relabel.triage.words import cut_at_marks, split_influence, split_score
from tests import oracles

FIRST = "Not good \u2014 NOT good at all; the <b>cast</b> is wooden"
SECOND = "this is not good, says the cast"


@pytest.fixture(scope="module")
def encoder() -> NgramEncoder:
    return NgramEncoder.fit([FIRST, SECOND, FIRST.lower(), SECOND.upper()])


def test_amounts_add_up_to_the_influence_and_are_those_of_the_gradients(encoder):
    config = NgramLinearConfig(num_terms=encoder.num_terms, num_outputs=3)
    model = build_model(config).double()
    torch.nn.init.normal_(model.terms.weight, generator=torch.Generator().manual_seed(0))
    examples = [(encoder.encode(text), label) for text, label in ((FIRST, 0), (SECOND, 2))]
    examples = [((ids, weights.double()), label) for (ids, weights), label in examples]
    left, right = oracles.per_example_gradients(
        model, examples, lambda outputs, y: torch.nn.functional.cross_entropy(outputs, y)
    ).reshape(2, -1, 3)
    by_term = (left * right).sum(1)  # of each row of the table
    influence = float(by_term.sum())
    shared = split_influence(encoder, FIRST, SECOND, influence)
    assert shared.constant == pytest.approx(float(by_term[-1]), rel=1e-6)
    for share in shared.terms:
        place = encoder.terms.index(share.term)
        assert share.amount == pytest.approx(float(by_term[place]), rel=1e-6)
    total = sum(share.amount for share in shared.terms)
    assert total + shared.constant == pytest.approx(influence)
    for marks in (shared.first, shared.second):
        assert sum(mark.amount for mark in marks) == pytest.approx(total)


def test_pairs_mark_both_words_and_texts_stay_texts(encoder):
    shared = split_influence(encoder, FIRST, SECOND)
    assert "not good" in {share.term for share in shared.terms}
    assert [FIRST[mark.start : mark.stop] for mark in shared.first] == [
        *("Not", "good", "NOT", "good", "the", "cast", "is")
    ]
    pieces = cut_at_marks(FIRST, shared.first)
    assert "".join(piece for piece, _ in pieces) == FIRST
    assert ("wooden", 0.0) not in pieces
    assert pieces[-1] == (" wooden", 0.0)
    # Both places of a word carry the same, and together what the term does.
    amounts = {FIRST[mark.start : mark.stop]: mark.amount for mark in shared.first}
    assert amounts["Not"] == pytest.approx(amounts["NOT"])


def test_texts_without_a_common_word_share_the_constant_alone(encoder):
    shared = split_influence(encoder, "wooden", "says", 0.5)
    assert (shared.terms, shared.first, shared.second) == ((), (), ())
    assert shared.constant == 0.5


def test_a_score_of_one_text_falls_apart_too(encoder):
    coefficients = np.zeros(encoder.num_terms + 1)
    coefficients[encoder.terms.index("cast")] = -2.0
    coefficients[encoder.terms.index("not good")] = 1.0
    terms, marks = split_score(encoder, SECOND, coefficients)
    weights = dict(zip(*(part.tolist() for part in encoder.encode(SECOND)), strict=True))
    assert terms[0].term == "cast"
    assert terms[0].amount == pytest.approx(-2 * weights[encoder.terms.index("cast")])
    assert [SECOND[mark.start : mark.stop] for mark in marks] == ["not", "good", "cast"]
    assert marks[0].amount == pytest.approx(weights[encoder.terms.index("not good")] / 2)
