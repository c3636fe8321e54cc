from __future__ import annotations

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from sqlalchemy import select

from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.schema import ExampleRow
from relabel.demos import docs
from relabel.demos.docs import AREAS, GIVEAWAY_NAMES, Area, is_readable, normalise
from relabel.features.records import DemoData
from tracin_core.errors import ConfigurationError

# One harvest takes seconds, so that two draws of wrong labels share it.
HARVEST = """
import functools, pickle, sys
from relabel.demos import docs, load_demo
docs.collect_texts = functools.cache(docs.collect_texts)
drawn = {seed: load_demo('docs', seed=seed) for seed in (0, 3)}
libraries = {'torch', 'sklearn', 'pandas', 'sqlalchemy', 'plotly', 'sympy'}
pickle.dump((drawn, sorted(libraries & set(sys.modules))), sys.stdout.buffer)
"""


@pytest.fixture(scope="module")
def harvested() -> tuple[dict[int, DemoData], list[str]]:
    """The demo with two seeds, by a process of its own, and the libraries it imported."""
    printed = subprocess.run([sys.executable, "-c", HARVEST], capture_output=True, check=True)
    return pickle.loads(printed.stdout)  # noqa: S301 - our own program wrote it


@pytest.fixture
def demo(harvested: tuple[dict[int, DemoData], list[str]]) -> DemoData:
    return harvested[0][0]


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
def test_the_harvest_imports_none_of_the_libraries(harvested):
    assert harvested[1] == []


@pytest.mark.slow
def test_another_seed_draws_other_wrong_labels_of_the_same_texts(harvested):
    first, other = harvested[0].values()
    assert [e.key for e in other.examples] == [e.key for e in first.examples]
    assert other.given_labels("train").tolist() != first.given_labels("train").tolist()


@pytest.mark.slow
def test_a_second_harvest_finds_the_same(demo, workspace):
    engine = open_database(workspace.database_url)
    try:
        examples = select(ExampleRow.key, ExampleRow.text, ExampleRow.given_label)
        of_docs = examples.where(ExampleRow.project_id == get_project(engine, "docs").id)
        with engine.connect() as connection:
            built = {key: (text, label) for key, text, label in connection.execute(of_docs)}
    finally:
        engine.dispose()
    given = [*demo.given_labels("train").tolist(), *demo.given_labels("test").tolist()]
    ordered = [*demo.of_split("train"), *demo.of_split("test")]
    assert built == {
        example.key: (example.text, label) for example, label in zip(ordered, given, strict=True)
    }


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
