"""Growing a project: the options of its first import, and the examples it has already."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from relabel.db.bulk import StoredAnswer, read_keys_of, stream_answers
from relabel.db.project_rules import Project
from relabel.features.records import KEY_BYTES, content_key
from relabel.importers.classes import NO_DIGEST, KnownData
from relabel.importers.ingest.truth import read_planted
from relabel.importers.options import ImportOptions
from relabel.importers.records import Source, fields_key
from relabel.importers.scan import hash_key
from relabel.workspace import Workspace
from tracin_core.errors import InputError

# What must stay the same for examples to be of one kind. A split or a truth may be missing in
# the new data, an encoding or an image folder may be another, so those are not remembered.
_REMEMBERED = (
    *("dataset", "columns", "text", "image", "label", "target", "features", "key", "classes"),
    *("first_class", "merge_twins", "test_share", "seed"),
)
_ROLES = ("text", "image", "features", "label", "target")
_PICTURE_NAME = re.compile(rf"/([0-9a-f]{{2}})/([0-9a-f]{{{2 * KEY_BYTES - 2}}})\.[a-z]+$")
_DEFAULTS = {field.name: field.default for field in fields(ImportOptions)}


def recall_options(project: Project, options: ImportOptions) -> ImportOptions:
    """Fill in what was found out or said when the project was made.

    Raises:
        InputError: If the project was not made by an import, or its examples are named by
            another column than is asked for.
    """
    if not can_grow(project):
        raise InputError(
            f"The project {project.slug!r} was not made by an import, so no data can be added to "
            "it. Choose another name for the new project."
        )
    known = project.settings["options"]
    if options.key is not None and options.key != known.get("key"):
        raise InputError(
            f"The examples of {project.slug!r} are named by "
            + (f"the column {known['key']!r}" if known.get("key") else "their content")
            + f", not by {options.key!r}: none of them would be recognised. Leave --key out, or "
            "import into a new project."
        )
    remembered = _remember(known)
    if any(getattr(options, role) not in (None, getattr(remembered, role)) for role in _ROLES):
        remembered = replace(
            remembered, text=None, image=None, features=None, label=None, target=None
        )
    given = {k: v for k, v in vars(options).items() if v != _DEFAULTS[k]}
    return replace(remembered, **given)


def can_grow(project: Project) -> bool:
    """Return whether data can be added: only what was imported says how more of it is read."""
    return isinstance(project.settings.get("options"), Mapping)


def _remember(known: Mapping[str, Any]) -> ImportOptions:
    """Return what is used again of a project's first import."""
    remembered = {name: known[name] for name in _REMEMBERED if name in known}
    if "classes" in remembered:
        # Before it was found out, labels were always counted from 0.
        remembered.setdefault("first_class", 0)
    return ImportOptions.from_json(remembered)


def describe_other_texts(project: Project, options: ImportOptions) -> str:
    """Describe that texts have more or fewer columns than a project's; "" where they have not.

    Then none of the examples that are there would be recognised by its content.
    """
    before = _remember(project.settings["options"]).text_columns if can_grow(project) else ()
    now = options.text_columns
    if not before or not now or len(before) == len(now):
        return ""
    return (
        f"The texts of {project.slug!r} are made of {_list_columns(before)}, those of this data of "
        f"{_list_columns(now)}. Choose the same to have known examples recognised."
    )


def _list_columns(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names))
    return f"the column {listed}" if len(names) == 1 else f"the columns {listed}"


def check_same_kind(project: Project, source: Source) -> None:
    """Check that the new data is what the project's examples are.

    Raises:
        InputError: If it is of another kind, another task or has other columns.
    """
    if (source.kind, source.task) != (project.kind, project.task):
        raise InputError(
            f"The project {project.slug!r} holds {project.kind} examples for {project.task}, the "
            f"data {source.kind} examples for {source.task}. Expected the same. Name the columns "
            "as before, or import into a new project."
        )
    before = {column["name"]: column["kind"] for column in project.settings.get("columns", ())}
    now = {column["name"]: column["kind"] for column in describe_columns(source)}
    if before != now:
        odd = sorted(
            {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        )
        raise InputError(
            f"The columns of the data differ from those of {project.slug!r}: "
            f"{', '.join(map(repr, odd[:10]))}. Expected the same columns with the same kind of "
            "values. Correct the data, or import into a new project."
        )


def describe_columns(source: Source) -> list[dict[str, Any]]:
    """Return the input columns of a table as a project's settings keep them."""
    columns: list[dict[str, Any]] = []
    for column in source.columns:
        if column.role == "feature" and source.kind == "table":
            kind = "number" if column.kind == "number" else "category"
            axis = {column.axis: True} if column.axis else {}
            columns.append({"name": column.name, "kind": kind, **axis})
    return columns


def read_known(engine: Engine, workspace: Workspace, project: Project) -> KnownData:
    """Read what is needed to recognise a project's examples: 52 bytes of each at most."""
    planted = read_planted(workspace.truth_path(project.slug))
    has_keys = project.settings.get("options", {}).get("key") is not None
    digests, contents = bytearray(), bytearray()
    ids, labels, values = array("q"), array("i"), array("d")
    has_test = False
    for stored in stream_answers(engine, project.id, with_content=has_keys):
        true_label, true_value = planted.get(stored.key, (None, None))
        ids.append(stored.id)
        digests += hash_key(stored.key)
        if has_keys:
            contents += _digest_content(stored)
        labels.append(stored.label if true_label is None else true_label)
        number = stored.value if true_value is None else true_value
        values.append(float("nan") if number is None else number)
        has_test = has_test or stored.split == "test"
    return KnownData(
        classes=project.classes,
        digests=_as_digests(digests),
        labels=np.frombuffer(labels, dtype=np.int32),
        values=np.frombuffer(values, dtype=np.float64),
        has_test=has_test,
        content_digests=_as_digests(contents) if has_keys else None,
        read_keys=lambda places: read_keys_of(engine, [ids[place] for place in places]),
    )


def _digest_content(stored: StoredAnswer) -> bytes:
    """Return the digest that the same content has in data which is read now."""
    if stored.text is not None:
        return hash_key(content_key(stored.text))
    if stored.fields is not None:
        return hash_key(fields_key(stored.fields))
    # A picture's file is named by its content: "import-0001/ab/cdef....png".
    name = _PICTURE_NAME.search(stored.media_path or "")
    return hash_key(name[1] + name[2]) if name else NO_DIGEST


def _as_digests(data: bytearray) -> npt.NDArray[np.void]:
    return np.frombuffer(bytes(data), dtype=f"V{KEY_BYTES}")
