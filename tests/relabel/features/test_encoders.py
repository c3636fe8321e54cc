from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from relabel.features.encoding import encoder_from_json, fit_encoder, read_example
from relabel.features.image import ImageEncoder
from relabel.features.text import MAX_WORD_LENGTH, PADDING, UNKNOWN, TextEncoder, split_words
from tracin_core.errors import ConfigurationError, InputError


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_encoded_train_images_have_mean_zero_and_deviation_one():
    generator = np.random.default_rng(0)
    data = [png(generator.integers(0, 256, (5, 7))) for _ in range(20)]
    encoder = fit_encoder("image", data)
    assert (encoder.height, encoder.width, encoder.channels) == (5, 7, 1)
    encoded = torch.stack([encoder.encode(image) for image in data])
    assert encoded.shape == (20, 1, 5, 7)
    assert encoded.mean().item() == pytest.approx(0, abs=1e-4)
    assert encoded.std().item() == pytest.approx(1, abs=1e-2)


def test_an_image_of_another_size_and_colour_fits_the_encoder():
    encoder = ImageEncoder(height=8, width=8, channels=3)
    assert encoder.encode(png(np.zeros((20, 31)))).shape == (3, 8, 8)


def test_colour_is_noticed():
    grey, colour = np.zeros((4, 4, 3)), np.zeros((4, 4, 3))
    colour[..., 0] = 200
    assert fit_encoder("image", [png(grey)]).channels == 1
    assert fit_encoder("image", [png(grey), png(colour)]).channels == 3


def test_images_without_contrast_are_no_division_by_zero():
    encoder = fit_encoder("image", [png(np.full((4, 4), 9))])
    assert torch.isfinite(encoder.encode(png(np.full((4, 4), 9)))).all()


def test_words_known_from_training_get_ids_and_the_rest_is_unknown():
    encoder = TextEncoder.fit(["red apple", "red pear", "a plum"], max_tokens=4)
    assert encoder.vocabulary == ("red",)
    assert encoder.encode("Red PLUM!").tolist() == [2, UNKNOWN, PADDING, PADDING]
    assert encoder.num_ids == 3


def test_the_vocabulary_keeps_the_most_frequent_words():
    texts = ["b a"] * 3 + ["c a"] * 2
    assert TextEncoder.fit(texts, max_words=2).vocabulary == ("a", "b")


@pytest.mark.parametrize(
    ("lengths", "read"),
    [
        ([3] * 20, 128),
        ([128] * 19 + [900], 128),
        ([128] * 18 + [129, 900], 256),
        ([500] * 20, 512),
        ([900] * 20, 512),
    ],
)
def test_so_many_words_are_read_as_reach_the_end_of_nearly_all_texts(lengths, read):
    texts = [" ".join(f"w{place}" for place in range(length)) for length in lengths]
    encoder = TextEncoder.fit(texts)
    assert encoder.max_tokens == read
    # The vocabulary is that of as many words: those further on are not counted.
    again = TextEncoder.fit(texts, max_tokens=read)
    assert encoder == again
    assert f"w{read}" not in encoder.vocabulary


@pytest.mark.parametrize("text", ["", "  \n\t\u3000"])
def test_an_empty_text_is_refused(text):
    with pytest.raises(InputError, match="empty"):
        TextEncoder(vocabulary=("a",)).encode(text)


@given(st.text(min_size=1).filter(str.strip), st.integers(1, 20))
def test_any_text_becomes_so_many_ids_that_begin_with_a_word(text, max_tokens):
    encoder = TextEncoder(vocabulary=("a", "b"), max_tokens=max_tokens)
    ids = encoder.encode(text)
    assert ids.shape == (max_tokens,)
    assert ids[0] != PADDING
    assert int(ids.max()) < encoder.num_ids


def test_a_megabyte_of_text_is_cut_to_what_is_read():
    encoder = TextEncoder(vocabulary=("word",), max_tokens=8)
    assert encoder.encode("word " * 300_000).tolist() == [2] * 8
    assert [len(word) for word in split_words("x" * 3_000_000, limit=8)] == [MAX_WORD_LENGTH]


WORDS = {
    "case and accents": ("Caf\u00e9 CAFE\u0301", ["caf\u00e9", "caf\u00e9"]),
    "apostrophes": ("don't  stop", ["don't", "stop"]),
    "German": ("Stra\u00dfe", ["strasse"]),
    "Han": ("\u4f60\u597d world", ["\u4f60", "\u597d", "world"]),
    "Hindi": ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
    "Hebrew": ("\u05e9\u05dc\u05d5\u05dd!", ["\u05e9\u05dc\u05d5\u05dd"]),
    "emoji": ("ok \U0001f600\U0001f600", ["ok", "\U0001f600", "\U0001f600"]),
}


@pytest.mark.parametrize(("text", "words"), WORDS.values(), ids=WORDS.keys())
def test_words_of_any_script(text, words):
    assert split_words(text, limit=10) == words


@pytest.mark.parametrize(
    "encoder",
    [
        ImageEncoder(height=3, width=4, channels=3, mean=0.1, std=2.0),
        TextEncoder(vocabulary=("\u00fc", "b"), max_tokens=7),
    ],
    ids=["image", "text"],
)
def test_an_encoder_survives_json(encoder):
    assert encoder_from_json(json.loads(json.dumps(encoder.to_json()))) == encoder


@pytest.mark.parametrize("data", [{}, {"kind": "sound"}, {"kind": "image", "volume": 3}])
def test_a_foreign_description_is_refused(data):
    with pytest.raises(ConfigurationError, match="Train and score the project again"):
        encoder_from_json(data)


@pytest.mark.parametrize("options", [{"height": 0}, {"channels": 2}, {"std": 0.0}])
def test_impossible_image_settings_are_refused(options):
    with pytest.raises(ConfigurationError):
        ImageEncoder(**{"height": 4, "width": 4, **options})


def test_no_train_examples_is_said():
    with pytest.raises(ConfigurationError, match="no train examples"):
        fit_encoder("text", [])


def test_a_bad_example_is_named_by_its_position():
    encoder = TextEncoder(vocabulary=("a",))
    with pytest.raises(InputError, match="position 1: The text is empty"):
        read_example(encoder, " ", 1)
