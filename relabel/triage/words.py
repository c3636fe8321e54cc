"""Which words carry an influence: the terms that two texts share, and where they stand.

Of a linear network over words and pairs of words (``NgramEncoder``), the influence of a train text
``x`` on another one ``x'`` is ``sum_c rate_c (delta_c . delta'_c) (x . x' + 1)``: at every
checkpoint the same inner product of the two texts. So it falls apart exactly, into a share for each
term that both have, ``x_t x'_t / (x . x' + 1)``, and one for what all texts have in common.

What is returned are numbers and places in the texts, never markup; nothing here imports torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel.features.ngrams import NgramEncoder
from relabel.features.text import find_words


@dataclass(frozen=True)
class TermShare:
    """What one term adds.

    Attributes:
        term: A word, or two with a blank between.
        amount: Its part of what is split up, in the same unit.
    """

    term: str
    amount: float


@dataclass(frozen=True)
class WordMark:
    """A word of a text that carries something.

    Attributes:
        start: Its first character.
        stop: The one behind its last.
        amount: What the word adds there: its own term's amount and half of each pair's that it
            is in, both divided among the places where they stand.
    """

    start: int
    stop: int
    amount: float


@dataclass(frozen=True, kw_only=True)
class SharedWords:
    """An influence between two texts, split up by words.

    Attributes:
        terms: Those that both have, the largest amount first.
        constant: What comes from the network's constant part, which all texts share.
        first: The words of the first text that carry something, in order.
        second: Those of the second one.
    """

    terms: tuple[TermShare, ...]
    constant: float
    first: tuple[WordMark, ...]
    second: tuple[WordMark, ...]


def split_influence(
    encoder: NgramEncoder, first: str, second: str, influence: float = 1.0
) -> SharedWords:
    """Split the influence between two texts up by the words that they share.

    Args:
        encoder: The run's.
        first: A text, such as the train example that influences.
        second: Another one.
        influence: Of the one on the other; negative for an opponent. Left out, the amounts are
            shares, which add up to one.

    Returns:
        Amounts whose sum, with the constant's, is ``influence``.

    Raises:
        InputError: If a text is empty.
    """
    rows = _weigh(encoder, first), _weigh(encoder, second)
    products = {term: weight * rows[1][term] for term, weight in rows[0].items() if term in rows[1]}
    whole = sum(products.values()) + 1.0
    amounts = {term: influence * product / whole for term, product in products.items()}
    return SharedWords(
        terms=_rank(encoder, amounts),
        constant=influence / whole,
        first=mark_words(encoder, first, amounts),
        second=mark_words(encoder, second, amounts),
    )


def split_score(
    encoder: NgramEncoder, text: str, coefficients: npt.NDArray[np.floating]
) -> tuple[tuple[TermShare, ...], tuple[WordMark, ...]]:
    """Split a linear score of one text up by its words.

    Args:
        encoder: The run's.
        text: The text.
        coefficients: Of each term, shape ``(V,)`` or longer: such as a class's column of the
            network's table less another one's, which says what speaks for the one against the
            other.

    Returns:
        The terms, the largest amount by size first, and the words of the text that carry
        something, in order. The score is the sum of the amounts and the network's constant.

    Raises:
        InputError: If the text is empty.
    """
    weights = _weigh(encoder, text)
    amounts = {term: weight * float(coefficients[term]) for term, weight in weights.items()}
    return _rank(encoder, amounts), mark_words(encoder, text, amounts)


def mark_words(
    encoder: NgramEncoder, text: str, amounts: Mapping[int, float]
) -> tuple[WordMark, ...]:
    """Return the words of a text that carry an amount, in order.

    Args:
        encoder: The run's.
        text: The text.
        amounts: By the term's id; their sum over the terms that the text has is the sum of the
            marks.
    """
    words = find_words(text, limit=encoder.max_words)
    singles, pairs = encoder.find_ids([word.word for word in words])
    times = Counter(term for term in (*singles, *pairs) if term is not None)
    carried = np.zeros(len(words))
    for place, term in enumerate(singles):
        if term is not None and term in amounts:
            carried[place] += amounts[term] / times[term]
    for place, term in enumerate(pairs):
        if term is not None and term in amounts:
            carried[place : place + 2] += amounts[term] / times[term] / 2
    return tuple(
        WordMark(word.start, word.stop, float(amount))
        for word, amount in zip(words, carried, strict=True)
        if amount
    )


def cut_at_marks(text: str, marks: Sequence[WordMark]) -> list[tuple[str, float]]:
    """Return a text in pieces with the amount of each, 0 for what carries none.

    Args:
        text: The text.
        marks: Places in it, in order.
    """
    pieces, end = [], 0
    for mark in marks:
        if mark.start > end:
            pieces.append((text[end : mark.start], 0.0))
        pieces.append((text[mark.start : mark.stop], mark.amount))
        end = mark.stop
    if end < len(text):
        pieces.append((text[end:], 0.0))
    return pieces


def _weigh(encoder: NgramEncoder, text: str) -> dict[int, float]:
    """Return a text's weights by the term's id."""
    row = encoder.read(text)
    weights = np.ascontiguousarray(row[:, 1]).view(np.float32)
    return dict(zip(row[:, 0].tolist(), weights.tolist(), strict=True))


def _rank(encoder: NgramEncoder, amounts: Mapping[int, float]) -> tuple[TermShare, ...]:
    ordered = sorted(amounts.items(), key=lambda item: (-abs(item[1]), item[0]))
    return tuple(TermShare(encoder.terms[term], amount) for term, amount in ordered)
