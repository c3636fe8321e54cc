"""The folder of a run: where each file lies, and readers that say what is wrong with it.

Arrays are float32, opened as memory maps and never unpickled. Of class probabilities all are
stored, or of many classes the largest. A digest of every example is kept, by which a later run
tells which have changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from relabel.errors import RunFolderError, StoreError
from relabel.files import write_array
from relabel.runs.config import NewerSchemaError, RunConfig
from relabel.runs.signals import (
    Signals,
    check_rows,
    read_all_signals,
    read_example_signals,
    read_score_names,
    write_signals,
)
from relabel.stores.released import locate_file
from relabel.text import SPLITS, Layers, Split
from relabel.workspace import find_program_name
from tracin_core.errors import ConfigurationError
from tracin_core.files import HEADER_ERRORS, atomic_file, naming, write_text


def create_array(path: Path, shape: tuple[int, int]) -> None:
    """Create a float32 ``.npy`` file of zeros with its place on the disk taken.

    Raises:
        OSError: If there is no room for it, before any work has gone into it.
    """
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        size = file.tell() + 4 * shape[0] * shape[1]
        file.truncate(size)
        if sys.platform == "linux":  # macOS takes the place when rows are written
            os.posix_fallocate(file.fileno(), 0, size)


def write_rows(path: Path, start: int, rows: npt.NDArray[np.float32]) -> None:
    """Write consecutive rows of an array that ``create_array`` made; they are on disk after it.

    Written, not mapped: pages of a memory map would count as the process's memory.

    Args:
        path: The ``.npy`` file.
        start: Row to begin with.
        rows: Shape ``(B, D)``.

    Raises:
        ValueError: If they do not fit into the array.
    """
    rows = np.ascontiguousarray(rows, dtype="<f4")
    with naming(path), path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if shape[1:] != rows.shape[1:] or start + len(rows) > shape[0] or dtype != rows.dtype:
            raise ValueError(f"{rows.shape} rows at {start} do not fit into {dtype} {shape}")
        file.seek(4 * start * shape[1], os.SEEK_CUR)
        file.write(rows.data)
        file.flush()
        os.fsync(file.fileno())


def open_array(path: Path, shape: tuple[int, int | None]) -> npt.NDArray[np.float32]:
    """Open a matrix as a read-only memory map.

    Args:
        path: The ``.npy`` file.
        shape: Rows and columns it must have; ``None`` for any number of columns.

    Raises:
        ValueError: If it is truncated, no array, or of another shape or type.
        OSError: If it cannot be read.
    """
    # There is no memory map of nothing.
    mode: Literal["r"] | None = "r" if shape[0] else None
    try:
        array: npt.NDArray[np.float32] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except HEADER_ERRORS as error:
        raise ValueError(f"its header cannot be read: {type(error).__name__}") from error
    columns = array.shape[-1] if shape[1] is None else shape[1]
    if array.shape != (shape[0], columns) or array.dtype != np.float32:
        raise ValueError(
            f"found {array.dtype} of shape {array.shape}, expected float32 {(shape[0], columns)}"
        )
    return array


Floats = npt.NDArray[np.float32]

# Up to so many classes all probabilities are stored, 1 KB an example. With 10,000 classes it
# would be 40 KB, 2.4 GB for 60,000 examples, of which a person sees a handful.
STORED_CLASSES = 256
# Of more classes, so many probabilities are stored, each with its class.
LARGEST_STORED = 64


def count_columns(num_classes: int) -> int:
    """Return the numbers that are stored for an example."""
    return num_classes if num_classes <= STORED_CLASSES else 2 * LARGEST_STORED


def pack_probabilities(probabilities: Floats) -> Floats:
    """Return probabilities as they are stored.

    Args:
        probabilities: Of all classes, shape ``(B, K)``.

    Returns:
        The same; or of many classes the largest ones in falling order and after them their
        classes, as numbers that single precision holds exactly, shape ``(B, 128)``.
    """
    if probabilities.shape[1] <= STORED_CLASSES:
        return probabilities
    classes = np.argpartition(-probabilities, LARGEST_STORED, axis=1)[:, :LARGEST_STORED]
    largest = np.take_along_axis(probabilities, classes, axis=1)
    order = np.argsort(-largest, axis=1, kind="stable")
    parts = [np.take_along_axis(values, order, axis=1) for values in (largest, classes)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def unpack_probabilities(stored: Floats, num_classes: int) -> Floats:
    """Return an example's class probabilities, shape ``(K,)``.

    Of many classes, all but the largest ones are zero; together they are what is missing to 1.

    Raises:
        ValueError: If a stored class is none of theirs.
    """
    if num_classes <= STORED_CLASSES:
        return np.array(stored)
    classes = stored[LARGEST_STORED:]
    if not ((classes >= 0) & (classes < num_classes)).all():
        raise ValueError(f"found classes outside 0 to {num_classes - 1}")
    probabilities = np.zeros(num_classes, dtype=np.float32)
    probabilities[classes.astype(np.int64)] = stored[:LARGEST_STORED]
    return probabilities


def find_largest(stored: npt.NDArray[np.float32], num_classes: int) -> Floats:
    """Return each example's largest probability, shape ``(N,)``."""
    if num_classes > STORED_CLASSES:
        return np.array(stored[:, 0])
    largest: Floats = np.array(stored).max(axis=1, initial=0.0)
    return largest


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
        """Return the folder of the saved weights."""
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

    def score_vectors_path(self, layers: Layers) -> Path:
        """Return the array of the test examples' vectors of the score of the predicted class."""
        return self.root / f"score-vectors-{layers}-test.npy"

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

    def score_vectors(self, layers: Layers) -> npt.NDArray[np.float32] | None:
        """Open the test examples' vectors of the score of the predicted class.

        Their dot products with the train examples' vectors are influences on that score.

        Returns:
            A read-only memory map of shape ``(M, D)``; None where they have not been computed.

        Raises:
            RunFolderError: If the run was scored without these layers, or the file is damaged.
        """
        path = self.score_vectors_path(layers)
        if not path.exists():
            return None
        shape = self.vectors(layers, "test").shape
        return self._read(path, lambda path: open_array(path, shape))

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
            return reader(locate_file(path, self.root))
        except StoreError as error:
            raise RunFolderError(str(error)) from error
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
            f"Score the project again with `{find_program_name()} score {slug}`; "
            "no decision is lost by that."
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


# 128 bits: two different examples among a billion agree with odds below 1e-20.
DIGEST_BYTES = 16
# An image's bytes, a text, or a table's row by column.
Content = bytes | str | Mapping[str, float | str | None]
Digests = npt.NDArray[np.uint8]


def digest_example(target: float, content: Content) -> bytes:
    """Return 16 bytes that stand for an example's target (label or number) and content."""
    head = f"{type(content).__name__} {target}\n".encode()
    return hashlib.blake2b(head + _as_bytes(content), digest_size=DIGEST_BYTES).digest()


def digest_content(content: Content) -> bytes:
    """Return 16 bytes that stand for an example's content alone."""
    return hashlib.blake2b(_as_bytes(content), digest_size=DIGEST_BYTES).digest()


def _as_bytes(content: Content) -> bytes:
    if isinstance(content, bytes):
        return content
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def stack_digests(digests: Iterable[bytes]) -> Digests:
    """Return digests as an array, shape ``(N, 16)``."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def write_digests(path: Path, digests: Digests) -> None:
    """Write the digests of a split by position, shape ``(N, 16)``."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        write_array(file, np.ascontiguousarray(digests, dtype=np.uint8))


def read_digests(path: Path, num_examples: int) -> Digests | None:
    """Read the digests of a split; None where there are none to rely on."""
    try:
        digests: Digests = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError, *HEADER_ERRORS):
        return None
    sound = digests.shape == (num_examples, DIGEST_BYTES) and digests.dtype == np.uint8
    return digests if sound else None
