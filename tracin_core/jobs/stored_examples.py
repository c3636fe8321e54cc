"""The examples of a project as jobs read them: records with their contents, by position."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine

from tracin_core.errors import WorkspaceError
from tracin_core.reviews.examples import find_by_positions
from tracin_core.runs.digests import Digests, digest_example, stack_digests
from tracin_core.terms import Split


@dataclass(frozen=True, kw_only=True)
class StoredExample:
    """One example with what a network is to see of it.

    Attributes:
        key: Stable name within the project.
        split: "train" or "test".
        position: 0-based index within the split.
        given_label: Class index that the data claims, or that a person has decided on.
        content: An image file's bytes, or a text.
        media_path: Where the image lies, relative to the project's media folder.
    """

    key: str
    split: Split
    position: int
    given_label: int
    content: bytes | str
    media_path: str | None = None


def read_examples(
    engine: Engine,
    project_id: int,
    media_folder: Path,
    counts: Mapping[str, int],
    labels: Literal["given", "current"] = "given",
) -> list[StoredExample]:
    """Read a project's examples from the database and its media folder.

    Args:
        engine: The database.
        project_id: The project.
        media_folder: What media paths are relative to.
        counts: Examples per split.
        labels: The data's, or those in force after the decisions.

    Raises:
        NotFoundError: If the database lacks one.
        WorkspaceError: If an image is missing or cannot be read.
    """
    examples = []
    for split in ("train", "test"):
        for view in find_by_positions(engine, project_id, None, split, range(counts[split])):
            content = view.text
            examples.append(
                StoredExample(
                    key=view.key,
                    split=split,
                    position=view.position,
                    given_label=view.given_label if labels == "given" else view.current_label,
                    content=_read_media(media_folder, view.media_path)
                    if content is None
                    else content,
                    media_path=view.media_path,
                )
            )
    return examples


def of_split(examples: Iterable[StoredExample], split: Split) -> list[StoredExample]:
    """Return the examples of one split, by position."""
    return sorted(
        (example for example in examples if example.split == split),
        key=lambda example: example.position,
    )


def hash_examples(classes: Sequence[str], examples: Iterable[StoredExample]) -> str:
    """Return a digest of the classes and of every example's place, label and content."""
    digest = hashlib.sha256(repr(tuple(classes)).encode())
    for split in ("train", "test"):
        for example in of_split(examples, split):
            content = example.content
            data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
            head = (example.key, split, example.position, example.given_label, len(data))
            digest.update(repr(head).encode())
            digest.update(data)
    return digest.hexdigest()


def digest_examples(examples: Iterable[StoredExample]) -> Digests:
    """Return a digest of each example's label and content, in order, shape ``(N, 16)``."""
    return stack_digests(
        digest_example(example.given_label, example.content) for example in examples
    )


def _read_media(folder: Path, media_path: str | None) -> bytes:
    path = folder / (media_path or "")
    try:
        return path.read_bytes()
    except OSError as error:
        raise WorkspaceError(
            f"The image {path} cannot be read: {error.strerror}. Put it back from a backup, or "
            "mend its permissions."
        ) from error
