"""One run's folder: where each file lies, and readers that say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tracin_core.errors import ConfigurationError, RunFolderError
from tracin_core.files import write_text
from tracin_core.runs.arrays import open_array
from tracin_core.runs.config import NewerSchemaError, RunConfig
from tracin_core.runs.probabilities import count_columns, find_largest, unpack_probabilities
from tracin_core.runs.signals import (
    Signals,
    check_rows,
    read_all_signals,
    read_example_signals,
    read_score_names,
    write_signals,
)
from tracin_core.terms import SPLITS, Layers, Split

_T = TypeVar("_T")
# What NumPy, Arrow and JSON raise for files that are cut off, changed, or something else.
_DAMAGED = (
    *(pa.ArrowException, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(RecursionError, MemoryError, OverflowError),
)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, read without torch.

    Attributes:
        root: ``projects/<slug>/runs/<run key>``.
    """

    root: Path

    @property
    def config_path(self) -> Path:
        """``run.json``."""
        return self.root / "run.json"

    @property
    def checkpoints_folder(self) -> Path:
        """The folder of the saved weights."""
        return self.root / "checkpoints"

    def signals_path(self, split: Split) -> Path:
        """Return the Parquet file of one split's signals."""
        return self.root / f"signals-{split}.parquet"

    def probabilities_path(self, split: Split) -> Path:
        """Return the array of one split's class probabilities."""
        return self.root / f"probabilities-{split}.npy"

    def vectors_path(self, layers: Layers, split: Split) -> Path:
        """Return the array of one split's gradient vectors."""
        return self.root / f"vectors-{layers}-{split}.npy"

    def index_path(self, layers: Layers) -> Path:
        """Return the folder of the index over the train vectors."""
        return self.root / f"index-{layers}"

    def digests_path(self, split: Split) -> Path:
        """Return the array of one split's digests, by which a later run finds what changed."""
        return self.root / f"digests-{split}.npy"

    # Writing

    def write_config(self, config: RunConfig) -> None:
        """Write ``run.json``."""
        write_text(self.config_path, config.to_json())

    def write_signals(self, split: Split, signals: Signals) -> None:
        """Write one split's signals, arrays of shape ``(C, N)``."""
        write_signals(self.signals_path(split), signals)

    # Reading

    def read_config(self) -> RunConfig:
        """Read how the run was made.

        Raises:
            RunFolderError: If ``run.json`` is missing, corrupt or from a newer program.
        """
        try:
            return self._read(
                self.config_path, lambda path: RunConfig.from_json(path.read_text("utf-8"))
            )
        except NewerSchemaError as error:
            raise RunFolderError(
                f"The run in {self.root} was made by a newer version of this program. {error} "
                "Update the program, or score the project again with this version."
            ) from error
        except ConfigurationError as error:
            raise self._broken(self.config_path, str(error)) from error

    def read_signals(self, split: Split, position: int) -> Signals:
        """Read one example's signals per checkpoint, arrays of shape ``(C,)``.

        Raises:
            RunFolderError: If the run has no such example, or the file is missing or corrupt.
        """
        config = self.read_config()
        self._check_position(config, split, position)
        path, num_checkpoints = self._sound_signals(config, split), len(config.checkpoints)
        return self._read(path, lambda path: read_example_signals(path, position, num_checkpoints))

    def read_all_signals(self, split: Split) -> Signals:
        """Read one split's signals, arrays of shape ``(C, N)``.

        Raises:
            RunFolderError: If the file is missing or corrupt.
        """
        config = self.read_config()
        path = self._sound_signals(config, split)
        return self._read(path, lambda path: read_all_signals(path, len(config.checkpoints)))

    def list_scores(self, split: Split) -> tuple[str, ...]:
        """Return the names of the attribution method's scores of a split.

        Raises:
            RunFolderError: If the file is missing or corrupt.
        """
        return self._read(self.signals_path(split), read_score_names)

    def read_probabilities(self, split: Split, position: int) -> npt.NDArray[np.float32]:
        """Read one example's class probabilities at the last checkpoint, shape ``(K,)``.

        Of more than 256 classes only the largest are known, the others are zero. For
        regression there are none, ``K`` is 0.

        Raises:
            RunFolderError: If the run has no such example, or the file is missing or corrupt.
        """
        config = self.read_config()
        self._check_position(config, split, position)
        stored = self._open_probabilities(config, split)[position]
        path = self.probabilities_path(split)
        return self._read(path, lambda _: unpack_probabilities(stored, len(config.classes)))

    def probabilities(self, split: Split) -> npt.NDArray[np.float32]:
        """Open one split's class probabilities as they are stored, a read-only memory map.

        Their shape is ``(N, K)``, for more than 256 classes that of ``pack_probabilities``.

        Raises:
            RunFolderError: If the file is missing, truncated or of the wrong shape.
        """
        return self._open_probabilities(self.read_config(), split)

    def largest_probabilities(self, split: Split) -> npt.NDArray[np.float32]:
        """Read the probability of each example's most probable class, shape ``(N,)``.

        Raises:
            RunFolderError: If the file is missing, truncated or of the wrong shape.
        """
        config = self.read_config()
        return find_largest(self._open_probabilities(config, split), len(config.classes))

    def vectors(self, layers: Layers, split: Split) -> npt.NDArray[np.float32]:
        """Open one split's gradient vectors as a read-only memory map, shape ``(N, D)``.

        Raises:
            RunFolderError: If the run was scored without these layers, or the file is missing,
                truncated or of the wrong shape.
        """
        config = self.read_config()
        if layers not in config.scored_layers:
            raise RunFolderError(
                f"The run {config.key} was scored over the last layer alone; expected one over "
                f"{layers} layers. Score the project again with `--layers both`, or look at the "
                "last layer."
            )
        return self._open_vectors(config, layers, split)

    def find_problems(self) -> Iterator[RunFolderError]:
        """Yield what is wrong with the folder, file by file; nothing when it is sound."""
        try:
            config = self.read_config()
        except RunFolderError as error:
            yield error
            return
        for check in self._checks(config):
            try:
                check()
            except RunFolderError as error:
                yield error

    def _checks(self, config: RunConfig) -> Iterator[Callable[[], Any]]:
        for entry in config.checkpoints:
            yield partial(self._check_exists, self.root / entry.file)
        for split in SPLITS:
            yield partial(self._sound_signals, config, split)
            yield partial(self._open_probabilities, config, split)
            for layers in config.scored_layers:
                yield partial(self._open_vectors, config, layers, split)

    def _sound_signals(self, config: RunConfig, split: Split) -> Path:
        num_rows = config.counts[split] * len(config.checkpoints)
        path = self.signals_path(split)
        # Of test examples a method may have no scores.
        scores = config.scores if split == "train" else ()
        self._read(path, lambda path: check_rows(path, num_rows, scores))
        return path

    def _open_probabilities(self, config: RunConfig, split: Split) -> npt.NDArray[np.float32]:
        shape = (config.counts[split], count_columns(len(config.classes)))
        if not shape[0] or not shape[1]:  # no examples or, of a regression, no classes: no file
            return np.zeros(shape, dtype=np.float32)
        return self._read(self.probabilities_path(split), lambda path: open_array(path, shape))

    def _open_vectors(
        self, config: RunConfig, layers: Layers, split: Split
    ) -> npt.NDArray[np.float32]:
        shape = (config.counts[split], None)
        return self._read(self.vectors_path(layers, split), lambda path: open_array(path, shape))

    def _check_exists(self, path: Path) -> None:
        if not path.exists():
            raise self._broken(path, "It is missing.")

    def _check_position(self, config: RunConfig, split: Split, position: int) -> None:
        if not 0 <= position < config.counts[split]:
            raise RunFolderError(
                f"The run {config.key} has no {split} example {position}: it scored "
                f"{config.counts[split]}. Score the project again to include newer examples."
            )

    def _read(self, path: Path, reader: Callable[[Path], _T]) -> _T:
        try:
            return reader(path)
        except FileNotFoundError as error:
            raise self._broken(path, "It is missing.") from error
        except PermissionError as error:
            raise RunFolderError(
                f"The run's file {path} may not be read: {error.strerror}. Mend its permissions."
            ) from error
        except _DAMAGED as error:
            raise self._broken(path, f"It cannot be used: {_first_line(error)}.") from error

    def _broken(self, path: Path, found: str) -> RunFolderError:
        slug = self.root.parent.parent.name
        return RunFolderError(
            f"The run {self.root.name} of project {slug} is damaged: {path}. {found} "
            f"Score the project again with `python -m tracin_core score {slug}`; "
            "no decision is lost by that."
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
