"""An audit from its draw to the rate: blind, checkable, apart from what the queue finds."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from relabel.db.decisions.recording import undo_decision
from relabel.db.engine import reading
from relabel.db.projects import delete_project
from relabel.db.queue import QueueFilter
from relabel.db.team.audits import count_waiting_items, is_of_audit, list_items, read_audit
from relabel.db.team.handing_out import Screen, hand_out
from relabel.db.team.reviewers import LEAD, Identity, set_role
from relabel.errors import InvalidDecisionError, NotAllowedError
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from relabel.workspace import Workspace
from relabel.worth.audit import AuditPlan, check_audit, draw_audit, extend_audit
from relabel.worth.noise_rate import read_noise_rate
from relabel.worth.stopping import Goal, read_stop_state, set_goal
from tests.relabel.db.builders import build_homes, build_scene

ANN, BOB = Identity("Ann"), Identity("Bob")
SEED = "1234567890abcdef"


@pytest.fixture
def pets(engine):
    return build_scene(engine, 60)


def draw(scene, tmp_path, size=12, **more):
    plan = AuditPlan(size=size, seed=SEED, **more)
    return draw_audit(scene.engine, tmp_path, scene.run, plan, by=ANN)


def items(scene):
    with reading(scene.engine) as connection:
        return list_items(connection, read_audit(scene.engine, scene.project.id))


def hand(scene, count, who=ANN, **more):
    screen = Screen(who, f"tab-of-{who.name}")
    return hand_out(scene.engine, scene.run.id, screen, count=count, **more).suspects


def test_what_is_drawn_can_be_drawn_again(pets, tmp_path):
    audit = draw(pets, tmp_path)
    assert check_audit(pets.engine, tmp_path, pets.run) == []
    assert (audit.num_drawn, audit.num_examples, audit.by) == (12, 60, "Ann")
    drawn = [one.example_id for one in items(pets)]
    assert len(set(drawn)) == 12
    longer = extend_audit(pets.engine, tmp_path, pets.run, 8, by=ANN)
    assert longer.num_drawn == 20
    assert [one.example_id for one in items(pets)][:12] == drawn
    assert check_audit(pets.engine, tmp_path, pets.run) == []


def test_a_weighted_draw_keeps_its_chances_and_goes_on(pets, tmp_path):
    audit = draw(pets, tmp_path, 40, design="weighted")
    found = items(pets)
    by_rank = {pets.by_rank(rank): rank for rank in range(1, 61)}
    chances = {by_rank[one.example_id]: one.probability for one in found}
    first, last = min(chances), max(chances)
    assert chances[first] > chances[last]  # the more suspect is drawn more often
    assert len({one.example_id for one in found}) < 40  # with repetition
    assert audit.frame.guesses.startswith("supposed")
    # What is decided afterwards changes nothing of how the draw goes on.
    for number in range(40):
        pets.decide(pets.by_rank(number + 1), "exclude" if number < 20 else "keep")
    extend_audit(pets.engine, tmp_path, pets.run, 5, by=ANN)
    assert check_audit(pets.engine, tmp_path, pets.run) == []
    assert draw(pets, tmp_path, 5, design="weighted").frame.guesses == "calibrated by 40 decisions"


def test_what_was_drawn_cannot_be_changed(pets, tmp_path):
    draw(pets, tmp_path)
    for statement in (
        "UPDATE audit SET seed = '0'",
        "DELETE FROM audit",
        "UPDATE audit_item SET probability = 1",
        "DELETE FROM audit_item",
    ):
        with pytest.raises(DBAPIError, match="append-only"), pets.engine.begin() as connection:
            connection.execute(text(statement))
    delete_project(pets.engine, pets.project.id)
    with pets.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM audit_item")) == 0


def test_its_items_come_mixed_in_and_blind(pets, tmp_path):
    known = pets.decide(pets.by_rank(1), "relabel", new_label=0, reviewer="Ann")
    draw(pets, tmp_path, 60, mix_share=0.5)
    handed = hand(pets, 40)
    asked = [one for one in handed if one.ticket]
    assert 8 <= len(asked) <= 40  # all of the list is of the audit, so all that come are
    assert {one.view.id for one in asked} == {one.view.id for one in handed}
    assert all(one.view.status == "pending" for one in handed)
    again = next((one for one in hand(pets, 60) if one.view.id == known.example_id), None)
    assert again is not None  # decided by the queue, and asked again without its answer
    assert (again.view.current_label, again.view.version) == (again.view.given_label, 1)


def test_the_queue_leaves_them_out_and_a_part_of_it_gets_none(pets, tmp_path):
    draw(pets, tmp_path, 10, mix_share=0.4)
    drawn = [one.example_id for one in items(pets)]
    handed = hand(pets, 30)
    of_audit = [one.view.id for one in handed if one.ticket]
    of_queue = [one.view.id for one in handed if not one.ticket]
    assert of_audit == list(dict.fromkeys(drawn))[: len(of_audit)]
    assert not set(of_queue) & set(drawn)
    order = [pets.by_rank(rank) for rank in range(1, 61)]
    assert of_queue == sorted(of_queue, key=order.index)
    part = hand(pets, 30, filter=QueueFilter(given_labels=(0,)))
    assert not any(one.ticket for one in part)


def answer(scene, one, action="keep", **more):
    return scene.decide(one.example_id, action, source="audit", **more)


def test_only_answers_to_its_items_count(pets, tmp_path):
    draw(pets, tmp_path, 10)
    first, second, third, *rest = items(pets)
    pets.decide(first.example_id, "exclude", source="queue")
    noise = read_noise_rate(pets.engine, pets.project.id)
    assert (noise.num_audited, noise.num_wrong, noise.low, noise.high) == (0, 0, 0, 1)
    answer(pets, second, "relabel", new_label=(second.given_label + 1) % 3)
    answer(pets, third, "skip")
    made = answer(pets, rest[0])
    noise = read_noise_rate(pets.engine, pets.project.id)
    assert (noise.num_audited, noise.num_wrong, noise.num_skipped, noise.num_open) == (2, 1, 1, 8)
    assert noise.rate == 0.5
    of_class = noise.by_class[second.given_label]
    assert (of_class.num_wrong, of_class.num_examples) == (1, 20)
    undo_decision(pets.engine, made.id, reviewer="ann")
    assert read_noise_rate(pets.engine, pets.project.id).num_audited == 1
    # One that was skipped comes again, as of the audit, when nothing else is left.
    assert count_waiting_items(pets.engine, pets.project.id) == 8


def test_more_items_narrow_the_interval_as_said(engine, tmp_path):
    scene = build_scene(engine, 400)
    draw(scene, tmp_path, 50)
    for number, one in enumerate(items(scene)):
        answer(scene, one, "exclude" if number % 5 == 0 else "keep")
    before = read_noise_rate(engine, scene.project.id)
    more = before.count_more(0.08)
    assert more > 0
    extend_audit(engine, tmp_path, scene.run, more, by=ANN)
    for number, one in enumerate(items(scene)[50:]):
        answer(scene, one, "exclude" if number % 5 == 0 else "keep")
    after = read_noise_rate(engine, scene.project.id)
    assert after.half_width <= 0.082 < before.half_width
    assert after.count_more(0.082) == 0


def test_a_ticket_opens_one_item_of_one_audit(pets, tmp_path):
    draw(pets, tmp_path, 30, mix_share=1.0)
    one, other = [one for one in hand(pets, 10) if one.ticket][:2]
    known = (pets.engine, pets.project.id)
    assert is_of_audit(*known, one.view.id, one.ticket)
    assert not is_of_audit(*known, other.view.id, one.ticket)
    assert not is_of_audit(*known, one.view.id, "")
    draw(pets, tmp_path, 3)
    assert not is_of_audit(*known, one.view.id, one.ticket)


def test_where_there_is_a_lead_nobody_else_draws(pets, tmp_path):
    set_role(pets.engine, "Bob", LEAD)
    with pytest.raises(NotAllowedError, match="draw an audit"):
        draw(pets, tmp_path)


@pytest.mark.parametrize(
    "plan", [{"size": 0}, {"size": 3, "mix_share": 0}, {"size": 3, "seed": "x"}]
)
def test_a_plan_that_cannot_be_is_refused(plan):
    with pytest.raises(InvalidDecisionError):
        AuditPlan(**plan)


def test_more_than_there_are_cannot_be_drawn_without_repetition(pets, tmp_path):
    with pytest.raises(InvalidDecisionError, match="at most as many"):
        draw(pets, tmp_path, 61)


def test_numbers_are_audited_without_classes(engine, tmp_path):
    homes = build_homes(engine, 30)
    draw(homes, tmp_path, 6)
    answer(homes, items(homes)[0], "relabel", new_value=5.0)
    noise = read_noise_rate(engine, homes.project.id)
    assert (noise.num_wrong, noise.by_class) == (1, ())


def test_an_audit_comes_back_from_a_backup(pets, tmp_path):
    draw(pets, tmp_path, 10)
    for one in items(pets)[:6]:
        answer(pets, one, "exclude")
    place = Workspace(root=tmp_path / "work", database_url=str(pets.engine.url))
    place.prepare()
    path = backup_project(pets.engine, place, pets.project.slug, tmp_path / "audit.zip")
    restored = restore_project(pets.engine, place, path, slug="again")
    assert read_noise_rate(pets.engine, restored.id) == read_noise_rate(
        pets.engine, pets.project.id
    )


def test_a_uniform_audit_certifies_a_depth_and_says_how_many_more(engine, tmp_path):
    scene = build_scene(engine, 200)
    wrong = {scene.by_rank(rank) for rank in range(1, 41)}
    draw(scene, tmp_path, 100, teaching_share=0.0)
    found = items(scene)
    for one in found[:-1]:
        answer(scene, one, "exclude" if one.example_id in wrong else "keep")
    assert read_stop_state(engine, scene.run.id).rule == "cmh"  # one answer is missing
    answer(scene, found[-1], "exclude" if found[-1].example_id in wrong else "keep")
    state = read_stop_state(engine, scene.run.id)
    assert (state.rule, state.is_met) == ("qbcb", False)
    ranks = sorted(
        rank
        for rank in range(1, 201)
        if scene.by_rank(rank) in wrong & {o.example_id for o in found}
    )
    goal = Goal()
    from scipy.stats import binom

    needed = next(
        j for j in range(1, len(ranks) + 1) if binom.cdf(j - 1, len(ranks), goal.recall) >= 0.95
    )
    audited = {one.example_id for one in found}
    expected = [
        rank for rank in range(1, ranks[needed - 1] + 1) if scene.by_rank(rank) not in audited
    ]
    assert state.more == len(expected)
    assert f"About {state.more} more of this list" in state.sentence
    for rank in expected:
        scene.decide(scene.by_rank(rank), "exclude")
    state = read_stop_state(engine, scene.run.id)
    assert (state.is_met, state.more) == (True, 0)
    # Of an audit of all that taught, nothing certifies.
    draw(scene, tmp_path, 100, teaching_share=1.0)
    assert read_stop_state(engine, scene.run.id).rule == "cmh"


def test_the_goal_is_kept_and_said(pets):
    set_goal(pets.engine, pets.project.id, Goal(0.9, 0.99))
    state = read_stop_state(pets.engine, pets.run.id)
    assert state.goal == Goal(0.9, 0.99)
    assert (state.more, state.is_met) == (None, False)
    assert "99% confidence for 90% of the errors" in state.sentence
    for number in range(30):
        pets.decide(pets.by_rank(number + 1), "exclude" if number < 20 else "keep")
    state = read_stop_state(pets.engine, pets.run.id)
    assert (state.num_reviewed, state.num_found, state.rule) == (30, 20, "cmh")
    assert state.more is not None
    assert np.isfinite(state.errors_left)


def test_a_lease_of_another_person_keeps_an_audits_item(pets, tmp_path):
    draw(pets, tmp_path, 20, mix_share=1.0)
    anns = {one.view.id for one in hand(pets, 8, ANN) if one.ticket}
    bobs = {one.view.id for one in hand(pets, 8, BOB) if one.ticket}
    assert anns
    assert bobs
    assert not anns & bobs
