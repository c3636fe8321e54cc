from __future__ import annotations

import numpy as np

from relabel.db.engine import open_database
from relabel.db.positions import read_placed
from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.importers.ingest.truth import read_truth
from relabel.runs.config import CheckpointEntry, RunConfig
from relabel.runs.folder import RunFolder
from relabel.triage.evidence import Neighbour, open_evidence
from relabel.valuation.opponents import (
    count_recurrence,
    find_recurring,
    leave_out,
    spread_positions,
)
from relabel.valuation.words import describe_exactness, describe_unit
from tests.relabel.runs.builders import make_config, write_array

NUM_TRAIN, NUM_TEST = 30, 300
OUTLIER = 17


def make_run(root) -> RunFolder:
    """A run whose train example 17 has a gradient a hundred times as large as the others."""
    folder = RunFolder(root)
    folder.root.mkdir(parents=True)
    entry = CheckpointEntry(file="checkpoints/step-1.pt", step=1, epoch=1, learning_rate=0.1)
    folder.write_config(
        RunConfig(
            key=folder.root.name,
            kind="image",
            classes=("a", "b"),
            model={},
            encoder={},
            training={},
            checkpoints=(entry,),
            counts={"train": NUM_TRAIN, "test": NUM_TEST},
            layers={"last": ("head",)},
            rates="ones",
            projection={"last": None},
        )
    )
    rng = np.random.default_rng(0)
    train = rng.standard_normal((NUM_TRAIN, 40))
    train[OUTLIER] *= 100
    write_array(folder.vectors_path("last", "train"), train)
    write_array(folder.vectors_path("last", "test"), rng.standard_normal((NUM_TEST, 40)))
    return folder


def test_lists_are_counted_and_added_up_and_the_outlier_is_named(tmp_path):
    folder = make_run(tmp_path / "run")
    found = count_recurrence(
        open_evidence(folder.root), "test", range(NUM_TEST), num_train=NUM_TRAIN, k=3
    )
    scores = folder.vectors("last", "train") @ folder.vectors("last", "test").T
    for side, sign in (("proponents", 1), ("opponents", -1)):
        counts, sums = np.zeros(NUM_TRAIN), np.zeros(NUM_TRAIN)
        for column in scores.T:
            for place in np.argsort(-sign * column, kind="stable")[:3]:
                if sign * column[place] > 0:
                    counts[place] += 1
                    sums[place] += column[place]
        assert (found.counts[side] == counts).all()
        np.testing.assert_allclose(found.sums[side], sums, rtol=1e-4)
    [recurring] = find_recurring(found, 0.5)
    assert recurring.position == OUTLIER
    assert recurring.share > 0.9
    assert recurring.as_proponent + recurring.as_opponent == round(recurring.share * NUM_TEST)
    by_cosine = count_recurrence(
        open_evidence(folder.root),
        "test",
        range(NUM_TEST),
        num_train=NUM_TRAIN,
        k=3,
        measure="cosine",
    )
    assert not find_recurring(by_cosine, 0.5)


def test_hidden_ones_make_room_for_the_next_and_are_counted():
    listed = [Neighbour(position, 9.0 - position) for position in range(6)]
    kept, skipped = leave_out(listed, {1, 5}, 3)
    assert [one.position for one in kept] == [0, 2, 3]
    assert skipped == 1
    assert leave_out(listed[:2], {0, 1}, 3) == ([], 2)


def test_positions_are_spread_over_the_whole():
    assert spread_positions(range(10), 4) == [0, 3, 6, 9]
    assert spread_positions([5, 8], 4) == [5, 8]


def test_the_words_say_unit_and_projection():
    config = make_config()  # 8 numbers of all layers, the last one's exact
    assert "8 numbers" in describe_exactness(config, "all")
    assert "50%" in describe_exactness(config, "all")
    assert "exact" in describe_exactness(config, "last")
    assert describe_unit(config) == "nats at a learning rate of 1"
    assert describe_unit(make_config(rates="recorded"), "score") == "logits"


def test_those_that_oppose_many_or_recur_on_the_demos_have_wrong_labels(workspace):
    """Of the 100 first 98 and 93 had one when this was written; by chance it were 10."""
    engine = open_database(workspace.database_url)
    for slug in ("digits", "docs"):
        project = get_project(engine, slug)
        run = current_run(engine, project.id)
        folder = RunFolder(workspace.project_folder(slug) / run.folder)
        counts = folder.read_config().counts
        placed = read_placed(engine, project.id, run.id, "train", counts["train"])
        truth = read_truth(workspace.truth_path(slug))
        wrong = np.array([truth[key] for key in placed.keys]) != placed.labels
        found = count_recurrence(
            open_evidence(folder.root),
            "test",
            range(counts["test"]),
            num_train=counts["train"],
        )
        first = np.argsort(-found.counts["opponents"], kind="stable")[:100]
        assert wrong[first].mean() > 0.8
        recurring = [one.position for one in find_recurring(found)]
        assert recurring
        assert wrong[recurring].mean() > 0.8
    engine.dispose()
