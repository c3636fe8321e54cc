"""A drawn share of what is decided is seen by a second person, who knows nothing of the first."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from relabel.db.decisions.recording import NewDecision, record_decision, undo_decision
from relabel.db.engine import reading, writing
from relabel.db.examples import get_example
from relabel.db.projects import delete_project, get_project_by_id
from relabel.db.schema import OpinionRow, SecondLookRow
from relabel.db.team import handing_out
from relabel.db.team.handing_out import Screen, hand_out
from relabel.db.team.opinions import list_pairs, record_opinion, undo_opinion
from relabel.db.team.reviewers import LEAD, Identity, set_role
from relabel.db.team.second_looks import (
    SecondOpinions,
    count_waiting,
    find_look,
    read_wish,
    set_share,
)
from relabel.errors import InvalidDecisionError, NotAllowedError, StaleDecisionError
from tests.relabel.db.builders import build_scene

ANN, BOB, CLEO = (Identity(name) for name in ("Ann", "Bob", "Cleo"))
TOKENS = [f"token-of-the-test-{number}" for number in range(6)]


def want(scene, share=1.0):
    return set_share(scene.engine, scene.project.id, share, by=ANN)


def hand(scene, who, count=3):
    screen = Screen(who, f"tab-of-{who.name}")
    return hand_out(scene.engine, scene.run.id, screen, count=count, second_looks=True).suspects


def answer(scene, one, who, action="keep", token=None, **more):
    new = NewDecision(one.view.id, 0, who.name, action, token=token, **more)
    return record_opinion(scene.engine, new, one.look)


def test_what_is_drawn_can_be_checked_and_grows_with_the_share():
    wish = SecondOpinions(0.1, "seed")
    keys = [f"key {number}" for number in range(4000)]
    drawn = {key for key in keys if wish.is_drawn(key)}
    # Five standard deviations of a binomial of 4,000 and 0.1.
    assert abs(len(drawn) - 400) < 95
    assert drawn < {key for key in keys if SecondOpinions(0.2, "seed").is_drawn(key)}
    assert drawn != {key for key in keys if SecondOpinions(0.1, "other").is_drawn(key)}
    assert all(SecondOpinions(1.0, "seed").is_drawn(key) for key in keys)
    assert not any(SecondOpinions(0.0, "seed").is_drawn(key) for key in keys)


@pytest.mark.parametrize("found", [None, 3, {}, {"share": 2, "seed": "a"}, {"share": "1"}])
def test_settings_that_say_nothing_right_wish_for_nothing(found):
    assert read_wish({"second_opinions": found}) == SecondOpinions()


def test_a_second_person_sees_nothing_of_the_first_answer(scene):
    want(scene)
    first = scene.by_rank(1)
    made = scene.decide(first, "relabel", new_label=0, reviewer="ann", note="secret")
    (look, *_) = hand(scene, BOB)
    assert (look.view.id, look.look) == (first, made.id)
    assert (look.view.status, look.view.current_label) == ("pending", look.view.given_label)
    assert look.view.version == 1
    # Not to whoever gave the first answer.
    assert first not in [one.view.id for one in hand(scene, ANN, 6)]
    assert find_look(scene.engine, first, ANN) is None
    assert find_look(scene.engine, first, BOB) == made.id


def test_the_first_answer_stays_in_force_and_the_pair_is_told(scene):
    want(scene)
    first = scene.by_rank(1)  # an emu
    scene.decide(first, "relabel", new_label=0, reviewer="Ann")
    (look, *_) = hand(scene, BOB)
    given = answer(scene, look, BOB, "relabel", new_label=1, token=TOKENS[0], note="dog?")
    assert (given.given_label, given.version, given.reviewer) == (2, 1, "Bob")
    assert answer(scene, look, BOB, "relabel", new_label=1, token=TOKENS[0]) == given
    view = get_example(scene.engine, first, None)
    assert (view.current_label, view.version) == (0, 1)
    (pair,) = list_pairs(scene.engine, scene.project.id)
    assert (pair.first, pair.first_label, pair.second, pair.second_label) == ("Ann", 0, "Bob", 1)
    assert pair.is_open
    assert not pair.agrees
    assert count_waiting(scene.engine, scene.project.id) == 0
    for who in (BOB, CLEO):
        assert find_look(scene.engine, first, who) is None
    with pytest.raises(StaleDecisionError, match="Somebody else has given"):
        answer(scene, look, CLEO)


def test_of_three_asked_for_one_is_a_second_look_while_there_are_first_ones(scene):
    want(scene)
    for rank in (1, 2, 3):
        scene.decide(scene.by_rank(rank), reviewer="ann")
    found = hand(scene, BOB, 3)
    assert [one.look is not None for one in found] == [True, False, False]
    assert len({one.view.id for one in hand(scene, BOB, 6)}) == 6


def test_a_second_answer_is_refused_where_there_is_nothing_to_answer(scene):
    want(scene)
    first = scene.by_rank(1)
    made = scene.decide(first, reviewer="ann")
    (look, *_) = hand(scene, BOB)
    with pytest.raises(InvalidDecisionError, match="another person's"):
        answer(scene, look, ANN)
    with pytest.raises(InvalidDecisionError, match="came without a new label"):
        answer(scene, look, BOB, "relabel")
    undo_decision(scene.engine, made.id, reviewer="ann")
    with pytest.raises(StaleDecisionError, match="no longer the one in force"):
        answer(scene, look, BOB)
    assert list_pairs(scene.engine, scene.project.id) == []


def test_a_second_answer_is_taken_back_by_an_event_and_can_be_given_again(scene):
    want(scene)
    first = scene.by_rank(1)
    scene.decide(first, reviewer="ann")
    (look, *_) = hand(scene, BOB)
    answer(scene, look, BOB, "exclude", token=TOKENS[0])
    back = {"identity_source": "typed", "own_token": TOKENS[1]}
    with pytest.raises(InvalidDecisionError, match="Bob gave this answer"):
        undo_opinion(scene.engine, TOKENS[0], reviewer="cleo", **back)
    for _ in range(2):
        assert undo_opinion(scene.engine, TOKENS[0], reviewer="bob", **back).action == "exclude"
    assert undo_opinion(scene.engine, TOKENS[5], reviewer="bob", **back) is None
    assert list_pairs(scene.engine, scene.project.id) == []
    assert count_waiting(scene.engine, scene.project.id) == 1
    answer(scene, look, BOB, "keep", token=TOKENS[2])
    (pair,) = list_pairs(scene.engine, scene.project.id)
    assert pair.agrees
    with reading(scene.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(OpinionRow)) == 3


def test_what_was_answered_between_drawing_and_holding_is_not_handed_out(scene, monkeypatch):
    want(scene)
    first, second = (scene.decide(scene.by_rank(rank), reviewer="ann") for rank in (1, 2))
    find = handing_out.find_looks
    answered = []

    def find_and_be_late(*arguments, **options):
        found = find(*arguments, **options)
        if not answered:
            new = NewDecision(first.example_id, 0, "Cleo", "keep")
            answered.append(record_opinion(scene.engine, new, first.id))
        return found

    monkeypatch.setattr(handing_out, "find_looks", find_and_be_late)
    looks = [one.view.id for one in hand(scene, BOB, 6) if one.look is not None]
    assert looks == [second.example_id]


def test_whoever_skips_leaves_it_to_others(scene):
    want(scene)
    scene.decide(scene.by_rank(1), reviewer="ann")
    (look, *_) = hand(scene, BOB)
    answer(scene, look, BOB, "skip")
    assert find_look(scene.engine, look.view.id, BOB) is None
    assert find_look(scene.engine, look.view.id, CLEO) is not None


def test_a_share_that_is_set_later_draws_what_has_been_decided(engine):
    scene = build_scene(engine, num_train=60)
    for example_id in scene.train_ids[:40]:
        scene.decide(example_id)
    scene.decide(scene.train_ids[50], "skip")
    wish = want(scene, 0.5)
    drawn = {
        number
        for number, example_id in enumerate(scene.train_ids[:40])
        if wish.is_drawn(f"train-{number}") and example_id
    }
    with reading(engine) as connection:
        found = set(connection.scalars(select(SecondLookRow.example_id)))
    assert found == {scene.train_ids[number] for number in drawn}
    assert 0 < len(found) < 40
    again = want(scene, 0.25)
    assert again.seed == wish.seed
    assert count_waiting(engine, scene.project.id) < len(found)
    kept = get_project_by_id(engine, scene.project.id).settings
    assert read_wish(kept) == again
    want(scene, 0)
    assert count_waiting(engine, scene.project.id) == 0


def test_only_a_lead_says_how_many_two_people_see(scene):
    set_role(scene.engine, "Cleo", LEAD)
    with pytest.raises(NotAllowedError, match="Only a lead"):
        want(scene)
    set_share(scene.engine, scene.project.id, 0.5, by=CLEO)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidDecisionError, match="from 0 to 1"):
            set_share(scene.engine, scene.project.id, wrong, by=CLEO)


def test_a_settlement_needs_no_second_look_and_closes_the_pair(scene):
    want(scene)
    first = scene.by_rank(1)
    scene.decide(first, reviewer="ann")
    (look, *_) = hand(scene, BOB)
    answer(scene, look, BOB, "exclude")
    record_decision(scene.engine, NewDecision(first, 1, "cleo", "exclude", source="team"))
    (pair,) = list_pairs(scene.engine, scene.project.id)
    assert not pair.is_open
    assert count_waiting(scene.engine, scene.project.id) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE opinion SET note = 'x'",
        "DELETE FROM opinion",
        "INSERT INTO opinion SELECT * FROM opinion",
    ],
)
def test_opinions_are_appended_and_never_changed(scene, statement):
    want(scene)
    scene.decide(scene.by_rank(1), reviewer="ann")
    (look, *_) = hand(scene, BOB)
    answer(scene, look, BOB)
    with (
        pytest.raises(DBAPIError, match=r"append-only|unique"),
        writing(scene.engine) as connection,
    ):
        connection.execute(text(statement))
    delete_project(scene.engine, scene.project.id)
    with reading(scene.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(OpinionRow)) == 0
