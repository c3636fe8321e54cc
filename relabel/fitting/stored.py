"""The examples of a project as jobs read them: what is small in memory, contents one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, func, select

from relabel.db.decisions.kinds import list_states
from relabel.db.engine import reading
from relabel.db.project_rules import Project
from relabel.db.schema import (
    ExampleRow,
    effective,
    label_of_example,
    status_of_example,
    value_of_example,
)
from relabel.errors import WorkspaceError
from relabel.features.records import Content
from relabel.fitting.options import LabelChoice
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import hash_json
from relabel.runs.folder import Digests, digest_content, digest_example, stack_digests
from relabel.text import SPLITS, Split

# Examples that are read from the database at a time.
CHUNK = 1000


@dataclass(frozen=True, eq=False)
class ContentReader:
    """Reads what the examples of a split are: an image's bytes, a text, a table's row.

    Attributes:
        engine: The database.
        project_id: The project.
        split: "train" or "test".
        media_folder: What media paths are relative to.
    """

    engine: Engine
    project_id: int
    split: Split
    media_folder: Path

    def read(self, positions: Iterable[int]) -> Iterator[Content]:
        """Yield the contents at some positions, in ascending order of the positions.

        Raises:
            WorkspaceError: If an image is missing or cannot be read.
        """
        columns = (ExampleRow.text, ExampleRow.media_path, ExampleRow.fields)
        for row in self.rows(positions, *columns):
            yield self.open(row)

    def rows(self, positions: Iterable[int], *columns: Any) -> Iterator[Any]:
        """Yield some columns of the examples at some positions, in ascending order."""
        wanted = np.unique(np.fromiter(positions, dtype=np.int64))
        for start in range(0, len(wanted), CHUNK):
            part = wanted[start : start + CHUNK].tolist()
            query = (
                select(ExampleRow.position, *columns)
                .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
                .where(
                    ExampleRow.project_id == self.project_id,
                    ExampleRow.split == self.split,
                    ExampleRow.position.between(part[0], part[-1])
                    if part[-1] - part[0] < len(part)
                    else ExampleRow.position.in_(part),
                )
                .order_by(ExampleRow.position)
            )
            with reading(self.engine) as connection:
                found = connection.execute(query).all()
            if [row.position for row in found] != part:
                raise WorkspaceError(
                    f"The {self.split} split lacks the example at position "
                    f"{sorted(set(part) - {row.position for row in found})[0]}; expected "
                    "positions without gaps. Import the data again."
                )
            yield from found

    def open(self, row: Any) -> Content:
        """Return the content of an example from its row in the database."""
        if row.text is not None:
            return str(row.text)
        if row.fields is not None:
            return dict(row.fields)
        return _read_media(self.media_folder, row.media_path)


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitExamples:
    """One split of a project.

    Attributes:
        split: "train" or "test".
        targets: Class indices, int64, or for regression numbers in their own unit, float64; by
            position, shape ``(N,)``.
        excluded: Which examples a person has taken out, shape ``(N,)``.
        digests: Of each example's target and content, shape ``(N, 16)``.
        content_digests: Of each example's content alone, shape ``(N, 16)``.
        content_hash: Digest of all contents in order.
        key_hash: Digest of all keys in order.
        reader: Reads contents again.
    """

    split: Split
    targets: npt.NDArray[Any]
    excluded: npt.NDArray[np.bool_]
    digests: Digests
    content_digests: Digests
    content_hash: str
    key_hash: str
    reader: ContentReader

    def __len__(self) -> int:
        return len(self.targets)

    def contents(self, at_most: int | None = None) -> Iterator[Content]:
        """Yield the contents by position, of all examples or of a sample spread over them."""
        step = 1 if at_most is None else max(len(self) // at_most, 1)
        return self.reader.read(range(0, len(self), step))

    def contents_from(self, position: int) -> Iterator[Content]:
        """Yield the contents by position, from a position on."""
        return self.reader.read(range(position, len(self)))


@dataclass(frozen=True, kw_only=True, eq=False)
class ProjectExamples:
    """Both splits of a project.

    Attributes:
        splits: The examples.
        data_hash: Digest of the classes and of every example's place, key, target and content.
    """

    splits: Mapping[Split, SplitExamples]
    data_hash: str

    @property
    def counts(self) -> dict[Split, int]:
        """Return the number of examples of each split."""
        return {split: len(examples) for split, examples in self.splits.items()}


def read_project(
    engine: Engine,
    project: Project,
    media_folder: Path,
    labels: LabelChoice = "given",
    on_progress: OnProgress = ignore_progress,
) -> ProjectExamples:
    """Read a project's examples, one content after the other.

    Args:
        engine: The database.
        project: The project.
        media_folder: What media paths are relative to.
        labels: The data's, or those in force after the decisions.
        on_progress: Told about every chunk.

    Raises:
        WorkspaceError: If an image is missing or cannot be read.
    """
    counts = count_examples(engine, project.id)
    total = sum(counts.values())
    splits: dict[Split, SplitExamples] = {}
    for split in SPLITS:
        reader = ContentReader(engine, project.id, split, media_folder)
        before = sum(len(examples) for examples in splits.values())
        splits[split] = _read_split(
            reader,
            counts[split],
            labels,
            project.task == "regression",
            lambda done, before=before: on_progress(
                Progress("reading the examples", before + done, total)
            ),
        )
    made_of = {
        split: [examples.key_hash, hashlib.sha256(examples.digests.tobytes()).hexdigest()]
        for split, examples in splits.items()
    }
    data_hash = hash_json({"classes": list(project.classes), "splits": made_of})
    return ProjectExamples(splits=splits, data_hash=data_hash)


def count_examples(engine: Engine, project_id: int) -> dict[Split, int]:
    """Return a project's examples per split."""
    with reading(engine) as connection:
        return {
            split: connection.scalar(
                select(func.count())
                .select_from(ExampleRow)
                .where(ExampleRow.project_id == project_id, ExampleRow.split == split)
            )
            or 0
            for split in SPLITS
        }


def _read_split(
    reader: ContentReader, count: int, labels: LabelChoice, is_regression: bool, on_read: Any
) -> SplitExamples:
    targets = np.zeros(count, dtype=np.float64 if is_regression else np.int64)
    excluded = np.zeros(count, dtype=np.bool_)
    digests: list[bytes] = []
    of_contents: list[bytes] = []
    keys, contents = hashlib.sha256(), hashlib.sha256()
    given = ExampleRow.given_value if is_regression else ExampleRow.given_label
    current = value_of_example if is_regression else label_of_example
    columns = (
        ExampleRow.key,
        ExampleRow.text,
        ExampleRow.media_path,
        ExampleRow.fields,
        (given if labels == "given" else current).label("target"),
        status_of_example.label("status"),
    )
    excluding = list_states("exclude")
    for row in reader.rows(range(count), *columns):
        content = reader.open(row)
        target = float(row.target) if is_regression else int(row.target)
        targets[row.position] = target
        excluded[row.position] = labels == "current" and row.status in excluding
        digests.append(digest_example(target, content))
        of_contents.append(digest_content(content))
        contents.update(of_contents[-1])
        keys.update(f"{len(row.key)} {row.key}".encode())
        if len(digests) % CHUNK == 0 or len(digests) == count:
            on_read(len(digests))
    return SplitExamples(
        split=reader.split,
        targets=targets,
        excluded=excluded,
        digests=stack_digests(digests),
        content_digests=stack_digests(of_contents),
        content_hash=contents.hexdigest(),
        key_hash=keys.hexdigest(),
        reader=reader,
    )


def hash_examples(classes: Sequence[str], examples: Iterable[tuple[Any, ...]]) -> str:
    """Return a digest of classes and of examples that are no project yet.

    Args:
        classes: Their names.
        examples: Key, split, position, label and content of each.
    """
    digest = hashlib.sha256(repr(tuple(classes)).encode())
    for *head, label, content in examples:
        digest.update(repr(head).encode() + digest_example(label, content))
    return digest.hexdigest()


def _read_media(folder: Path, media_path: str | None) -> bytes:
    path = folder / (media_path or "")
    try:
        return path.read_bytes()
    except OSError as error:
        raise WorkspaceError(
            f"The image {path} cannot be read: {error.strerror}. Put it back from a backup, or "
            "mend its permissions."
        ) from error
