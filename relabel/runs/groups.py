"""Groups of examples that are alike, kept in the run's folder; labels take no part in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.files import write_array
from relabel.text import SPLITS, Split
from tracin_core.files import HEADER_ERRORS, atomic_file, write_text

# What a group has in common, in the order in which it is told: the surest first.
GROUP_KINDS = ("same", "near", "cluster")
GROUPS_FILE, SUMMARY_FILE = "groups.npy", "groups.json"


@dataclass(frozen=True)
class GroupName:
    """One group of a run.

    Attributes:
        kind: One of ``GROUP_KINDS``.
        number: From 1.
    """

    kind: str
    number: int

    def __str__(self) -> str:
        """Return it as it stands in addresses and on the command line, such as ``near-12``."""
        return f"{self.kind}-{self.number}"


def parse_group(word: str) -> GroupName | None:
    """Return the group that a word names; None where it names none."""
    kind, _, number = word.partition("-")
    if kind not in GROUP_KINDS or not re.fullmatch("[1-9][0-9]{0,8}", number):
        return None
    return GroupName(kind, int(number))


@dataclass(frozen=True, kw_only=True)
class GroupSummary:
    """How the groups of a run were made.

    Attributes:
        digest: Of all that decides them.
        reads: By what the examples are compared, in words; "" where nothing but equal contents
            could be found.
        threshold: From what on two are nearly the same, in words.
        counts: Examples of each split.
        notes: What was left out, in sentences.
        seconds: What it took.
    """

    digest: str
    reads: str = ""
    threshold: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class ExampleGroups:
    """The groups of a run's examples.

    Attributes:
        summary: How they were made.
        numbers: Of each kind and split the group's number of every example, 0 for none, ``(N,)``.
    """

    summary: GroupSummary
    numbers: Mapping[str, Mapping[Split, npt.NDArray[np.int32]]]


def write_groups(folder: Path, groups: ExampleGroups) -> None:
    """Write the groups into a run's folder, the summary last."""
    rows = np.stack(
        [np.concatenate([groups.numbers[kind][split] for split in SPLITS]) for kind in GROUP_KINDS],
        axis=1,
    )
    with atomic_file(folder / GROUPS_FILE) as temporary, temporary.open("wb") as file:
        write_array(file, np.ascontiguousarray(rows, dtype=np.int32))
    write_text(folder / SUMMARY_FILE, json.dumps(asdict(groups.summary), indent=2))


def read_groups(folder: Path) -> ExampleGroups | None:
    """Return the groups in a run's folder; None where there are none to rely on.

    They are made anew then: nothing depends on them but the queue's own lists.
    """
    try:
        said = json.loads((folder / SUMMARY_FILE).read_text("utf-8"))
        summary = GroupSummary(**{**said, "notes": tuple(map(str, said["notes"]))})
        counts = [int(summary.counts[split]) for split in SPLITS]
        rows = np.load(folder / GROUPS_FILE, allow_pickle=False)
    except (OSError, EOFError, ValueError, TypeError, KeyError, *HEADER_ERRORS):
        return None
    if (
        rows.shape != (sum(counts), len(GROUP_KINDS))
        or rows.dtype != np.int32
        or rows.min(initial=0) < 0
    ):
        return None
    parts: dict[Split, Any] = dict(zip(SPLITS, np.split(rows, [counts[0]]), strict=True))
    return ExampleGroups(
        summary,
        {
            kind: {split: part[:, column] for split, part in parts.items()}
            for column, kind in enumerate(GROUP_KINDS)
        },
    )
