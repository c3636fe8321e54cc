"""A project's examples as data sets for a network: from the cache, or made as they are read.

`SplitSource` is what scoring reads, a batch at a time, from memory or from wherever examples are.
Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from relabel.features.datasets import StoredDataset
from relabel.features.encoding import (
    Encoder,
    StoredRows,
    drop_caches,
    name_cache,
    open_cache,
    read_examples,
    write_cache,
)
from relabel.features.frozen import FeatureEncoder
from relabel.fitting.stored import ProjectExamples, SplitExamples
from relabel.fitting.user_inputs import OwnExamples, StoredInputs, open_own_caches
from relabel.models.user.inputs import OwnEncoder
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import TargetScale
from relabel.runs.folder import Digests
from relabel.text import Split
from tracin_core.gradients.nested import map_tensors

Datasets = Mapping[Split, "StoredDataset | OnDemandDataset | OwnExamples"]


def open_datasets(
    folder: Path,
    encoder: Encoder | OwnEncoder,
    examples: ProjectExamples,
    *,
    scale: TargetScale | None = None,
    without_excluded: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Datasets:
    """Open a project's examples, encoding those that are not in the cache.

    Caches of other data are deleted; those of other encoders stay for the networks they are of.

    Args:
        folder: The project's.
        encoder: What makes the inputs. What a person's own transform makes is kept as
            `relabel.fitting.user_inputs` says.
        examples: Both splits.
        scale: Of the targets, for regression.
        without_excluded: Whether to leave out what people have excluded.
        on_progress: Told how many examples are encoded.

    Raises:
        InputError: If an example cannot be read; the message says at which position.
        WorkspaceError: If an image is missing.
    """
    if isinstance(encoder, OwnEncoder):
        kept = open_own_caches(folder / "encoded", encoder, examples, on_progress)
        return open_own_examples(encoder, examples, without_excluded=without_excluded, stored=kept)
    rows = open_stored_rows(folder, encoder, examples, on_progress)
    datasets = {}
    for split, part in examples.splits.items():
        chosen = _choose(part, without_excluded)
        datasets[split] = StoredDataset(
            rows[split],
            make_targets(part, scale),
            encoder,
            digest=_digest(_name_inputs(encoder, part), part, chosen),
            chosen=chosen,
        )
    return datasets


def open_stored_rows(
    folder: Path,
    encoder: Encoder,
    examples: ProjectExamples,
    on_progress: OnProgress = ignore_progress,
) -> dict[Split, StoredRows]:
    """Open what an encoder stores of a project's examples, encoding what is not in the cache.

    Args:
        folder: The project's.
        encoder: What makes the stored rows; what it does to them afterwards changes nothing.
        examples: Both splits.
        on_progress: Told how many examples are encoded.

    Returns:
        Of each split a read-only memory map of N rows.

    Raises:
        InputError: If an example cannot be read; the message says at which position.
        WorkspaceError: If an image is missing.
    """
    paths = _name_caches(folder, encoder, examples)
    contents = (_name_contents(part) for part in examples.splits.values())
    drop_caches(folder / "encoded", of_contents=contents)
    report = _EncodingReport(encoder, sum(examples.counts.values()), on_progress)
    rows: dict[Split, StoredRows] = {}
    for split, part in examples.splits.items():
        stored = open_cache(paths[split], encoder, len(part))
        if stored is None:
            write_cache(paths[split], encoder, part.contents_from, len(part), report)
            stored = open_cache(paths[split], encoder, len(part))
        if stored is None:
            raise OSError(f"{paths[split]} was written and is not whole")
        report.finish_split(len(part))
        rows[split] = stored
    return rows


def has_stored_rows(folder: Path, encoder: Encoder, examples: ProjectExamples) -> bool:
    """Return whether what an encoder stores of a project's examples is in the cache."""
    paths = _name_caches(folder, encoder, examples)
    return all(
        open_cache(paths[split], encoder, len(part)) is not None
        for split, part in examples.splits.items()
    )


def _name_caches(folder: Path, encoder: Encoder, examples: ProjectExamples) -> dict[Split, Path]:
    return {
        split: folder / "encoded" / name_cache(encoder, _name_contents(part))
        for split, part in examples.splits.items()
    }


def _name_inputs(encoder: Encoder, part: SplitExamples) -> str:
    """Return what stands for the inputs of a split, beyond the rows that are stored of them."""
    made_from = json.dumps([_name_contents(part), encoder.to_json()], sort_keys=True)
    return hashlib.blake2b(made_from.encode(), digest_size=12).hexdigest()


def _name_contents(part: SplitExamples) -> str:
    return f"{part.split} {part.content_hash}"


def read_on_demand(
    folder: Path,
    encoder: Encoder | OwnEncoder,
    examples: ProjectExamples,
    scale: TargetScale | None = None,
) -> Datasets:
    """Return both splits such that examples are encoded whenever they are asked for.

    Args:
        folder: The project's; what lies encoded there is read, and nothing is written.
        encoder: What makes the inputs.
        examples: Both splits.
        scale: Of the targets, for regression.
    """
    if isinstance(encoder, OwnEncoder):
        return open_own_examples(encoder, examples)
    paths = _name_caches(folder, encoder, examples)
    datasets: dict[Split, StoredDataset | OnDemandDataset] = {}
    for split, part in examples.splits.items():
        stored = open_cache(paths[split], encoder, len(part))
        digest = _digest(_name_inputs(encoder, part), part, None)
        datasets[split] = (
            OnDemandDataset(encoder, part, scale)
            if stored is None
            else StoredDataset(stored, make_targets(part, scale), encoder, digest=digest)
        )
    return datasets


def open_own_examples(
    encoder: OwnEncoder,
    examples: ProjectExamples,
    *,
    without_excluded: bool = False,
    stored: Mapping[Split, StoredInputs] = MappingProxyType({}),
) -> dict[Split, OwnExamples]:
    """Return both splits as a person's own network takes them.

    Args:
        encoder: What makes the inputs.
        examples: Both splits.
        without_excluded: Whether to leave out what people have excluded.
        stored: What is kept of each split; without it inputs are made whenever they are read.
    """
    opened = {}
    for split, part in examples.splits.items():
        chosen = _choose(part, without_excluded)
        digest = _digest(str(encoder.to_json()), part, chosen)
        opened[split] = OwnExamples(
            encoder,
            part.reader,
            part.targets,
            digest=digest,
            chosen=chosen,
            stored=stored.get(split),
        )
    return opened


class OnDemandDataset:
    """Examples that are read and encoded whenever they are asked for.

    Attributes:
        targets: As ``StoredDataset`` has them.
        digest: Stands for inputs and targets.
    """

    def __init__(
        self,
        encoder: Encoder,
        examples: SplitExamples,
        scale: TargetScale | None = None,
    ) -> None:
        """Wrap a split."""
        self._encoder = encoder
        self._examples = examples
        self.targets = make_targets(examples, scale)
        self.digest = _digest(str(encoder.to_json()), examples, None)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        inputs, targets = self.read_batch(torch.tensor([index]))
        return map_tensors(lambda tensor: tensor[0], inputs), targets[0]

    def read_batch(self, indices: Tensor) -> tuple[Any, Tensor]:
        """Return the inputs and targets of several positions, shapes ``(B, ...)`` and ``(B,)``."""
        wanted = indices.numpy()
        ascending, places = np.unique(wanted, return_inverse=True)
        contents = list(self._examples.reader.read(ascending.tolist()))
        stored = read_examples(self._encoder, contents, ascending.tolist())
        inputs = self._encoder.to_inputs(torch.from_numpy(stored[places]))
        return inputs, self.targets[indices]


def make_targets(examples: SplitExamples, scale: TargetScale | None) -> Tensor:
    """Return what a network is trained on: class indices, or standardised numbers, ``(N,)``."""
    if scale is None:
        return torch.from_numpy(examples.targets)
    return torch.from_numpy((examples.targets - scale.mean) / scale.std).to(torch.float32)


def _choose(examples: SplitExamples, without_excluded: bool) -> npt.NDArray[np.intp] | None:
    if not without_excluded or not examples.excluded.any():
        return None
    return np.flatnonzero(~examples.excluded)


def _digest(name: str, examples: SplitExamples, chosen: npt.NDArray[np.intp] | None) -> str:
    digest = hashlib.blake2b(name.encode(), digest_size=16)
    digest.update(examples.digests.tobytes())
    digest.update(b"all" if chosen is None else chosen.tobytes())
    return digest.hexdigest()


# Seconds from which on people are told beforehand how long the features of a project take.
WORTH_SAYING = 20.0


class _EncodingReport:
    """Tells how many examples of both splits are encoded, and how long slow encoders take."""

    def __init__(self, encoder: Encoder, total: int, on_progress: OnProgress) -> None:
        is_slow = isinstance(encoder, FeatureEncoder)
        self._stage = None if is_slow else "encoding the examples"
        self._total, self._before = total, 0
        self._on_progress = on_progress
        self._begun: tuple[float, int] | None = None

    def __call__(self, done: int) -> None:
        done += self._before
        if self._stage is None:
            self._stage = self._name_slow_stage(done)
        if self._stage is not None:
            self._on_progress(Progress(self._stage, done, self._total))

    def finish_split(self, count: int) -> None:
        """Take note that all examples of a split are there."""
        self._before += count

    def _name_slow_stage(self, done: int) -> str | None:
        """Return what is being done with its cost, which the first batch tells."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, done)
            return None
        begun, before = self._begun
        left = (now - begun) / (done - before) * (self._total - done)
        stage = "computing the features"
        return stage if left < WORTH_SAYING else f"{stage}, about {describe_seconds(left)}"


def describe_seconds(seconds: float) -> str:
    """Return a length of time as people say it, rounded."""
    for unit, length in (("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 1.5 * length:
            return f"{round(seconds / length)} {unit}s"
    return f"{round(seconds, -1):.0f} seconds"


class ExampleSource(Protocol):
    """N examples that are read a batch at a time, from memory or from wherever they are."""

    def __len__(self) -> int: ...

    def read_batch(self, indices: Tensor) -> tuple[Any, Tensor]:
        """Return inputs (tensors with B rows, or a tuple or dict of them) and targets ``(B,)``."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitSource:
    """One split and what is known about its examples.

    Attributes:
        split: "train" or "test".
        examples: Inputs and labels by position.
        digests: Of each example's target and content, shape ``(N, 16)``.
    """

    split: Split
    examples: ExampleSource
    digests: Digests


def list_sources(examples: ProjectExamples, datasets: Datasets) -> list[SplitSource]:
    """Return both splits as scoring reads them."""
    return [
        SplitSource(split=split, examples=datasets[split], digests=part.digests)
        for split, part in examples.splits.items()
    ]


def read_in_batches(
    examples: ExampleSource, positions: npt.NDArray[np.intp], batch_size: int
) -> DataLoader[Any]:
    """Return what reads some positions of a source in whole batches, in order."""
    rows = _Rows(examples, positions)
    return DataLoader(rows, batch_size=batch_size, collate_fn=_as_it_is)


class _Rows(Dataset[tuple[Any, Tensor]]):
    """Some positions of a source as a data set of their own, read in whole batches."""

    def __init__(self, examples: ExampleSource, positions: npt.NDArray[np.intp]) -> None:
        self._examples = examples
        self._positions = torch.from_numpy(positions)
        self._targets: list[Tensor] = []

    @property
    def targets(self) -> Tensor:
        """Return the targets of all positions, which have been read in order."""
        # The first batch is read twice, to see what it holds.
        return torch.cat(self._targets)[-len(self._positions) :]

    def __len__(self) -> int:
        return len(self._positions)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, Tensor]:
        inputs, targets = self._examples.read_batch(self._positions[torch.as_tensor(indices)])
        self._targets.append(targets)
        return inputs, targets


def _as_it_is(batch: Any) -> Any:
    """Return what ``__getitems__`` read: a batch already, not a list to collate."""
    return batch
