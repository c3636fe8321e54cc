"""What becomes of each example, and what a project has already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tracin_core.examples.records import KEY_BYTES
from tracin_core.sources.problems import ProblemLog

OTHER_CLASS = -1  # a true class that the project does not have
UNKNOWN_TRUTH = -2
NO_DIGEST = bytes(KEY_BYTES)  # of a content that is not known


def _read_no_keys(known: Sequence[int]) -> list[str]:
    return []


@dataclass(frozen=True, eq=False)
class Known:
    """The examples that a project has already.

    Attributes:
        classes: Of the project.
        digests: Of the keys, shape ``(M,)``.
        labels, values: As the data had them when they were imported, before planted errors.
        has_test: Whether some are for testing.
        content_digests: Of the contents where the keys are given ones, ``NO_DIGEST`` where not
            known, shape ``(M,)``; None where the keys are made of the contents.
        read_keys: Returns the keys of some of them, by their places in the arrays.
    """

    classes: tuple[str, ...]
    digests: npt.NDArray[np.void]
    labels: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    has_test: bool
    content_digests: npt.NDArray[np.void] | None = None
    read_keys: Callable[[Sequence[int]], list[str]] = _read_no_keys


@dataclass(eq=False)
class Plan:
    """What becomes of each example, by the order of reading.

    Attributes:
        classes: Of the project, new ones after the known.
        classes_added: Those that are new in a project that exists.
        kept: Which examples are imported, shape ``(N,)``.
        splits: 0 train, 1 test, shape ``(N,)``.
        labels, values: As they will stand in the project, planted errors included.
        data_labels: As the data has them, shape ``(N,)``.
        true_labels: Class indices, ``OTHER_CLASS`` or ``UNKNOWN_TRUTH``, shape ``(N,)``.
        true_values: NaN where not known, shape ``(N,)``.
        ways: How an example was made wrong, indices into ``planting.WAYS``, shape ``(N,)``.
        duplicates: Examples left out because the same one came before.
        repeats: Numbers of the rows of the first of them, and of those they are the same as, where
            the contents are compared.
        num_known: Examples that the project has already.
        problems: Duplicates, conflicts and changes.
        notes: What a person should know.
    """

    classes: tuple[str, ...]
    classes_added: tuple[str, ...]
    kept: npt.NDArray[np.bool_]
    splits: npt.NDArray[np.int8]
    labels: npt.NDArray[np.int32]
    data_labels: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    true_labels: npt.NDArray[np.int32]
    true_values: npt.NDArray[np.float64]
    ways: npt.NDArray[np.int8]
    duplicates: int = 0
    repeats: Sequence[tuple[int, int]] = ()
    num_known: int = 0
    problems: ProblemLog = field(default_factory=ProblemLog)
    notes: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return the examples that are imported by split."""
        kept = self.splits[self.kept]
        return {"train": int((kept == 0).sum()), "test": int((kept == 1).sum())}
