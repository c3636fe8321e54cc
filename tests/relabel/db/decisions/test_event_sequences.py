"""Any sequence of events, replayed against the plain-Python meaning of the words."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import Decision, last_undoable, undo_decision
from relabel.db.examples import get_example
from relabel.db.queue import QueueFilter, fetch_page, next_suspect
from relabel.db.stats import review_progress
from relabel.errors import StaleDecisionError
from tests.relabel.db.builders import Scene, build_homes, build_scene

STATUS = {
    "keep": "kept",
    "relabel": "relabeled",
    "exclude": "excluded",
    "ambiguous": "ambiguous",
    "skip": "skipped",
}
REVIEWERS = ("ann", "bob")


@dataclass
class Model:
    """A stack of decisions for each example: decide pushes, undo pops."""

    stacks: dict[int, list[Decision]]
    versions: dict[int, int]
    made: list[Decision] = field(default_factory=list)
    undone: set[int] = field(default_factory=set)

    def top(self, example_id: int) -> Decision | None:
        return self.stacks[example_id][-1] if self.stacks[example_id] else None

    def status(self, example_id: int) -> str:
        top = self.top(example_id)
        return "pending" if top is None else STATUS[top.action]


def apply_decision(scene: Scene, model: Model, example_id: int, action: str, who: str) -> None:
    view = get_example(scene.engine, example_id, None)
    change = {}
    if action == "relabel" and scene.project.task == "regression":
        change = {"new_value": view.given_value + 0.5 * (view.version + 1)}
    elif action == "relabel":
        change = {"new_label": (view.given_label + 1) % 3}
    made = scene.decide(example_id, action, reviewer=who, **change)
    model.stacks[example_id].append(made)
    model.versions[example_id] += 1
    model.made.append(made)


def apply_undo(scene: Scene, model: Model, index: int, who: str) -> None:
    if not model.made:
        return
    target = model.made[index % len(model.made)]
    on_top = model.top(target.example_id) == target
    try:
        undo_decision(scene.engine, target.id, reviewer=who)
    except StaleDecisionError:
        assert not on_top
        return
    assert on_top
    model.stacks[target.example_id].pop()
    model.versions[target.example_id] += 1
    model.undone.add(target.id)


def check_examples(scene: Scene, model: Model) -> None:
    for example_id in scene.train_ids:
        view, top = get_example(scene.engine, example_id, None), model.top(example_id)
        label = view.given_label if top is None or top.new_label is None else top.new_label
        assert view.status == model.status(example_id)
        assert view.current_label == label
        value = view.given_value if top is None or top.new_value is None else top.new_value
        assert view.current_value == value
        assert view.version == model.versions[example_id]
        assert view.last_decision_id == (top.id if top else None)


def check_queue(scene: Scene, model: Model) -> None:
    by_rank = list(reversed(scene.train_ids))
    pending = [one for one in by_rank if model.top(one) is None]
    skipped = [top for one in by_rank if (top := model.top(one)) and top.action == "skip"]
    expected = pending + [top.example_id for top in sorted(skipped, key=lambda top: top.id)]
    found = next_suspect(scene.engine, scene.run.id)
    assert (found.example_id if found else None) == (expected[0] if expected else None)
    open_ones = fetch_page(scene.engine, scene.run.id, filter=QueueFilter(status="pending"))
    assert {row.example_id for row in open_ones.rows} == set(expected)
    assert open_ones.total == len(expected)


def check_history(scene: Scene, model: Model) -> None:
    rows = fetch_history(scene.engine, scene.project.id, page_size=100).rows
    assert [row.id for row in rows] == sorted((row.id for row in rows), reverse=True)
    tops = {top.id for one in scene.train_ids if (top := model.top(one))}
    assert {row.id for row in rows if row.undoable} == tops
    assert {row.id for row in rows if row.undone} == model.undone
    assert len(rows) == sum(model.versions.values())
    for who in REVIEWERS:
        own = [one.id for one in model.made if one.id in tops and one.reviewer == who]
        last = last_undoable(scene.engine, scene.project.id, who)
        assert (last.id if last else None) == max(own, default=None)
    progress = review_progress(scene.engine, scene.project.id)
    statuses = [model.status(one) for one in scene.train_ids]
    assert {name: count for name, count in progress.by_status.items() if count} == {
        name: statuses.count(name) for name in set(statuses)
    }


steps = st.one_of(
    st.tuples(st.integers(0, 2), st.sampled_from(sorted(STATUS)), st.sampled_from(REVIEWERS)),
    st.tuples(st.integers(0, 9), st.just("undo"), st.sampled_from(REVIEWERS)),
)


@pytest.mark.parametrize("build", [build_scene, build_homes])
@given(sequence=st.lists(steps, max_size=12))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_sequence_of_events_means_what_the_model_says(engine, build, sequence):
    scene = build(engine, 3, 1)
    model = Model({one: [] for one in scene.train_ids}, dict.fromkeys(scene.train_ids, 0))
    for number, action, who in sequence:
        if action == "undo":
            apply_undo(scene, model, number, who)
        else:
            apply_decision(scene, model, scene.train_ids[number], action, who)
    check_examples(scene, model)
    check_queue(scene, model)
    check_history(scene, model)
