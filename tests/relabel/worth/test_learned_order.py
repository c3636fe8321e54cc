"""What a queue learns: on pairs planted by hand, behind its gate, and never from what certifies."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from relabel.db.engine import reading
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.db.team.audits import list_items, read_audit
from relabel.db.team.reviewers import Identity
from relabel.errors import InvalidDecisionError
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from relabel.triage.signals import LEARNED, choose_default_signal
from relabel.workspace import Workspace
from relabel.worth.audit import AuditPlan, draw_audit
from relabel.worth.learned_order import (
    MAIN_SCALE,
    OTHER_SCALE,
    PAIR_SCALE,
    STRENGTH,
    Decided,
    explain_missing,
    fit_order,
    forget_order,
    judge_order,
    learn_order,
    make_features,
    put_decided_first,
    read_decided,
    read_lesson,
    tell_weights,
)
from relabel.worth.run_table import RunTable, read_run_table
from tests.relabel.db.builders import build_scene

ANN = Identity("Ann")
SEED = "feed"


def make_table(count=2000, seed=0):
    """Labels of which those given 0 with 1 likeliest are wrong far more often than scores say."""
    rng = np.random.default_rng(seed)
    given, others = rng.integers(0, 3, count), rng.integers(0, 3, count)
    others = np.where(others == given, (given + 1) % 3, others)
    score = rng.normal(size=count)
    logit = 1.5 * score - 3 + 4.0 * ((given == 0) & (others == 1))
    wrong = rng.random(count) < 1 / (1 + np.exp(-logit))
    table = RunTable(
        ids=np.arange(count),
        keys=tuple(map(str, range(count))),
        given=given,
        others=others,
        held_out_loss=None,
        scores={"suspicion": score, "mean_loss": rng.normal(size=count)},
        num_classes=3,
    )
    return table, wrong


def decide(wrong, order, num_random, num_head, seed=0):
    random = np.random.default_rng(seed).permutation(len(wrong))[:num_random]
    head = order[~np.isin(order, random)][:num_head]
    positions = np.concatenate([random, head])
    is_random = np.arange(len(positions)) < num_random
    return Decided(positions, wrong[positions], is_random, np.ones(len(positions)))


def test_the_fit_is_the_logistic_regression_of_its_columns():
    table, wrong = make_table(300)
    features = make_features(table, "suspicion")
    assert features.names == ("suspicion", "mean_loss")
    positions = np.arange(120)
    model = fit_order(features, positions, wrong[:120])
    # Written out: every pair a column of its own, those that nobody decided as well.
    columns = [features.signals]
    columns += [PAIR_SCALE * (table.given * 3 + table.others == pair)[:, None] for pair in range(9)]
    columns += [PAIR_SCALE * (table.given == label)[:, None] for label in range(3)]
    rows = np.column_stack(columns)
    oracle = LogisticRegression(C=STRENGTH, max_iter=1000).fit(rows[:120], wrong[:120])
    assert model.apply(features) == pytest.approx(oracle.decision_function(rows), abs=2e-3)
    spread = features.signals.std(axis=0) / np.array([MAIN_SCALE, OTHER_SCALE])
    assert spread == pytest.approx(1.0)


def test_it_ranks_what_is_left_better_and_says_why():
    table, wrong = make_table()
    features = make_features(table, "suspicion")
    order = np.argsort(-features.signals[:, 0])
    decided = decide(wrong, order, 80, 320)
    model = fit_order(features, decided.positions, decided.is_wrong)
    scores = model.apply(features)
    rest = np.setdiff1d(np.arange(len(wrong)), decided.positions)
    static = average_precision_score(wrong[rest], features.signals[rest, 0])
    assert average_precision_score(wrong[rest], scores[rest]) > static + 0.05
    learned, before = judge_order(features, decided)
    assert learned > before
    told = tell_weights(model, features, ["cat", "dog", "emu"])
    assert told[0].startswith("cat given, dog likeliest")
    assert "times as often wrong" in told[0]


def test_an_order_of_nothing_but_chance_is_seldom_taken_for_a_better_one():
    """Decisions by a coin: no order can be any good, so the gate is one of chance at most."""
    rng = np.random.default_rng(0)
    table, _ = make_table(600)
    features = make_features(table, "suspicion")
    strong = features.signals[:, 0] > 0.8 * MAIN_SCALE  # errors are where the static order says
    taken = []
    for seed in range(12):
        decided = decide(strong, rng.permutation(600), 60, 60, seed)
        learned, static = judge_order(features, decided)
        taken.append(learned > static)
    assert not any(taken)


def test_what_is_missing_is_said():
    table, wrong = make_table(200)
    order = np.argsort(-table.scores["suspicion"])
    assert "30 decisions of 50" in explain_missing(decide(wrong, order, 0, 30))
    assert "at random" in explain_missing(decide(wrong, order, 0, 80))
    assert explain_missing(decide(wrong, order, 60, 80)) == ""


def test_what_taught_stands_first_in_the_order_of_before():
    table, wrong = make_table(50)
    features = make_features(table, "suspicion")
    decided = decide(wrong, np.arange(50), 5, 5)
    scores = put_decided_first(np.zeros(50), features.signals[:, 0], decided)
    first = np.argsort(-scores)[:10]
    assert set(first.tolist()) == set(decided.positions.tolist())
    assert (np.diff(features.signals[first, 0]) <= 0).all()


@pytest.fixture
def pets(engine):
    return build_scene(engine, 150)


def answer_all(scene, wrong):
    with reading(scene.engine) as connection:
        drawn = list_items(connection, read_audit(scene.engine, scene.project.id))
    for one in drawn:
        action = "exclude" if one.example_id in wrong else "keep"
        scene.decide(one.example_id, action, source="audit")
    return drawn


def test_a_learned_order_ranks_the_queue_until_it_is_taken_away(pets, tmp_path):
    engine = pets.engine
    with pytest.raises(InvalidDecisionError, match="0 decisions of 50"):
        learn_order(engine, tmp_path, pets.run.id, by=ANN)
    plan = AuditPlan(size=60, teaching_share=0.6, seed=SEED)
    draw_audit(engine, tmp_path, pets.run, plan, by=ANN)
    # Wrong is what has the label 1, which no score knows.
    wrong = set(pets.train_ids[1::3])
    drawn = answer_all(pets, wrong)
    for rank in range(1, 31):
        example_id = pets.by_rank(rank)
        if example_id not in {one.example_id for one in drawn}:
            pets.decide(example_id, "exclude" if example_id in wrong else "keep")
    table = read_run_table(engine, pets.run, tmp_path)
    decided = read_decided(engine, pets.run, table)
    certifying = {one.example_id for one in drawn if not one.teaches}
    assert certifying
    assert not certifying & set(table.ids[decided.positions].tolist())
    lesson, run = learn_order(engine, tmp_path, pets.run.id, by=ANN)
    assert lesson.is_taken
    assert (lesson.num_random, lesson.learned > lesson.static) == (60 - len(certifying), True)
    assert run.signals[0] == choose_default_signal(run.signals) == LEARNED
    assert read_lesson(run.config) == lesson
    page = fetch_page(engine, run.id, signal=LEARNED, page_size=150).rows
    left = [row for row in page if row.status == "pending"]
    labels = [row.given_label for row in left]
    assert labels == sorted(labels, key=lambda label: label != 1)
    # It comes back from a backup, learns again in its place, and goes.
    place = Workspace(root=tmp_path / "work", database_url=str(engine.url))
    place.prepare()
    path = backup_project(engine, place, pets.project.slug, tmp_path / "learned.zip")
    restored = restore_project(engine, place, path, slug="again")
    assert LEARNED in current_run(engine, restored.id).signals
    again, run = learn_order(engine, tmp_path, run.id, by=ANN)
    assert again.learned == lesson.learned
    assert list(run.signals).count(LEARNED) == 1
    assert list(forget_order(engine, run.id, by=ANN).signals) == list(pets.run.signals)
