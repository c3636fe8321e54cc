from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from relabel.demos import docs, load_demo
from relabel.demos.docs import AREAS, GIVEAWAY_NAMES, Area, is_readable, normalise
from tracin_core.errors import ConfigurationError


@pytest.fixture(scope="module")
def demo():
    return load_demo("docs")


@pytest.mark.slow
def test_there_are_a_few_thousand_texts_in_every_area_alike(demo):
    assert 5 <= len(demo.classes) <= 8
    labels = np.concatenate([demo.true_labels, demo.given_labels("test")])
    counts = np.bincount(labels, minlength=len(demo.classes))
    assert 2000 <= counts.sum() <= 4500
    assert counts.min() >= docs.MIN_PER_AREA
    assert len(demo.of_split("test")) == pytest.approx(0.2 * counts.sum(), rel=0.01)


@pytest.mark.slow
def test_no_text_occurs_twice_and_none_gives_itself_away(demo):
    texts = [example.text for example in demo.examples]
    assert len({normalise(text) for text in texts}) == len(texts)
    assert len({example.key for example in demo.examples}) == len(texts)
    for text in texts:
        words = set(re.findall(r"\w+", text.casefold()))
        assert words.isdisjoint(GIVEAWAY_NAMES), text


@pytest.mark.slow
def test_every_text_is_prose_of_whole_sentences(demo):
    for example in demo.examples:
        assert is_readable(example.text), example.text
        assert example.text[-1] in ".!?", example.text
        assert not re.search(r"[`{}<>|\\]|::|:[a-z]+:|\n|  ", example.text), example.text


@pytest.mark.slow
def test_a_second_harvest_finds_the_same_and_imports_none_of_the_libraries(demo):
    code = (
        "import json, sys; from relabel.demos import load_demo; demo = load_demo('docs', seed=3);"
        "libraries = {'torch', 'sklearn', 'pandas', 'sqlalchemy', 'plotly', 'sympy'};"
        "print(json.dumps({'imported': sorted(libraries & set(sys.modules)),"
        " 'keys': [e.key for e in demo.examples], 'labels': demo.given_labels('train').tolist()}))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    again = json.loads(printed.stdout)
    assert again["imported"] == []
    assert again["keys"] == [e.key for e in demo.examples]
    assert again["labels"] != demo.given_labels("train").tolist()


def test_a_missing_package_is_named(monkeypatch):
    missing = Area("stars", ("no_such_package_here",), ("astronomy-docs",))
    monkeypatch.setattr(docs, "AREAS", (missing, AREAS[0]))
    monkeypatch.setattr(docs, "CANDIDATES_PER_AREA", 5)
    with pytest.raises(ConfigurationError, match=r"Found 0 texts about stars.*astronomy-docs"):
        docs.collect_texts()


def test_a_text_of_two_areas_is_left_out_of_both(monkeypatch, tmp_path):
    shared = "Count the words of a text and return the number of them as an integer."
    for name, own in (("first_pkg", "apples"), ("second_pkg", "pears")):
        (tmp_path / f"{name}.py").write_text(
            f'def one():\n    """{shared}"""\n'
            f'def two():\n    """Weigh all of the {own} in the basket, and tell their price."""\n'
        )
    monkeypatch.setattr("relabel.demos.docs._search_roots", lambda: [tmp_path])
    areas = (Area("a", ("first_pkg",), ("x",)), Area("b", ("second_pkg",), ("y",)))
    monkeypatch.setattr(docs, "AREAS", areas)
    monkeypatch.setattr(docs, "MIN_PER_AREA", 1)
    first, second = docs.collect_texts()
    assert [len(first), len(second)] == [1, 1]
    assert "apples" in first[0]
    assert "pears" in second[0]
