"""The second reading of an import: the examples that are kept go to the disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tracin_core.errors import InputError
from tracin_core.examples.records import content_key
from tracin_core.files import naming
from tracin_core.importing.staging import Staging
from tracin_core.importing.truth import TruthWriter
from tracin_core.reviews.example_rules import LONGEST_PLACE
from tracin_core.sources import Source, SourceRecord
from tracin_core.sources.plan_data import UNKNOWN_TRUTH, Plan
from tracin_core.sources.planting import WAYS
from tracin_core.sources.survey import Survey, hash_key
from tracin_core.sources.values import ascii_escaped
from tracin_core.terms import SPLITS, Split

_REPORTED_EVERY = 256  # examples


def store_examples(
    source: Source,
    survey: Survey,
    plan: Plan,
    staging: Staging,
    *,
    batch: str,
    positions: Mapping[Split, int],
    on_progress: Callable[[int, int], None],
) -> None:
    """Write the kept examples, their pictures and their truth into the staging folder.

    Args:
        source: Read once more.
        survey: What the first reading found.
        plan: What was decided.
        staging: Where everything goes.
        batch: Folder of the pictures below the project's media folder.
        positions: Of the next example of each split.
        on_progress: Told how many examples are done, of how many.

    Raises:
        InputError: If the data has changed since the first reading.
    """
    following = dict(positions)
    total = int(plan.kept.sum())
    done = 0
    truth = TruthWriter(staging.truth) if _has_truth(plan) else None
    try:
        with naming(staging.examples), staging.examples.open("w", encoding="utf-8") as file:
            for number, key, record in _kept_records(source, survey, plan):
                split = SPLITS[plan.splits[number]]
                row = {"key": key, "split": split, "position": following[split]}
                row |= _describe(record, plan, number, staging, batch)
                following[split] += 1
                file.write(json.dumps(row) + "\n")
                if truth is not None:
                    _add_truth(truth, key, plan, number)
                done += 1
                if done % _REPORTED_EVERY == 0:
                    on_progress(done, total)
    finally:
        if truth is not None:
            truth.close()
    on_progress(total, total)


def _kept_records(
    source: Source, survey: Survey, plan: Plan
) -> Iterator[tuple[int, str, SourceRecord]]:
    """Yield the records that are kept, with their numbers in the survey and their keys.

    Records are recognised by their place: an image that was refused the first time is met again.
    """
    number = 0
    last = len(survey)
    for record in source.records(check_pixels=0):
        if not isinstance(record, SourceRecord):
            continue
        if number < last and survey.rows[number] == record.row:
            if plan.kept[number]:
                key = record.key()
                _check_unchanged(record.where, key, survey, number)
                yield number, key, record
            number += 1
    if number < last:
        raise _changed(f"it ended after {number:,} of {last:,} examples")


def _check_unchanged(where: str, key: str, survey: Survey, number: int) -> None:
    if survey.digests[number].tobytes() != hash_key(key):
        raise _changed(f"{where} is no longer the same")


def _changed(found: str) -> InputError:
    return InputError(
        f"The data changed while it was read: {found}. Expected data that nobody writes to. "
        "Nothing was imported; import it again."
    )


def _describe(
    record: SourceRecord, plan: Plan, number: int, staging: Staging, batch: str
) -> dict[str, Any]:
    """Return label and content as ``NewExample`` takes them, the picture written."""
    row: dict[str, Any] = {"source_place": name_place(record)}
    if plan.classes:
        row["given_label"] = int(plan.labels[number])
    else:
        row["given_value"] = float(plan.values[number])
    if record.text is not None:
        row["text"] = record.text
    elif record.fields is not None:
        row["fields"] = record.fields
    elif record.image is not None:
        data, suffix = record.image.to_file()
        digest = content_key(record.image.hashed())
        row["media_path"] = f"{batch}/{staging.store_image(data, digest, suffix)}"
    return row


def name_place(record: SourceRecord) -> str:
    """Return where an example is in the person's data, as both databases can hold it.

    Of a place that is too long the end is kept, which is a file's name or a row's number.
    """
    place = ascii_escaped(record.place or record.where).replace("\0", "\\0")
    return place if len(place) <= LONGEST_PLACE else "…" + place[1 - LONGEST_PLACE :]


def _has_truth(plan: Plan) -> bool:
    known = plan.true_labels != UNKNOWN_TRUTH if plan.classes else ~np.isnan(plan.true_values)
    return bool((known & plan.kept).any())


def _add_truth(truth: TruthWriter, key: str, plan: Plan, number: int) -> None:
    planted = WAYS[plan.ways[number]]
    if plan.classes:
        label = int(plan.true_labels[number])
        if label != UNKNOWN_TRUTH:
            truth.add(key, label=label, planted=planted)
    else:
        value = float(plan.true_values[number])
        if not np.isnan(value):
            truth.add(key, value=value, planted=planted)
