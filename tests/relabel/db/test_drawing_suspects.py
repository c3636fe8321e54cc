"""What a reviewer is shown is of one moment, whenever somebody else decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from relabel.db.decisions import NewDecision, record_decision
from relabel.db.engine import open_database
from relabel.db.examples import get_example
from relabel.db.queue import describe_since, draw_next_suspect
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


def test_a_decision_amid_the_drawing_is_seen_or_refused_but_never_overridden(
    scene: Scene, database_url: str
) -> None:
    other = open_database(database_url)
    outcomes = set()
    try:
        for number in range(MANY):
            first = draw_next_suspect(scene.engine, scene.run.id)
            assert first is not None
            before = first.view.version

            def exclude(drawn=first) -> None:
                record_decision(
                    other,
                    NewDecision(
                        drawn.view.id, drawn.view.version, "ann", "skip", note="broken scan"
                    ),
                )

            with before_statement(scene.engine, number, exclude) as seen:
                drawn = draw_next_suspect(scene.engine, scene.run.id)
            if seen[0] <= number:
                break
            assert drawn is not None
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


def test_the_following_suspect_is_the_one_that_comes_next(scene: Scene) -> None:
    """Also where it was skipped: its picture is fetched while the first one is decided."""
    scene.decide(scene.by_rank(2), "skip")
    scene.decide(scene.by_rank(1), "skip")
    for rank in (4, 5, 6):
        scene.decide(scene.by_rank(rank), "keep")
    for expected in ([3, 2], [2, 1], [1, None]):
        drawn = draw_next_suspect(scene.engine, scene.run.id)
        assert drawn is not None
        following = None if drawn.following is None else drawn.following.rank
        assert [drawn.row.rank, following] == expected
        assert drawn.view.scores["self_influence"].rank == drawn.row.rank
        scene.decide(drawn.view.id, "keep")
    assert draw_next_suspect(scene.engine, scene.run.id) is None
