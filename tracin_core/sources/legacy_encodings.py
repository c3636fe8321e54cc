"""Which older encoding a text file is in that is not UTF-8: found only where that is safe.

A library ranks the encodings. A wrong one among them often reads well to it, so that what it
finds must also look like the script that the encoding is for: words of Cyrillic letters, common
Chinese characters, Japanese kana. Western European files are Windows-1252 unless all of that
speaks against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

SAMPLED = 1 << 16  # bytes of lines with foreign letters; the library takes some milliseconds
_FEWEST = 40  # foreign letters: of fewer, two scripts may look alike
_FEWEST_OF_ALPHABET = 80
_FEWEST_DIFFERENT = 8
# The library's measures, 0 to 1: how usual the letters are in a language, and how odd the words.
_LEAST_COHERENCE, _MOST_CHAOS, _LEAST_LEAD = 0.25, 0.1, 0.15
_WESTERN = "cp1252"
# In Windows-1252, signs stand where Central European encodings have letters; no word has one
# between two letters. In ISO 8859-2, control characters stand where Windows-1250 has letters.
_ODD = re.compile(r"[\x80-\x9f]|[a-z][¡-©«-¹»-¿](?=[a-z])")
_FOREIGN = re.compile(r"[^\W_\x00-\x7f]")
_MIXED = re.compile(r"[A-Za-z][^\W_\x00-\x7f]|[^\W_\x00-\x7f][A-Za-z]")
_KANA = re.compile(r"[\u3041-\u30ff]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")


@dataclass(frozen=True)
class _Legacy:
    """An encoding.

    Attributes:
        people: Who writes it, for the note.
        looks_right: Tells whether a text that was read by it is in its script.
        is_alphabet: Whether the library knows how often its letters are.
    """

    people: str
    looks_right: Callable[[str], bool]
    is_alphabet: bool = False


def describe_legacy(encoding: str) -> str:
    """Return who writes an encoding that ``find_legacy`` returned, for people."""
    return _OTHERS[encoding].people if encoding in _OTHERS else _PEOPLE[encoding]


def find_legacy(sample: bytes) -> str | None:
    """Return the older encoding of some lines, as Python calls it; None where that is not safe.

    Args:
        sample: Whole lines with foreign letters, about ``SAMPLED`` bytes.
    """
    if not sample:
        return None
    return _find_script(sample) if _has_foreign_words(sample) else _find_central(sample)


def _has_foreign_words(sample: bytes) -> bool:
    """Tell whether foreign letters stand side by side: in Latin words they are single ones."""
    is_high = [byte > 127 for byte in sample]
    padded = [False, *is_high, False]
    together = sum(
        high and (before or after)
        for before, high, after in zip(padded, is_high, padded[2:], strict=False)
    )
    return 2 * together > sum(is_high)


def _find_script(sample: bytes) -> str | None:
    scores: dict[str, float] = {}
    sound: list[str] = []
    for name, match in _rank(sample, (*_OTHERS, _WESTERN)):
        legacy = _OTHERS.get(name)
        if legacy is None:
            continue
        looks_right = legacy.looks_right(_decode(sample, name))
        if looks_right and not legacy.is_alphabet:
            return name
        scores[name] = match.coherence - 3 * match.chaos
        if looks_right and match.coherence >= _LEAST_COHERENCE and match.chaos <= _MOST_CHAOS:
            sound.append(name)
    if not sound:
        return None
    # Of equals the first, which the library holds for the likeliest.
    found = max(sound, key=scores.__getitem__)
    text = _decode(sample, found)
    for name, score in scores.items():
        least = _LEAST_LEAD if name in sound else 0.0
        if scores[found] - score < least and _decode(sample, name) != text:
            return None
    # A capital letter and a quote of the other Greek encoding are odd signs in this one.
    return "iso8859_7" if found == "cp1253" and ("¶" in text or "΅" in text) else found


def _decode(sample: bytes, name: str) -> str:
    return sample.decode(name, "replace")


def _find_central(sample: bytes) -> str | None:
    """Return a Central European encoding if Windows-1252 would have signs inside of words."""
    text = _decode(sample, _WESTERN)
    signs = len(_ODD.findall(text))
    if signs < 5 or 5 * signs < sample.count(b"\n"):
        return None
    ranked = {name for name, _ in _rank(sample, (*_CENTRAL, _WESTERN))}
    sound = [name for name in _CENTRAL if 20 * len(_ODD.findall(_decode(sample, name))) <= signs]
    # Czech has letters in both where Polish has signs in the other.
    return sound[0] if len(sound) == 1 and sound[0] in ranked and _WESTERN not in ranked else None


def _rank(sample: bytes, names: Sequence[str]) -> list[tuple[str, CharsetMatch]]:
    """Return the encodings that a text may be in, the likeliest first, and what speaks for each.

    The library names one encoding for all that read the text alike; the others follow it.
    """
    from charset_normalizer import from_bytes

    found = from_bytes(
        sample, cp_isolation=list(names), preemptive_behaviour=False, enable_fallback=False
    )
    return [
        (name, match)
        for match in found
        for name in (match.encoding, *match.could_be_from_charset[1:])
        if name in names
    ]


def _is_alphabet(block: str) -> Callable[[str], bool]:
    """Return a test whether a text's foreign letters are those of one alphabet."""
    own = re.compile(f"[{block}]")

    def looks_right(text: str) -> bool:
        letters = _FOREIGN.findall(text)
        mine = own.findall("".join(letters))
        return (
            len(mine) >= _FEWEST_OF_ALPHABET
            and len(set(mine)) >= _FEWEST_DIFFERENT
            and len(mine) >= 0.95 * len(letters)
            and 2 * sum(letter.isupper() for letter in mine) < len(mine)
            and len(_MIXED.findall(text)) <= 0.05 * len(letters)
        )

    return looks_right


def _is_japanese(text: str) -> bool:
    letters, kana = len(_FOREIGN.findall(text)), len(_KANA.findall(text))
    return (
        kana >= _FEWEST_DIFFERENT
        and kana + len(_HAN.findall(text)) >= 0.95 * letters
        and kana >= 0.2 * letters
    )


def _is_korean(text: str) -> bool:
    hangul = _HANGUL.findall(text)
    usual = _share_between(hangul, "euc_kr", 0xB0, 0xC8)
    return len(hangul) >= max(_FEWEST, 0.8 * len(_FOREIGN.findall(text))) and usual >= 0.97


def _is_chinese(encoding: str, low: int, high: int) -> Callable[[str], bool]:
    """Return a test whether a text's characters are common Chinese ones by their first byte."""

    def looks_right(text: str) -> bool:
        han = _HAN.findall(text)
        is_han = len(han) >= max(_FEWEST, 0.9 * len(_FOREIGN.findall(text)))
        return is_han and _share_between(han, encoding, low, high) >= 0.9

    return looks_right


def _share_between(letters: Sequence[str], encoding: str, low: int, high: int) -> float:
    """Return the share of letters whose first byte in an encoding lies between two."""
    firsts = [letter.encode(encoding, "replace")[0] for letter in letters]
    return sum(low <= first <= high for first in firsts) / max(len(firsts), 1)


_cyrillic, _greek = _is_alphabet("\u0400-\u04ff"), _is_alphabet("\u0370-\u03ff")
_CENTRAL = ("cp1250", "iso8859_2")
_PEOPLE = dict.fromkeys(_CENTRAL, "Central European") | {"iso8859_7": "Greek"}
_OTHERS = {
    "cp1251": _Legacy("Cyrillic", _cyrillic, is_alphabet=True),
    "koi8_r": _Legacy("Russian", _cyrillic, is_alphabet=True),
    "koi8_u": _Legacy("Ukrainian", _cyrillic, is_alphabet=True),
    "cp866": _Legacy("Cyrillic", _cyrillic, is_alphabet=True),
    "iso8859_5": _Legacy("Cyrillic", _cyrillic, is_alphabet=True),
    "cp1253": _Legacy("Greek", _greek, is_alphabet=True),
    "cp1255": _Legacy("Hebrew", _is_alphabet("\u0590-\u05ff"), is_alphabet=True),
    "cp1256": _Legacy("Arabic", _is_alphabet("\u0600-\u06ff"), is_alphabet=True),
    "tis_620": _Legacy("Thai", _is_alphabet("\u0e00-\u0e7f"), is_alphabet=True),
    "cp932": _Legacy("Japanese, Shift-JIS", _is_japanese),
    "euc_jp": _Legacy("Japanese", _is_japanese),
    "gb18030": _Legacy("Chinese, GBK", _is_chinese("gb2312", 0xB0, 0xD7)),
    "big5": _Legacy("Chinese, Taiwan", _is_chinese("big5", 0xA4, 0xC6)),
    "cp949": _Legacy("Korean, EUC-KR", _is_korean),
}
