"""One table of decision kinds, with which the database and the documents agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from relabel.db.decisions.kinds import (
    DECISION_KINDS,
    RELABEL,
    TAKEN_KEYS,
    UNDO,
    list_codes,
    list_states,
)
from relabel.db.decisions.recording import undo_decision
from relabel.db.engine import reading
from relabel.db.examples import get_example
from relabel.errors import InvalidDecisionError
from relabel.workspace import REPOSITORY_ROOT
from tests.relabel.db.builders import Scene

_CHECKS = {
    "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'decision'",
    # The naming convention of the tables may stand before the name.
    "postgresql": "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE conname LIKE '%ck_decision_action' AND conrelid = 'decision'::regclass",
}


def read_check(engine) -> set[str]:
    """Return the actions that a database lets in."""
    with reading(engine) as connection:
        found = connection.execute(text(_CHECKS[engine.dialect.name])).scalar_one()
    if engine.dialect.name == "sqlite":
        (found,) = re.findall(r"ck_decision_action\W+CHECK \((.*?\))\)", found, re.DOTALL)
    return set(re.findall(r"'(\w+)'", found))


def test_a_migrated_database_lets_in_the_kinds_of_the_table_and_no_others(engine):
    assert read_check(engine) == set(list_codes())


def test_the_states_of_the_view_are_those_of_the_table(scene: Scene):
    """People read `current_label` by their own queries."""
    for kind in DECISION_KINDS:
        if kind == UNDO:
            continue
        new = {"new_label": 2} if kind == RELABEL else {}
        made = scene.decide(scene.train_ids[0], kind.code, **new)
        with reading(scene.engine) as connection:
            found = connection.execute(
                text("SELECT status FROM current_label WHERE example_id = :id"),
                {"id": scene.train_ids[0]},
            ).scalar_one()
        assert found == kind.state
        assert get_example(scene.engine, scene.train_ids[0], None).status == kind.state
        undo_decision(scene.engine, made.id, reviewer="ann")


def test_no_two_kinds_have_the_same_code_state_or_key():
    keys = [kind.key for kind in DECISION_KINDS if kind.key]
    assert len(set(keys)) == len(keys)
    assert TAKEN_KEYS.isdisjoint(keys)
    assert all(re.fullmatch("[a-z]", key) for key in keys)
    for values in (list_codes(), list_states()):
        assert len(set(values)) == len(values)
        assert "pending" not in values


def test_an_unknown_kind_is_refused_with_those_that_can_be_chosen(scene: Scene):
    with pytest.raises(InvalidDecisionError) as told:
        scene.decide(scene.train_ids[0], "burn")
    for kind in DECISION_KINDS:
        assert (kind.code in str(told.value)) == (kind != UNDO)


def test_the_first_page_people_read_names_every_key():
    readme = Path(REPOSITORY_ROOT / "README.md").read_text("utf-8")
    table = readme[readme.index("| key | decision |") :].partition("\n\n")[0]
    for kind in DECISION_KINDS:
        if kind.key:
            (row,) = [line for line in table.splitlines() if f"`{kind.key.upper()}`" in line]
            assert kind.title.lower() in row
