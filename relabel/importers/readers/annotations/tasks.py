"""Tasks of Label Studio: which of their annotations holds, and where its answer stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relabel.importers.columns.label_status import LEFT_OUT
from relabel.importers.columns.values import RefusedError
from relabel.importers.readers.json_lines import JsonPath, look_up

# Types of results that are an answer about the whole example, and where in it the answer stands.
ANSWERS = {"choices": "choices", "number": "number", "rating": "rating"}
Result = tuple[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """Where the answer of a task stands.

    Attributes:
        path: From the task on.
        how: Why it is this one: "only", "ground truth", "agreed", "majority" or "newest".
    """

    path: JsonPath
    how: str = "only"


def list_annotations(task: Mapping[str, Any]) -> list[Result]:
    """Return the annotations of a task with their places."""
    return _list_objects(task.get("annotations"))


def list_results(annotation: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Yield the results of an annotation with their places and the names of their controls."""
    for place, found in _list_objects(annotation.get("result")):
        yield place, found, str(found.get("from_name") or found.get("type") or "")


def choose_answer(task: Mapping[str, Any], control: str, kind: str) -> Answer | None:
    """Return the answer to one control that holds; None where nobody has been asked.

    A ground truth before all others, the newest of several; else what most annotations say, and of
    as many the one that says so last. Cancelled annotations and predictions never count.

    Args:
        task: With its annotations.
        control: The name of what was answered.
        kind: Type of its results, a name in ``ANSWERS``.

    Raises:
        RefusedError: If all annotations are cancelled, or one has several answers.
    """
    listed = list_annotations(task)
    valid = [one for one in listed if not one[1].get("was_cancelled")]
    found = [(one, path) for one in valid if (path := _find_result(task, one, control, kind))]
    truths = [(one, path) for one, path in found if one[1].get("ground_truth")]
    if truths:
        return Answer(max(truths, key=_when)[1], "ground truth" if len(truths) == 1 else "newest")
    if not found:
        if listed and not valid:
            raise RefusedError(
                LEFT_OUT,
                "Its annotation was cancelled (skipped), so it has no label. Label it, or leave "
                "it out.",
            )
        return None
    if len(found) == 1:
        return Answer(found[0][1])
    votes = Counter(_say(task, path) for _, path in found)
    most = max(votes.values())
    best = [one for one in found if votes[_say(task, one[1])] == most]
    how = "agreed" if len(votes) == 1 else "newest" if most * len(votes) == len(found) else ""
    return Answer(max(best, key=_when)[1], how or "majority")


def _find_result(
    task: Mapping[str, Any], annotation: Result, control: str, kind: str
) -> JsonPath | None:
    """Return where an annotation has the answer to a control; None where it has none.

    Raises:
        RefusedError: If it has several that differ.
    """
    name = ANSWERS[kind]
    paths: list[JsonPath] = [
        ("annotations", annotation[0], "result", place, "value", name)
        for place, one, of in list_results(annotation[1])
        if of == control and isinstance(one.get("value"), dict) and name in one["value"]
    ]
    if len({_say(task, path) for path in paths}) > 1:
        raise RefusedError(
            "several labels",
            f"One annotation has {len(paths)} answers to {control!r}, which differ. Expected one: "
            "a label is said of the whole example here. Choose one of them, or leave it out.",
        )
    return paths[0] if paths else None


def _say(task: Mapping[str, Any], path: JsonPath) -> str:
    return repr(look_up(task, path))


def _when(found: tuple[Result, JsonPath]) -> tuple[str, int]:
    place, one = found[0]
    return str(one.get("updated_at") or one.get("created_at") or ""), place


def _list_objects(found: object) -> list[Result]:
    items: Sequence[Any] = found if isinstance(found, list) else ()
    return [(place, one) for place, one in enumerate(items) if isinstance(one, dict)]
