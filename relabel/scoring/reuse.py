"""Rows of an earlier run that a new one takes over, where their examples are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel.runs.folder import Digests, RunFolder, read_digests
from relabel.runs.shards import Shard
from relabel.runs.signals import read_signals_between
from relabel.text import SPLITS, Layers, Split


@dataclass(frozen=True, eq=False)
class ReusableRun:
    """A sound run that differs from a new one in its data only.

    Attributes:
        folder: Its files.
        key: Its name.
        num_checkpoints: C.
        layers: Whose vectors it has.
        digests: Of its examples by split, shape ``(N, 16)``.
    """

    folder: RunFolder
    key: str
    num_checkpoints: int
    layers: tuple[Layers, ...]
    digests: Mapping[Split, Digests]

    def find_changed(self, split: Split, start: int, digests: Digests) -> npt.NDArray[np.intp]:
        """Return the positions from ``start`` on whose example is another one in this run.

        Args:
            split: Which examples.
            start: Position of the first.
            digests: Of the examples as they are now, shape ``(B, 16)``. Where the run does not
                have as many, all are returned.
        """
        known = self.digests[split][start : start + len(digests)]
        if known.shape != digests.shape:
            return np.arange(start, start + len(digests))
        return start + np.flatnonzero((known != digests).any(axis=1))

    def read_shard(self, split: Split, start: int, stop: int) -> Shard:
        """Read what is stored about the positions ``start`` to ``stop - 1``.

        Raises:
            RunFolderError: If a file is missing or damaged.
        """
        return Shard(
            signals=read_signals_between(
                self.folder.signals_path(split), start, stop, self.num_checkpoints
            ),
            probabilities=np.array(self.folder.probabilities(split)[start:stop]),
            vectors={
                layers: np.array(self.folder.vectors(layers, split)[start:stop])
                for layers in self.layers
            },
        )


def find_reusable(folder: RunFolder, scoring_hash: str) -> ReusableRun | None:
    """Return a run whose rows may be reused, or None where they may not.

    Args:
        folder: The earlier run.
        scoring_hash: Digest of everything but the data that decides the numbers: checkpoints,
            network, encoder, rates, layers, projection, scoring version.
    """
    if list(folder.find_problems()):
        return None
    config = folder.read_config()
    digests = {
        split: read_digests(folder.digests_path(split), config.counts[split]) for split in SPLITS
    }
    known = {split: found for split, found in digests.items() if found is not None}
    if config.scoring_hash != scoring_hash or len(known) < len(SPLITS):
        return None
    return ReusableRun(folder, config.key, len(config.checkpoints), config.scored_layers, known)
