"""Cut a text of any script into lower-case words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import islice

# Longer "words" are encoded data or a stuck key; nothing is lost by comparing their beginnings.
MAX_WORD_LENGTH = 64

# Japanese kana and Han characters stand without blanks between words: each counts as one.
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf"
# Vowel signs and other marks belong to the letter before them (Devanagari, Arabic, Thai, ...),
# though `\w` leaves out most of them.
_MARK = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0903\u093a-\u094f"
    "\u0981-\u0983\u09bc-\u09cd\u0a01-\u0a4d\u0a81-\u0acd\u0b01-\u0b4d\u0b82-\u0bcd\u0c00-\u0c56"
    "\u0c81-\u0cd6\u0d00-\u0d4d\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
)
_LETTER = rf"(?:[^\W{_SINGLE}]|[{_MARK}])"
_WORD = re.compile(rf"[{_SINGLE}{_EMOJI}]|{_LETTER}+(?:['\u2019]{_LETTER}+)*")


def split_words(text: str, *, limit: int) -> list[str]:
    """Return the first words of a text, in compatibility form (NFKC) and case-folded.

    Args:
        text: Any text; only as much of it is read as the limit can need.
        limit: Most words to return.

    Returns:
        Words without blanks and punctuation, at most ``MAX_WORD_LENGTH`` characters each; a Han
        character, kana or emoji is a word of its own.
    """
    beginning = text[: limit * MAX_WORD_LENGTH]
    folded = unicodedata.normalize("NFKC", beginning).casefold()
    return [match[0][:MAX_WORD_LENGTH] for match in islice(_WORD.finditer(folded), limit)]


def count_words(texts: Iterable[str], *, max_tokens: int) -> Counter[str]:
    """Return in how many texts each word occurs among the first ``max_tokens``."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(split_words(text, limit=max_tokens)))
    return counts
