"""Texts of which models know no word are named, and suspected by nobody for that."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.crossval.run import cross_validate
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import read_project
from relabel.runs.held_out import HeldOut, open_held_out, pack_probabilities
from tests.relabel.crossval.test_combining import SUMMARY
from tests.relabel.scoring.small_projects import WORDS, open_workspace

# Of the rarer class: whoever goes by the shares of the classes takes them for wrong.
BLANK = {5: "zzqx", 15: "!!!", 25: "…", 35: "qqqwv"}
RARE = 5  # each fifth text is about rain


@pytest.mark.parametrize("features", ["auto", "static"])
def test_a_text_without_a_known_word_is_named_and_no_suspect(tmp_path, features):
    engine, workspace = open_workspace(tmp_path)
    project = create_project(engine, slug="w", title="W", kind="text", classes=tuple(WORDS))
    rng, examples, labels = np.random.default_rng(0), [], []
    for position in range(60):
        labels.append(int(position % RARE == 0))
        words = " ".join(rng.choice(list(WORDS.values())[labels[-1]], 4))
        examples.append(
            NewExample(
                key=str(position),
                split="train",
                position=position,
                given_label=labels[-1],
                text=BLANK.get(position, words),
            )
        )
    add_examples(engine, project.id, examples)
    if features == "static":
        (tmp_path / "words.txt").write_text(
            "".join(
                f"{word} {k} {1 - k}\n" for k, each in enumerate(WORDS.values()) for word in each
            )
        )
        features = f"static:{tmp_path / 'words.txt'}"
    read = read_project(engine, project, workspace.media_folder("w"))
    options = WorkOptions(folds=2, features=features)
    folder = cross_validate(workspace.project_folder("w"), project, read, options)
    held_out = open_held_out(folder, 60, 2)
    for position in BLANK:
        assert held_out.probabilities(position).tolist() == [0.5, 0.5]
        assert held_out.opinion(position, 1).label == 1
    assert (held_out.margins(np.array(labels))[list(BLANK)] == 0).all()
    assert held_out.labels(np.array(labels)).tolist() == labels
    notes = [note for note in held_out.summary.notes if "4 train texts" in note]
    assert len(notes) == (1 if features == "auto" else 2)
    assert all("“zzqx”, “!!!”, “…” and 1 more" in note for note in notes)
    assert "no word that another text has" in notes[0]
    engine.dispose()


def test_of_many_classes_the_given_one_is_as_probable_as_any_where_nothing_is_known():
    held_out = HeldOut(SUMMARY, pack_probabilities(np.full((2, 300), 1 / 300, np.float32)), 300)
    for label in (0, 150, 299):
        given = np.full(2, label)
        assert held_out.margins(given).tolist() == [0, 0]
        assert held_out.labels(given).tolist() == [label, label]
        opinion = held_out.opinion(0, label)
        assert (opinion.label, opinion.given_probability) == (label, pytest.approx(1 / 300))
