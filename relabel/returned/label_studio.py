"""Tasks of Label Studio, as we export them or as it exports its own work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from relabel.db.decisions.kinds import KEEP, RELABEL, list_codes
from relabel.exporters.labelstudio import ANSWER, DECISION, NOTE, REFERENCE, REVIEWER, VERSION


def is_task(value: object) -> bool:
    """Return whether a value of a file is a task with annotations."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("data"), dict)
        and isinstance(value.get("annotations"), list)
    )


def read_task(task: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return the newest annotation of a task as the fields of a decision, or what is wrong.

    A cancelled one is a skip. Without annotations there is no decision.
    """
    data = task["data"]
    key = data.get(REFERENCE)
    if not isinstance(key, str) or not key:
        return f"Its data has no {REFERENCE!r}, by which its example is found."
    given = data.get("given_value", data.get("given_label"))
    version = data.get(VERSION)
    found: dict[str, Any] = {
        "key": key,
        "given": given,
        "answer": given,
        "version": version if type(version) is int else None,
        "stated_at": None,
    }
    annotations = [one for one in task["annotations"] if isinstance(one, dict)]
    if not annotations:
        return found
    newest = max(annotations, key=_when)
    said = dict(_read_results(newest))
    answer = said.get(ANSWER)
    if isinstance(answer, float) and not math.isfinite(answer):
        return "Its number is no finite one."
    action = said.get(DECISION) or ("" if answer is None else _label(answer, given))
    if newest.get("was_cancelled"):
        action = list_codes("defer")[0]
    if not action:
        return "Its annotation has no answer."
    return found | {
        "action": str(action),
        "answer": given if answer is None else answer,
        "note": str(said.get(NOTE, "")),
        "reviewer": str(said.get(REVIEWER) or _name(newest.get("completed_by"))),
        "stated_at": newest.get("updated_at") or newest.get("created_at"),
    }


def _label(answer: object, given: object) -> str:
    return KEEP.code if answer == given else RELABEL.code


def _when(annotation: Mapping[str, Any]) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _read_results(annotation: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each control; the answer's may be called otherwise."""
    results = annotation.get("result")
    for one in results if isinstance(results, list) else ():
        value = one.get("value") if isinstance(one, dict) else None
        if not isinstance(value, dict):
            continue
        name = one.get("from_name")
        is_ours = name in (DECISION, NOTE, REVIEWER)
        if one.get("type") == "choices" and _is_list(value.get("choices")):
            yield (name if is_ours else ANSWER), value["choices"][0]
        elif one.get("type") == "number" and type(value.get("number")) in (int, float):
            yield ANSWER, float(value["number"])
        elif one.get("type") == "textarea" and is_ours:
            text = value.get("text")
            yield name, "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)


def _name(completed_by: object) -> str:
    """Return who made an annotation: a person's address or name; a bare number says nothing."""
    if not isinstance(completed_by, Mapping):
        return ""
    names = [completed_by.get(one) for one in ("first_name", "last_name")]
    full = " ".join(str(name) for name in names if name)
    return str(completed_by.get("email") or full or completed_by.get("username") or "")
