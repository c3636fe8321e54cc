"""Tasks of Label Studio: each example with what was decided, and what models suggest.

``describe_interface`` returns the labelling interface that the tasks are for; what is decided there
comes back with ``relabel.returning``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO
from xml.sax.saxutils import quoteattr

from relabel.db.decisions.kinds import DECISION_KINDS, UNDO, list_codes
from relabel.exporters.exported import Exported, Rows
from relabel.exporters.registry import register_exporter

# Names of the controls: the answer, what was decided of it, by whom, and the note.
ANSWER, DECISION, REVIEWER, NOTE = "label", "decision", "reviewer", "note"
# What a task has of an example beside its content.
REFERENCE, VERSION = "ref_id", "version"
_FIRST_USER = 1
# What an attribute of XML cannot hold, in no spelling.
_NOT_IN_XML = dict.fromkeys([*range(0x20), 0xFFFE, 0xFFFF], " ")


def object_name(kind: str) -> str:
    """Return what Label Studio shows of a kind of example: "image" or "text"."""
    return "image" if kind == "image" else "text"


def describe_interface(kind: str, task: str, classes: Sequence[str]) -> str:
    """Return the labelling interface, to be pasted under Settings, Labeling Interface, Code."""
    shown = object_name(kind)
    tag = "Image" if shown == "image" else "Text"
    lines = ["<View>", f'  <{tag} name="{shown}" value="${shown}"/>']
    if task == "regression":
        lines.append(f'  <Number name="{ANSWER}" toName="{shown}"/>')
    else:
        lines += _list_choices(ANSWER, shown, classes)
    codes = [kind.code for kind in DECISION_KINDS if kind != UNDO]
    lines += _list_choices(DECISION, shown, codes)
    lines += [
        f'  <TextArea name="{name}" toName="{shown}" maxSubmissions="1"/>'
        for name in (NOTE, REVIEWER)
    ]
    return "\n".join([*lines, "</View>"])


def _list_choices(name: str, shown: str, values: Sequence[str]) -> Iterator[str]:
    yield f'  <Choices name="{name}" toName="{shown}" choice="single">'
    for value in values:
        yield f"    <Choice value={quoteattr(value.translate(_NOT_IN_XML))}/>"
    yield "  </Choices>"


@register_exporter(
    "label-studio",
    "Label Studio tasks",
    "labelstudio.json",
    mime="application/json",
    order=50,
)
def write_label_studio(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write a JSON array of tasks, one a line."""
    number = 0
    file.write(b"[")
    for chunk in chunks:
        for row in chunk:
            number += 1
            file.write(b",\n" if number > 1 else b"\n")
            file.write(json.dumps(_make_task(exported, row, number), ensure_ascii=False).encode())
    file.write(b"\n]\n")
    if number:
        interface = describe_interface(exported.kind, exported.task, exported.classes)
        exported.tell(f"The labelling interface for Label Studio:\n\n{interface}")


def _make_task(exported: Exported, row: dict[str, Any], number: int) -> dict[str, Any]:
    given = f"given_{exported.answer}"
    content = {name: row[name] for name in exported.content}
    shown = object_name(exported.kind)
    if exported.kind == "image":
        content = {"image": row["media_path"]}
    elif exported.kind == "table":
        content |= {"text": "\n".join(f"{name}: {value}" for name, value in content.items())}
    ours = {
        REFERENCE: row["key"],
        given: row[given],
        "split": row["split"],
        VERSION: row["version"],
        "source_place": row["source_place"],
    }
    task = {"id": number, "data": content | ours, "annotations": [], "predictions": []}
    if row["action"] is not None:
        task["annotations"] = [_make_annotation(exported, row, shown)]
    suggested = row.get(f"suggested_{exported.answer}")
    if suggested is not None:
        score = row.get("suggested_probability")
        task["predictions"] = [
            {"model_version": "unseen", "result": [_answer(exported, suggested, shown, row["key"])]}
            | ({} if score is None else {"score": score})
        ]
    return task


def _make_annotation(exported: Exported, row: dict[str, Any], shown: str) -> dict[str, Any]:
    key = row["key"]
    result = [
        _answer(exported, row[exported.answer], shown, key),
        _choose(DECISION, row["action"], shown, key),
    ]
    result += [
        {
            "id": f"{key}-{name}",
            "from_name": name,
            "to_name": shown,
            "type": "textarea",
            "value": {"text": [row[name]]},
        }
        for name in (NOTE, REVIEWER)
        if row[name]
    ]
    return {
        "completed_by": _FIRST_USER,
        "was_cancelled": row["action"] in list_codes("defer"),
        "ground_truth": False,
        "created_at": row["decided_at"],
        "result": result,
    }


def _choose(name: str, value: str, shown: str, key: str) -> dict[str, Any]:
    return {
        "id": f"{key}-{name}",
        "from_name": name,
        "to_name": shown,
        "type": "choices",
        "value": {"choices": [value]},
    }


def _answer(exported: Exported, value: Any, shown: str, key: str) -> dict[str, Any]:
    if exported.task != "regression":
        return _choose(ANSWER, value, shown, key)
    return {
        "id": f"{key}-{ANSWER}",
        "from_name": ANSWER,
        "to_name": shown,
        "type": "number",
        "value": {"number": value},
    }
