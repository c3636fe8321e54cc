"""Small projects whose wrong labels are decided as their truth says."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Engine, select

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.examples import get_example
from relabel.db.project_rules import Project
from relabel.db.schema import ExampleRow


def decide(
    engine: Engine,
    project: Project,
    position: int,
    action: str,
    *,
    split: str = "train",
    **answer: object,
) -> None:
    """Record one decision about the example at a position."""
    with engine.connect() as connection:
        found = connection.scalar(
            select(ExampleRow.id).where(
                ExampleRow.project_id == project.id,
                ExampleRow.split == split,
                ExampleRow.position == position,
            )
        )
    assert found is not None
    version = get_example(engine, found, None).version
    record_decision(
        engine,
        NewDecision(
            example_id=found, expected_version=version, reviewer="Ann", action=action, **answer
        ),
    )


def correct_texts(engine: Engine, project: Project, wrong: Iterable[int]) -> None:
    """Give texts about sun and rain the label of the other one."""
    for position in wrong:
        decide(engine, project, position, "relabel", new_label=position % 2)
