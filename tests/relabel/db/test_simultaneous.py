"""Two people at once, and a process that is killed: nothing is lost, nothing overwritten."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import func, select

from relabel.db.decisions.recording import NewDecision, get_decision, record_decision, undo_decision
from relabel.db.engine import open_database, reading
from relabel.db.examples import get_example
from relabel.db.schema import DecisionRow, ReviewerRow
from relabel.errors import StaleDecisionError
from tests.preloaded import PreloadedProcess
from tests.relabel.db.builders import Scene

THREADS = 4


def at_once(work: Callable[[int], object]) -> list[object]:
    """Do the work in several threads at the same moment; return results and errors."""
    barrier = Barrier(THREADS)

    def wait_and_work(number: int) -> object:
        barrier.wait()
        try:
            return work(number)
        except StaleDecisionError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(wait_and_work, range(THREADS)))


def winners(results: list[object]) -> list[object]:
    return [one for one in results if not isinstance(one, StaleDecisionError)]


def count_events(scene: Scene) -> int:
    with reading(scene.engine) as connection:
        return connection.scalars(select(func.count()).select_from(DecisionRow)).one()


def test_of_simultaneous_decisions_exactly_one_wins(scene):
    example_id = scene.train_ids[0]
    results = at_once(
        lambda number: record_decision(
            scene.engine, NewDecision(example_id, 0, f"reviewer {number}", "keep")
        )
    )
    (winner,) = winners(results)
    assert get_decision(scene.engine, winner.id) == winner
    assert count_events(scene) == 1
    for loser in results:
        if loser is not winner:
            assert f"Meanwhile {winner.reviewer} kept the label 'cat'" in str(loser)


def test_of_simultaneous_undos_exactly_one_wins(scene):
    made = scene.decide(scene.train_ids[0])
    results = at_once(
        lambda number: undo_decision(scene.engine, made.id, reviewer=f"reviewer {number}")
    )
    assert len(winners(results)) == 1
    assert count_events(scene) == 2


def test_a_decision_and_an_undo_at_once_leave_one_order(scene):
    example_id = scene.train_ids[0]
    made = scene.decide(example_id)

    def work(number: int) -> object:
        if number % 2:
            return undo_decision(scene.engine, made.id, reviewer="ann")
        return record_decision(scene.engine, NewDecision(example_id, 1, "bob", "exclude"))

    assert len(winners(at_once(work))) == 1
    assert get_example(scene.engine, example_id, None).version == 2


def test_many_decisions_at_once_on_different_examples_all_stand(scene):
    def work(number: int) -> object:
        return [
            scene.decide(example_id, "skip", reviewer="a new name")
            for example_id in scene.train_ids[number::THREADS]
        ]

    assert len(winners(at_once(work))) == THREADS
    assert count_events(scene) == len(scene.train_ids)
    with reading(scene.engine) as connection:
        assert connection.scalars(select(func.count()).select_from(ReviewerRow)).one() == 1


DECIDE = """
import sys, time
from relabel.errors import StaleDecisionError
from relabel.db.engine import open_database
from relabel.db.decisions.recording import (NewDecision, record_decision)
engine = open_database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    made = record_decision(engine, NewDecision(int(sys.argv[2]), 0, sys.argv[3], "exclude"))
    print(made.id, flush=True)
except StaleDecisionError as error:
    print("stale", error, flush=True)
time.sleep(60)
"""


def press(process: PreloadedProcess) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def end(process: PreloadedProcess) -> None:
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_of_two_processes_exactly_one_wins(preloaded, scene, database_url):
    example_id = scene.train_ids[0]
    processes = [
        preloaded.start("-c", DECIDE, database_url, str(example_id), name)
        for name in ("ann", "bob")
    ]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
        for process in processes:
            press(process)
        answers = [process.stdout.readline() for process in processes]
    finally:
        for process in processes:
            end(process)
    assert sorted(answer.startswith("stale Meanwhile") for answer in answers) == [False, True]
    assert count_events(scene) == 1


@pytest.mark.slow
def test_a_process_killed_after_its_answer_has_lost_nothing(preloaded, scene, database_url):
    process = preloaded.start("-c", DECIDE, database_url, str(scene.train_ids[0]), "ann")
    try:
        assert process.stdout.readline() == "ready\n"
        press(process)
        decision_id = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        end(process)
    scene.engine.dispose()
    engine = open_database(database_url)
    assert get_decision(engine, decision_id).reviewer == "ann"
    assert get_example(engine, scene.train_ids[0], None).status == "excluded"
    engine.dispose()
