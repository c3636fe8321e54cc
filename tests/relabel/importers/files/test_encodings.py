"""Which encodings are recognised in files that are not UTF-8, and which are not."""

from __future__ import annotations

import random
from itertools import pairwise
from types import SimpleNamespace

import pytest
from charset_normalizer import from_bytes

from relabel.importers.files import encoding as encoding_module
from relabel.importers.files.encoding import find_encoding
from tests.relabel.importers.builders import preview, read
from tests.relabel.importers.files.languages import REVIEWS

# Language, encoding, and what is found in a table of six reviews.
RECOGNISED = [
    ("russian", "cp1251", "cp1251"),
    ("russian", "koi8_r", "koi8_r"),
    ("russian", "cp866", "cp866"),
    ("russian", "iso8859_5", "iso8859_5"),
    ("ukrainian", "cp1251", "cp1251"),
    ("ukrainian", "koi8_u", "koi8_u"),
    ("greek", "cp1253", "cp1253"),
    ("greek", "iso8859_7", "cp1253"),  # they read these letters alike
    ("hebrew", "cp1255", "cp1255"),
    ("arabic", "cp1256", "cp1256"),
    ("thai", "tis_620", "tis_620"),
    ("japanese", "shift_jis", "cp932"),
    ("japanese", "euc_jp", "euc_jp"),
    ("chinese", "gbk", "gb18030"),
    ("taiwanese", "big5", "big5"),
    ("korean", "euc_kr", "cp949"),
    ("polish", "iso8859_2", "iso8859_2"),
    ("polish", "cp1250", "cp1250"),
]
WESTERN = [(language, "cp1252", "cp1252") for language in ("french", "german", "english")]
# Read as Windows-1252, as the letters alone do not tell: the note says how to name the right one.
NOT_RECOGNISED = [
    ("czech", "cp1250", "cp1252"),
    ("czech", "iso8859_2", "cp1252"),
    ("turkish", "cp1254", "cp1252"),
    ("french", "mac_roman", "cp1252"),
    ("german", "cp850", "cp1252"),
    ("taiwanese", "gbk", "cp1252"),
]


def table(path, language: str, encoding: str, lines=None):
    reviews = REVIEWS[language] if lines is None else lines
    rows = [f'"{text}",{"good" if n % 2 else "bad"}' for n, text in enumerate(reviews)]
    data = "\n".join(["text,label", *rows, "an English line,good", "another one,bad"])
    path.write_bytes(data.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("language", "encoding", "found"), [*RECOGNISED, *WESTERN, *NOT_RECOGNISED]
)
def test_an_encoding_is_found_and_named(tmp_path, language, encoding, found):
    path = table(tmp_path / "d.csv", language, encoding)
    assert find_encoding(path).name == found
    notes = [note for note in preview(path, text="text", label="label").notes if found in note]
    assert len(notes) == 1
    assert "--encoding" in notes[0]


@pytest.mark.parametrize(("language", "encoding", "found"), [*RECOGNISED, *WESTERN])
def test_what_is_recognised_reads_as_it_was_written(tmp_path, language, encoding, found):
    path = table(tmp_path / "d.csv", language, encoding)
    texts = [record.text for record in read(path, text="text", label="label")]
    assert texts == [*REVIEWS[language], "an English line", "another one"]


@pytest.mark.parametrize("language", ["french", "german", "english"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_accents_stay_western(tmp_path, language, number):
    foreign = [line for line in REVIEWS[language] if not line.isascii()]
    for seed in range(5):
        lines = random.Random(seed).sample(foreign, number)
        assert find_encoding(table(tmp_path / "d.csv", language, "cp1252", lines)).name == "cp1252"


# Why more is asked than the library: once it reads these as they were written, ours can go.
@pytest.mark.parametrize("isolated", [False, True])
def test_the_library_alone_would_spoil_western_letters(isolated):
    encodings = [*encoding_module._OTHERS, "cp1250", "iso8859_2", "cp1252"] if isolated else None
    foreign = [line for line in REVIEWS["french"] if not line.isascii()]
    spoiled = 0
    for pair in pairwise(foreign):
        data = "\n".join(f'"{line}",good' for line in pair).encode("cp1252")
        found = from_bytes(data, cp_isolation=encodings).best()
        spoiled += found is None or data.decode(found.encoding) != data.decode("cp1252")
        assert encoding_module.find_legacy(data) is None
    assert spoiled


@pytest.mark.parametrize(
    "text",
    [
        "größer",
        "— — ——————————————————————————————————————————————————————",
        "•••••••••••••••••••••••••••••••••••••••••••••••••••••••••••",
        "ÄÖÜ ÉÈÊ ÀÂÇ ÑÕÃ",
        "«Ü» ¿¡Ñ! £20 95°C ±½ µm² §3 ©®",
    ],
)
def test_western_letters_side_by_side_stay_western(tmp_path, text):
    lines = [f"{text} {number}" for number in range(20)]
    assert find_encoding(table(tmp_path / "d.csv", "", "cp1252", lines)).name == "cp1252"


def test_one_short_line_is_no_evidence(tmp_path):
    path = table(tmp_path / "d.csv", "russian", "cp1251", ["привет, мир"])
    assert find_encoding(path).name == "cp1252"


def test_two_scripts_that_read_equally_well_are_not_chosen_between(monkeypatch):
    sample = "\n".join(REVIEWS["hebrew"]).encode("cp1255")
    assert encoding_module.find_legacy(sample) == "cp1255"
    equal = SimpleNamespace(coherence=0.5, chaos=0.0)
    monkeypatch.setattr(encoding_module, "_rank", lambda *_: [("cp1251", equal), ("cp1255", equal)])
    assert encoding_module.find_legacy(sample) is None


def test_greek_of_the_iso_standard_is_told_by_its_capital(tmp_path):
    lines = [*REVIEWS["greek"], "Άργησε πολύ και ήταν χαλασμένο."]
    path = table(tmp_path / "d.csv", "greek", "iso8859_7", lines)
    assert find_encoding(path).name == "iso8859_7"
    assert read(path, text="text", label="label")[6].text == lines[6]


def test_words_that_happen_to_be_valid_utf_8_do_not_make_a_file_mixed(tmp_path):
    lines = [*REVIEWS["chinese"] * 40, "专业"]
    path = table(tmp_path / "d.csv", "chinese", "gbk", lines)
    assert find_encoding(path).name == "gb18030"


def test_a_bounded_part_of_a_large_file_is_looked_at(tmp_path, monkeypatch):
    sizes = []
    find_legacy = encoding_module.find_legacy

    def find(sample: bytes) -> str | None:
        sizes.append(len(sample))
        return find_legacy(sample)

    monkeypatch.setattr(encoding_module, "find_legacy", find)
    path = table(tmp_path / "d.csv", "russian", "cp1251", REVIEWS["russian"] * 1000)
    assert find_encoding(path).name == "cp1251"
    assert 60_000 < sizes[0] <= encoding_module.SAMPLED
    assert path.stat().st_size > 4 * sizes[0]


def test_what_is_recognised_is_described():
    for _, _, found in RECOGNISED:
        assert encoding_module.describe_legacy(found)


def test_json_lines_are_read_in_the_encoding_that_is_found(tmp_path):
    path = tmp_path / "d.jsonl"
    rows = [f'{{"text": "{t}", "label": {n % 2}}}\n' for n, t in enumerate(REVIEWS["japanese"])]
    path.write_bytes("".join(rows).encode("shift_jis"))
    assert [record.text for record in read(path)] == list(REVIEWS["japanese"])
