"""Texts as sparse rows of words and pairs of words, and their cache."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from relabel.features import ngrams, ragged
from relabel.features.datasets import StoredDataset
from relabel.features.encoding import encoder_from_json, name_cache, open_cache, write_cache
from relabel.features.ngrams import NgramEncoder
from relabel.features.ragged import as_csr
from relabel.features.text import find_words, split_words
from tracin_core.errors import ConfigurationError, InputError

TEXTS = [
    "Not good, not good at all",
    "good film, good cast",
    "A film that is not good",
    "the cast is good: a good film",
    "qwertz",
]


@pytest.fixture(scope="module")
def encoder() -> NgramEncoder:
    return NgramEncoder.fit(TEXTS)


@pytest.fixture(scope="module")
def cache(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded") / "cache"
    write_cache(folder, encoder, lambda start: TEXTS[start:], len(TEXTS))
    return folder


def test_rows_are_those_of_the_usual_vectorizer(encoder, cache):
    usual = TfidfVectorizer(
        ngram_range=(1, 2), tokenizer=lambda text: split_words(text, limit=99), min_df=2
    )
    usual.token_pattern = None  # it warns of a pattern beside a tokenizer
    expected = usual.fit_transform(TEXTS).toarray()
    order = [usual.vocabulary_[term] for term in encoder.terms]
    assert sorted(encoder.terms) == sorted(usual.vocabulary_)
    found = as_csr(open_cache(cache, encoder, len(TEXTS)), encoder.num_terms).toarray()
    np.testing.assert_allclose(found, expected[:, order], rtol=1e-6)
    assert "not good" in encoder.terms
    assert encoder.terms[0] == "good"  # of most texts


def test_a_text_without_a_known_word_has_an_empty_row(encoder, cache):
    assert encoder.read("qwertz").shape == (0, 2)
    ids, weights = encoder.encode("qwertz !")
    assert ids.shape == weights.shape == (1,)
    assert weights.item() == 0
    assert not encoder.knows_any_word("qwertz !")
    assert encoder.knows_any_word("GOOD!")
    with pytest.raises(InputError, match="The text is empty"):
        encoder.read(" \n")


def test_the_cache_gives_what_encoding_in_memory_gives(encoder, cache):
    stored = open_cache(cache, encoder, len(TEXTS))
    data = StoredDataset(stored, torch.arange(5), encoder, digest="d")
    wanted = torch.tensor([4, 0, 3, 0])
    (ids, weights), targets = data.read_batch(wanted)
    assert targets.tolist() == wanted.tolist()
    expected = encoder.to_inputs(torch.from_numpy(encoder.read_many([TEXTS[i] for i in wanted])))
    assert torch.equal(ids, expected[0])
    assert torch.equal(weights, expected[1])
    (one, _), target = data[4]
    assert one.dim() == 1
    assert target == 4
    lengths = weights[1:].double().square().sum(1)
    torch.testing.assert_close(lengths, torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("damage", ["no offsets", "cut", "garbage", "of other data", "backwards"])
def test_a_cache_that_is_not_whole_is_not_used(encoder, tmp_path, damage):
    folder = tmp_path / "cache"
    write_cache(folder, encoder, lambda start: TEXTS[start:], len(TEXTS))
    rows, offsets = folder / ragged.ROWS_FILE, folder / ragged.OFFSETS_FILE
    if damage == "no offsets":
        offsets.unlink()
    elif damage == "cut":
        rows.write_bytes(rows.read_bytes()[:-8])
    elif damage == "garbage":
        offsets.write_bytes(b"\x93NUMPY no")
    elif damage == "backwards":
        found = np.load(offsets)
        np.save(offsets, np.concatenate([found[:1], found[-2:0:-1], found[-1:]]))
    count = len(TEXTS) + (damage == "of other data")
    assert open_cache(folder, encoder, count) is None


def test_a_bad_text_leaves_no_cache_and_is_named(encoder, tmp_path):
    texts = ["good", " ", "bad"]
    with pytest.raises(InputError, match="position 1: The text is empty"):
        write_cache(tmp_path / "cache", encoder, lambda start: texts[start:], 3)
    assert list(tmp_path.iterdir()) == []


def test_texts_without_any_known_word_have_a_cache(encoder, tmp_path):
    write_cache(tmp_path / "cache", encoder, lambda start: ["x", "y"], 2)
    stored = open_cache(tmp_path / "cache", encoder, 2)
    assert stored[np.array([0, 1])].shape == (2, 1, 2)
    assert as_csr(stored, encoder.num_terms).nnz == 0
    assert len(open_cache(tmp_path / "none", encoder, 0)) == 0


def test_an_encoder_is_read_back_equal_and_names_the_same_cache(encoder):
    saved = json.loads(json.dumps(encoder.to_json()))
    again = encoder_from_json(saved)
    assert again == encoder
    assert name_cache(again, "c") == name_cache(encoder, "c")
    other = NgramEncoder.fit(TEXTS[:4])
    assert name_cache(other, "c") != name_cache(encoder, "c")


@pytest.mark.parametrize(
    "changes",
    [
        {"terms": "no base64!"},
        {"terms": "AAAA"},
        {"terms": None},
        {"num_texts": 0},
        {"max_words": 0},
    ],
)
def test_a_damaged_table_is_refused(encoder, changes):
    with pytest.raises(ConfigurationError, match="Train"):
        encoder_from_json(encoder.to_json() | changes)


def test_a_table_that_unpacks_to_too_much_is_refused(encoder, monkeypatch):
    monkeypatch.setattr(ngrams, "_MOST_UNPACKED", 10)
    with pytest.raises(ConfigurationError, match="cut short or too large"):
        encoder_from_json(encoder.to_json())


def test_the_table_is_bounded_by_terms_and_by_classes(monkeypatch):
    assert NgramEncoder.fit(TEXTS, max_terms=2).terms == ("good", "film")
    monkeypatch.setattr(ngrams, "MOST_NUMBERS", 30)
    monkeypatch.setattr(ngrams, "FEWEST_TERMS", 1)
    assert NgramEncoder.fit(TEXTS, num_outputs=10).num_terms == 3
    # What is rare is forgotten while counting, what is frequent is not.
    monkeypatch.setattr(ngrams, "MOST_COUNTED", 8)
    counts, num_texts = ngrams.count_terms(TEXTS, max_words=100)
    assert num_texts == len(TEXTS)
    assert "good" in counts
    assert len(counts) <= 8 + 14


def test_only_the_first_words_are_read():
    encoder = NgramEncoder.fit(["a b c", "a b c"], max_words=2)
    assert set(encoder.terms) == {"a", "b", "a b"}
    assert len(encoder.read("c c a")) == 0


@pytest.mark.parametrize(
    "text",
    [
        "It\u2019s 5\u338f of \ufb01ne Stra\u00dfe, don't",
        "\u0130stanbul tie\u0302\u0301ng Vie\u0323\u0302t",
        "\u1112\u1161\u11ab\u1100\u116e\u11a8 \uff76\uff9e \u65e5\u672c \U0001f600",
        "plain ascii words",
    ],
)
def test_words_are_found_where_they_stand(text):
    found = find_words(text, limit=50)
    assert [word.word for word in found] == split_words(text, limit=50)
    for word in found:
        (alone,) = {each.word for each in find_words(text[word.start : word.stop], limit=1)}
        assert alone == word.word
    assert [word.start for word in found] == sorted(word.start for word in found)
