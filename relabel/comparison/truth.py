"""Which labels of a run are truly wrong, by what the project knows or a file of the person's own.

Free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from relabel.comparison.saved import RIGHT, UNKNOWN, WRONG
from relabel.errors import NotFoundError
from relabel.importers.ingest.truth import read_true_values, read_truth
from tracin_core.errors import InputError

KEY, ANSWER = "key", "true_label"
IN_PROJECT = "the project's known truth"


def find_truth(
    path: Path, classes: Sequence[str], file: Path | None
) -> tuple[Mapping[str, float], str]:
    """Return the truth by example key, and where it is from.

    Args:
        path: Where the project keeps its truth, if it has any.
        classes: Names of the classes; none for regression.
        file: Of the person's own; None for the project's.

    Returns:
        Class indices, -1 for other classes, or numbers; nothing and "" where nothing is known.

    Raises:
        InputError: If the person's file cannot be read.
        WorkspaceError: If the project's is damaged.
    """
    if file is not None:
        return read_truth_file(file, classes), file.name
    try:
        return (read_truth(path) if classes else read_true_values(path)), IN_PROJECT
    except NotFoundError:
        return {}, ""


def mark_wrong(
    truth: Mapping[str, float], keys: Sequence[str], labels: npt.NDArray[Any]
) -> npt.NDArray[np.int8]:
    """Return whether each label is ``WRONG``, ``RIGHT`` or ``UNKNOWN``, shape ``(N,)``.

    Args:
        truth: By example key.
        keys: Of the N examples.
        labels: What they were scored with, shape ``(N,)``.
    """
    wrong = np.full(len(keys), UNKNOWN, dtype=np.int8)
    for position, (key, label) in enumerate(zip(keys, labels.tolist(), strict=True)):
        if key in truth:
            wrong[position] = WRONG if truth[key] != label else RIGHT
    return wrong


def read_truth_file(path: Path, classes: Sequence[str]) -> dict[str, float]:
    """Read a table with the columns ``key`` and ``true_label``, CSV or Parquet.

    Args:
        path: The file; what does not end in ``.parquet`` is read as CSV.
        classes: Names of the classes; none where the answers are numbers.

    Returns:
        By key the class index, -1 for a class that the project does not have, or the number.

    Raises:
        InputError: If it cannot be read, or has not these columns.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path, columns=[KEY, ANSWER])
        else:
            options = pyarrow.csv.ConvertOptions(
                include_columns=[KEY, ANSWER],
                column_types={KEY: pa.string(), ANSWER: pa.string()},
                strings_can_be_null=True,
            )
            table = pyarrow.csv.read_csv(path, convert_options=options)
        keys = table.column(KEY).cast(pa.string()).to_pylist()
        answers = table.column(ANSWER).cast(pa.string()).to_pylist()
        numbers = {name: float(index) for index, name in enumerate(classes)}
        pairs = zip(keys, answers, strict=True)
        known = {key: answer for key, answer in pairs if key is not None and answer is not None}
        if classes:
            return {key: numbers.get(answer, -1.0) for key, answer in known.items()}
        return {key: float(answer) for key, answer in known.items()}
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"The truth cannot be read from {path}: {told}. Expected a CSV or Parquet file with "
            f"the columns {KEY} (as in an export) and {ANSWER} (the name of the right class, or "
            "the right number)."
        ) from error
