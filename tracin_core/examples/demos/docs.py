"""Real English text: how libraries and Python's standard library describe what they do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tracin_core.errors import ConfigurationError
from tracin_core.examples.demos.areas import AREAS, GIVEAWAY_NAMES, Area
from tracin_core.examples.demos.harvest import find_sources, read_docstrings
from tracin_core.examples.demos.prose import extract_prose, normalise
from tracin_core.examples.label_noise import flip_labels
from tracin_core.examples.records import DemoData, DemoExample, content_key
from tracin_core.terms import Split

MAX_PER_AREA = 400  # 8 areas, a few thousand texts in all, alike in size
MIN_PER_AREA = 150  # fewer would leave a class of which nothing can be learned
# Texts are taken by content hash from a quarter more, so that no single file decides.
CANDIDATES_PER_AREA = MAX_PER_AREA * 5 // 4
TEST_SHARE = 0.2
OPENING_WORDS = 8  # two texts that begin with the same eight words come from one template

_GIVEAWAY = re.compile(rf"\b(?:{'|'.join(GIVEAWAY_NAMES)})\b", re.IGNORECASE)


def load_docs_demo(*, seed: int, noise: float) -> DemoData:
    """Make the docs demo from what is installed.

    Args:
        seed: Chooses the planted errors; the texts do not depend on it.
        noise: Share of wrong train labels, 0 to 1.

    Returns:
        A few thousand texts; which of them exactly depends on the installed versions. Where a
        text comes from is not in it.

    Raises:
        ConfigurationError: If an area has too few texts because its packages are missing.
    """
    texts = collect_texts()
    train, test = _split(texts)
    true_labels = np.array([label for _, label in train], dtype=np.int64)
    given = flip_labels(true_labels, len(AREAS), noise=noise, seed=seed)
    test_labels = np.array([label for _, label in test], dtype=np.int64)
    return DemoData(
        slug="docs",
        title="Documentation by subject",
        description=(
            f"{len(train) + len(test):,} descriptions from the documentation of Python libraries, "
            f"sorted by subject. {noise:.0%} of the train labels were changed to a wrong subject "
            "on purpose: find them."
        ),
        kind="text",
        classes=tuple(area.name for area in AREAS),
        examples=(
            *_make_examples("train", [text for text, _ in train], given),
            *_make_examples("test", [text for text, _ in test], test_labels),
        ),
        true_labels=true_labels,
    )


def collect_texts() -> list[list[str]]:
    """Harvest every area.

    Returns:
        One list of texts for each of ``AREAS``, in the order of their keys. No text occurs
        twice, and none in two areas.

    Raises:
        ConfigurationError: If an area has fewer than ``MIN_PER_AREA``.
    """
    areas = [_harvest_area(area) for area in AREAS]
    owners: dict[str, int] = {}
    for found in areas:
        for opening in found:
            owners[opening] = owners.get(opening, 0) + 1
    return [
        _select(area, [text for opening, text in found.items() if owners[opening] == 1])
        for area, found in zip(AREAS, areas, strict=True)
    ]


def _harvest_area(area: Area) -> dict[str, str]:
    """Return candidate texts by their first words, read no further than needed."""
    found: dict[str, str] = {}
    for text in _read_texts(area):
        found.setdefault(" ".join(normalise(text).split()[:OPENING_WORDS]), text)
        if len(found) >= CANDIDATES_PER_AREA:
            break
    return found


def _read_texts(area: Area) -> Iterator[str]:
    for source in area.sources:
        for file in find_sources(source):
            for docstring in read_docstrings(file):
                text = extract_prose(docstring)
                if text and not _GIVEAWAY.search(text):
                    yield text


def _select(area: Area, texts: list[str]) -> list[str]:
    if len(texts) < MIN_PER_AREA:
        raise ConfigurationError(
            f"Found {len(texts)} texts about {area.name}, expected at least {MIN_PER_AREA}. "
            "The docs demo reads the documentation of installed packages: install "
            f"{' and '.join(area.package_names)} (with their .py files) and try again."
        )
    return sorted(texts, key=content_key)[:MAX_PER_AREA]


def _split(texts: list[list[str]]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return (text, label) pairs for train and test; the same share of every area."""
    train: list[tuple[str, int]] = []
    test: list[tuple[str, int]] = []
    for label, of_area in enumerate(texts):
        count = round(TEST_SHARE * len(of_area))
        test.extend((text, label) for text in of_area[:count])
        train.extend((text, label) for text in of_area[count:])
    # By key and not by area, so that the order of positions tells nothing about a label.
    return sorted(train, key=_key_of_text), sorted(test, key=_key_of_text)


def _key_of_text(pair: tuple[str, int]) -> str:
    return content_key(pair[0])


def _make_examples(
    split: Split, texts: list[str], labels: npt.NDArray[np.int64]
) -> list[DemoExample]:
    return [
        DemoExample(
            key=content_key(text),
            split=split,
            position=position,
            given_label=int(label),
            text=text,
        )
        for position, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
