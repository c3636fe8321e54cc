"""What the review has brought, as numbers: against counts by hand."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from relabel.db.decisions.batches import BatchItem, NewBatch, record_batch
from relabel.db.decisions.recording import undo_decision
from relabel.db.schema import ExampleRow
from relabel.db.stats import label_confusion, median_error
from relabel.db.yields import (
    LONGEST_LOOK,
    Flow,
    Flows,
    FoundByRank,
    Work,
    corrected_flows,
    disputed_pairs,
    errors_by_rank,
    work_by_class,
    work_by_reviewer,
)
from tests.relabel.db.builders import Scene, build_homes, build_scene


@pytest.fixture
def reviewed(engine) -> Scene:
    """Six train examples of the labels 0 1 2 0 1 2; the last position is the most suspect."""
    scene = build_scene(engine)
    scene.decide(scene.by_rank(1), "relabel", new_label=0, seconds_spent=4.0)  # given 2
    scene.decide(scene.by_rank(2), "keep", seconds_spent=2.0)  # given 1
    scene.decide(scene.by_rank(3), "exclude", reviewer="bob", seconds_spent=1000.0)  # given 0
    scene.decide(scene.by_rank(4), "relabel", reviewer="bob", new_label=0)  # given 2, untimed
    scene.decide(scene.by_rank(5), "skip", seconds_spent=3.0)
    return scene


def test_errors_found_are_summed_in_the_order_of_the_queue(reviewed):
    found = errors_by_rank(reviewed.engine, reviewed.run.id, "self_influence")
    assert found == [
        FoundByRank(1, 1, 1),
        FoundByRank(2, 2, 1),
        FoundByRank(3, 3, 2),
        FoundByRank(4, 4, 3),
    ]
    # By the other signal the same examples have the ranks 3 to 6.
    other = errors_by_rank(reviewed.engine, reviewed.run.id, "mean_loss")
    assert [(one.rank, one.found) for one in other] == [(3, 1), (4, 2), (5, 2), (6, 3)]


def test_an_undone_decision_and_a_skip_count_for_nothing(engine):
    scene = build_scene(engine)
    made = scene.decide(scene.by_rank(1), "exclude")
    undo_decision(engine, made.id, reviewer="ann")
    scene.decide(scene.by_rank(2), "skip")
    assert errors_by_rank(engine, scene.run.id, "self_influence") == []
    assert corrected_flows(engine, scene.project.id) == Flows(())


def test_many_ranks_become_few_points(engine):
    scene = build_scene(engine, num_train=250)
    for action, first in (("exclude", 1), ("keep", 2)):
        items = [
            BatchItem(example_id=scene.by_rank(rank), version=0) for rank in range(first, 251, 2)
        ]
        new = NewBatch(
            token=f"{action}-123456789abcdef", reviewer="ann", action=action, items=items
        )
        assert len(record_batch(engine, scene.project.id, new).recorded) == 125
    found = errors_by_rank(engine, scene.run.id, "self_influence")
    assert len(found) == 84  # of three ranks each
    assert found[0] == FoundByRank(3, 3, 2)
    assert found[-1] == FoundByRank(250, 250, 125)


def test_a_pause_is_no_time_of_looking(reviewed):
    ann, bob = work_by_reviewer(reviewed.engine, reviewed.project.id)
    assert ann == Work("ann", 2, 1, 0, 3, 9.0)
    assert bob == Work("bob", 2, 1, 1, 1, LONGEST_LOOK)
    assert ann.per_hour == pytest.approx(1200)
    assert ann.found == 1
    assert Work("eve", 1, 0, 0, 0).per_hour is None


def test_classes_have_what_was_decided_about_their_train_examples(reviewed):
    assert work_by_class(reviewed.engine, reviewed.project.id) == [
        Work("cat", 1, 0, 1, 2),
        Work("dog", 1, 0, 0, 2),
        Work("emu", 2, 2, 0, 2),
    ]


def test_corrected_labels_flow_from_the_given_one(reviewed):
    assert corrected_flows(reviewed.engine, reviewed.project.id) == Flows((Flow(2, 0, 2),))


def test_pairs_come_by_their_number_and_rare_ones_together(reviewed):
    # Predicted are the labels 0 0 1 1 2 2; the pairs (1, 0), (2, 1), (0, 1), (1, 2) differ.
    run = reviewed.run.id
    counts = label_confusion(reviewed.engine, run, "train")
    pairs = disputed_pairs(reviewed.engine, run, counts, suggested=False)
    assert pairs.pairs == (Flow(0, 1, 1, 0), Flow(1, 0, 1, 1), Flow(1, 2, 1, 0), Flow(2, 1, 1, 0))
    cut = disputed_pairs(reviewed.engine, run, counts, suggested=False, limit=1)
    assert cut == Flows((Flow(0, 1, 1, 0),), 3, 3)
    none = label_confusion(reviewed.engine, run, "train", suggested=True)
    assert disputed_pairs(reviewed.engine, run, none, suggested=True) == Flows(())


def test_numbers_have_no_classes_and_no_flows(engine):
    scene = build_homes(engine)
    scene.decide(scene.by_rank(1), "relabel", new_value=7.0)
    assert corrected_flows(engine, scene.project.id) == Flows(())
    assert work_by_class(engine, scene.project.id) == []
    assert errors_by_rank(engine, scene.run.id, "self_influence") == [FoundByRank(1, 1, 1)]


def test_the_median_error_survives_a_wild_number(engine):
    scene = build_homes(engine, num_test=4)
    # Given are 100 to 103 and predicted is 100 of each.
    assert median_error(engine, scene.run.id) == 1.5
    with engine.begin() as connection:
        of_last = ExampleRow.id == scene.test_ids[-1]
        connection.execute(update(ExampleRow).where(of_last).values(given_value=1e308))
    assert median_error(engine, scene.run.id) == 1.5
    assert median_error(engine, build_scene(engine).run.id) is None
