"""Group a project's examples by what they are alike in, from what has been read of them anyway.

Texts by their words, rows by their numbers, pictures by the features of the frozen network that
was used, or by the pixels that a network of ours was trained on. Nothing that takes long is made
for it: where no numbers of the pictures are there, equal contents alone are found, which is said.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from relabel.crossval.registry import Matrix
from relabel.crossval.representations import Representations
from relabel.db.project_rules import Project
from relabel.errors import RunFolderError
from relabel.features.backbones.registry import AUTO, NO_FEATURES
from relabel.features.frozen import FeatureEncoder
from relabel.features.image import ImageEncoder
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import ProjectExamples
from relabel.progress import OnProgress, Progress
from relabel.runs.config import hash_json
from relabel.runs.groups import (
    GROUP_KINDS,
    ExampleGroups,
    GroupSummary,
    read_groups,
    write_groups,
)
from relabel.runs.held_out import read_summary
from relabel.text import SPLITS
from relabel.triage.likeness import Alike, Numbers, find_alike, find_same
from tracin_core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from relabel.fitting.network import TrainedNetwork

VERSION = 1  # raised where other groups would come out
STAGE = "grouping what is alike"
# From which cosine on two contents are nearly the same. Of texts one word of ten may be another. Of
# pictures by standardised features (EfficientNet-Lite0) a photograph that was compressed more
# strongly had 0.85, a mirrored one 0.80, and half of all pairs less than 0; scans of digits that
# look alike to a person have 0.95 by their pixels.
NEAR_WORDS, NEAR_FEATURES, NEAR_PIXELS = 0.8, 0.8, 0.95
# Rows: up to which root mean square difference, in standard deviations of each column.
NEAR_NUMBERS = 0.02
# Standard deviations beyond which a number is as far away as can be, so that one slipped decimal
# point is not all that the clusters know.
FARTHEST = 5.0
NOTHING_READ = (
    "Only equal pictures could be found: no features of a frozen network have been made of them. "
    "Train with --features auto, and score again."
)


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """How examples are compared."""

    name: str  # identifies the numbers
    title: str
    threshold: str
    least_cosine: float | None = None
    most_distance: float = 0.0


def group_examples(
    folder: Path,
    target: Path,
    project: Project,
    examples: ProjectExamples,
    network: TrainedNetwork,
    *,
    base: Path | None,
    on_progress: OnProgress,
) -> ExampleGroups:
    """Put the groups of a project's examples into a run's folder, and return them.

    They do not depend on labels, so those of an earlier run of the same contents are taken.

    Args:
        folder: The project's.
        target: The run's, with its cross-validation.
        project: The project.
        examples: Both splits.
        network: What was scored, with its encoder.
        base: An earlier run's folder.
        on_progress: Told about every block.

    Raises:
        InputError: If an example cannot be read.
        WorkspaceError: If an image is missing.
    """
    reading, representations = _choose_reading(
        folder, target, project, examples, network, on_progress
    )
    digest = hash_json(
        {
            "version": VERSION,
            "reads": None if reading is None else reading.name,
            "contents": [examples.splits[split].content_hash for split in SPLITS],
        }
    )
    for known in (target, base):
        found = None if known is None else read_groups(known)
        if found is not None and found.summary.digest == digest:
            if known != target:
                write_groups(target, found)
            return found
    began = time.perf_counter()
    same = find_same(np.concatenate([examples.splits[split].content_digests for split in SPLITS]))
    alike = Alike(np.zeros_like(same), np.zeros_like(same), (NOTHING_READ,))
    if reading is not None:
        alike = _find(reading, representations, project, same, on_progress)
    groups = _split(
        {"same": same, "near": alike.near, "cluster": alike.clusters},
        GroupSummary(
            digest=digest,
            reads="" if reading is None else reading.title,
            threshold="" if reading is None else reading.threshold,
            counts={str(split): count for split, count in examples.counts.items()},
            notes=alike.notes,
            seconds=round(time.perf_counter() - began, 1),
        ),
    )
    write_groups(target, groups)
    return groups


def _choose_reading(
    folder: Path,
    target: Path,
    project: Project,
    examples: ProjectExamples,
    network: TrainedNetwork,
    on_progress: OnProgress,
) -> tuple[_Reading | None, Representations]:
    """Return how the examples are compared; None where that would have to be computed first."""
    features = _recall_features(target, network)
    options = WorkOptions(features=features or AUTO)
    representations = Representations(folder, project, examples, options, on_progress)
    if project.kind == "text":
        cosine = f"cosine of their words, weighed by rareness, from {NEAR_WORDS:g} on"
        return (
            _Reading(name="words", title="words", threshold=cosine, least_cosine=NEAR_WORDS),
            representations,
        )
    if project.kind == "table":
        distance = f"columns that differ by {NEAR_NUMBERS:g} standard deviations at most"
        return _Reading(name="numbers", title="numbers", threshold=distance), representations
    if features == "" and (
        representations.is_by_pixels() or isinstance(network.encoder, ImageEncoder)
    ):
        cosine = f"cosine of their pixels from {NEAR_PIXELS:g} on"
        return (
            _Reading(name="pixels", title="pixels", threshold=cosine, least_cosine=NEAR_PIXELS),
            representations,
        )
    if features and representations.has_features():
        cosine = f"cosine of their features ({features}) from {NEAR_FEATURES:g} on"
        return (
            _Reading(
                name=f"features {features}",
                title=f"features of {features}",
                threshold=cosine,
                least_cosine=NEAR_FEATURES,
            ),
            representations,
        )
    return None, representations


def _recall_features(target: Path, network: TrainedNetwork) -> str:
    """Return the frozen network whose features were made of the examples; "" for none."""
    if isinstance(network.encoder, FeatureEncoder):
        return network.encoder.backbone
    try:
        summary = read_summary(target)
    except RunFolderError:  # which is told wherever it is used
        return ""
    return "" if summary is None or summary.features == NO_FEATURES else summary.features


def _find(
    reading: _Reading,
    representations: Representations,
    project: Project,
    same: Numbers,
    on_progress: OnProgress,
) -> Alike:
    def tell(done: int, total: int) -> None:
        on_progress(Progress(STAGE, done, total))

    on_progress(Progress(STAGE, 0, len(same)))
    try:
        rows, blank, most_distance = _read(reading, representations)
    except (ConfigurationError, InputError) as error:
        # The scores are there; groups are an offer beside them.
        return Alike(
            np.zeros_like(same),
            np.zeros_like(same),
            (f"Only equal contents could be found. {error}",),
        )
    return find_alike(
        rows,
        same,
        blank,
        least_cosine=reading.least_cosine,
        most_distance=most_distance,
        on_done=tell,
    )


def _read(
    reading: _Reading, representations: Representations
) -> tuple[Matrix, npt.NDArray[np.bool_], float]:
    if reading.name == "words":
        return representations.read("words"), representations.find_blank("words"), 0.0
    if reading.name == "numbers":
        rows = _Near(representations.read("numbers"), standardise=True)
        return rows, np.zeros(rows.shape[0], dtype=bool), NEAR_NUMBERS * rows.shape[1] ** 0.5
    if reading.name == "pixels":
        rows = _Near(representations.read_pixels(), standardise=False)
        return rows, np.zeros(rows.shape[0], dtype=bool), 0.0
    found = representations.read("features")
    return found, np.zeros(found.shape[0], dtype=bool), 0.0


class _Near:
    """Dense rows without what all have in common, of length one or cut where they are far."""

    def __init__(self, rows: Any, *, standardise: bool) -> None:
        self._rows, self._standardise = rows, standardise
        self.shape = rows.shape
        sample = np.unique(np.linspace(0, self.shape[0] - 1, 10_000, dtype=np.int64))
        chosen = np.asarray(rows[sample], dtype=np.float64)
        self._mean = chosen.mean(axis=0).astype(np.float32)

    def __getitem__(self, chosen: Any) -> npt.NDArray[np.float32]:
        rows: npt.NDArray[np.float32] = self._rows[np.asarray(chosen)] - self._mean
        if self._standardise:
            return np.clip(rows, -FARTHEST, FARTHEST)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows


def _split(numbers: Mapping[str, Numbers], summary: GroupSummary) -> ExampleGroups:
    cut = summary.counts[SPLITS[0]]
    return ExampleGroups(
        summary,
        {
            kind: dict(zip(SPLITS, np.split(numbers[kind], [cut]), strict=True))
            for kind in GROUP_KINDS
        },
    )
