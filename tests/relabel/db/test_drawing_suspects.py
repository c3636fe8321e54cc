"""What a reviewer is shown is of one moment, whenever somebody else decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import open_database
from relabel.db.examples import get_example
from relabel.db.queue import DrawnSuspect, describe_since, draw_next_suspects
from relabel.errors import StaleDecisionError
from tests.relabel.db.builders import Scene

# More than the statements of a draw; the test sees that it reaches the last one.
MANY = 60


@contextmanager
def before_statement(engine: Engine, number: int, act: Callable[[], object]) -> Iterator[list[int]]:
    """Do something right before the statement of this number; give how many there were."""
    seen = [0]

    def look(*_: object) -> None:
        if seen[0] == number:
            act()
        seen[0] += 1

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", look)


def draw_one(scene: Scene) -> DrawnSuspect:
    (drawn,) = draw_next_suspects(scene.engine, scene.run.id)
    return drawn


def test_a_decision_amid_the_drawing_is_seen_or_refused_but_never_overridden(
    scene: Scene, database_url: str
) -> None:
    other = open_database(database_url)
    outcomes = set()
    try:
        for number in range(MANY):
            first = draw_one(scene)
            before = first.view.version

            def exclude(drawn=first) -> None:
                record_decision(
                    other,
                    NewDecision(
                        drawn.view.id, drawn.view.version, "ann", "skip", note="broken scan"
                    ),
                )

            with before_statement(scene.engine, number, exclude) as seen:
                drawn = draw_one(scene)
            if seen[0] <= number:
                break
            if drawn.view.id != first.view.id:
                outcomes.add("seen")
                continue
            # Nothing of ann's is on the screen, so nothing may be decided about what she did.
            assert drawn.row.version == drawn.view.version == before
            with pytest.raises(StaleDecisionError, match="ann skipped it"):
                record_decision(
                    scene.engine, NewDecision(drawn.view.id, drawn.view.version, "bob", "keep")
                )
            outcomes.add("refused")
        else:
            pytest.fail("the drawing has more statements than were tried")
    finally:
        other.dispose()
    assert outcomes == {"seen", "refused"}


def test_what_was_decided_since_is_told_oldest_first(scene: Scene) -> None:
    example_id = scene.train_ids[0]
    scene.decide(example_id, "keep", reviewer="ann")
    scene.decide(example_id, "exclude", reviewer="bob")
    view = get_example(scene.engine, example_id, scene.run.id)
    told = describe_since(scene.engine, view, 0)
    assert told.startswith("ann kept the label 'cat'")
    assert "; then bob excluded it" in told
    assert describe_since(scene.engine, view, 2) == ""


def test_those_that_come_next_are_drawn_with_the_first(scene: Scene) -> None:
    """Also where they were skipped: they are on the screen in the moment of a press."""
    scene.decide(scene.by_rank(2), "skip")
    scene.decide(scene.by_rank(1), "skip")
    for rank in (4, 5, 6):
        scene.decide(scene.by_rank(rank), "keep")
    for expected in ([3, 2, 1], [2, 1], [1]):
        drawn = draw_next_suspects(scene.engine, scene.run.id, count=5)
        assert [one.row.rank for one in drawn] == expected
        assert [one.view.scores["self_influence"].rank for one in drawn] == expected
        assert len(draw_next_suspects(scene.engine, scene.run.id, count=1)) == 1
        scene.decide(drawn[0].view.id, "keep")
    assert draw_next_suspects(scene.engine, scene.run.id) == []


@pytest.mark.sqlite_only
def test_what_a_screen_has_already_is_left_out(scene: Scene) -> None:
    held = [scene.by_rank(1), scene.by_rank(3)]
    drawn = draw_next_suspects(scene.engine, scene.run.id, count=2, without=held)
    assert [one.row.rank for one in drawn] == [2, 4]
    everything = [scene.by_rank(rank) for rank in range(1, 7)]
    assert draw_next_suspects(scene.engine, scene.run.id, count=2, without=everything) == []
