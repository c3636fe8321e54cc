"""What models said about examples that they had not seen, kept in the run's folder.

Each example's probabilities come from models that were fitted to other examples: the
out-of-fold predictions of a cross-validation, several kinds of models put together. A network
that was trained on an example has seen its label, right or wrong, and may have learned it by
heart; these cannot have. Read without torch.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.errors import RunFolderError
from relabel.files import write_array
from relabel.runs.folder import (
    LARGEST_STORED,
    STORED_CLASSES,
    Floats,
    RunFolder,
    count_columns,
    open_array,
    pack_probabilities,
    unpack_probabilities,
)
from relabel.text import Split
from tracin_core.files import HEADER_ERRORS, atomic_file, write_text

SUMMARY_FILE, PREDICTIONS_FILE = "held_out.json", "held_out.npy"
# What the nearest examples alone say; not there where no candidate asks neighbours.
NEIGHBOURS_FILE = "held_out_neighbours.npy"
# The same as the predictions, of the test examples, which were asked about as well.
TEST_FILE = "held_out_test.npy"
# Why nobody could be asked; not there where somebody was, or where a person wanted it so.
REASON_FILE = "held_out_reason.txt"
_FILES = (PREDICTIONS_FILE, NEIGHBOURS_FILE, TEST_FILE, SUMMARY_FILE)
# Below it a probability is no more than rounding, and its logarithm no more than noise.
LEAST_PROBABILITY = 1e-6
_CHECKED_ROWS = 10_000  # at a time
# Part of a regression's examples by which it is measured, and a variance that counts as none.
_MEASURED, _LEAST_VARIANCE = 0.98, 1e-12


@dataclass(frozen=True, kw_only=True)
class CandidateResult:
    """How well one kind of model told the given labels of examples that it had not seen.

    Attributes:
        name: Of the kind of model.
        title: For people.
        agreement: Share of the train examples whose given label was predicted, 0 to 1; for
            regression the share of the targets' variance that was explained, at most 1.
        loss: Mean negative logarithm of the given label's probability, in nats; for regression
            the mean squared error of standardised targets.
        seconds: What its fits took.
        weight: Its part in what is put together, 0 to 1; all add up to 1.
        network: Name of the built-in network that is the same kind of model; empty for none.
    """

    name: str
    title: str
    agreement: float
    loss: float
    seconds: float
    weight: float = 0.0
    network: str = ""


@dataclass(frozen=True, kw_only=True)
class HeldOutSummary:
    """What is to be said about a cross-validation.

    Attributes:
        candidates: The kinds of models, the one that agreed most first.
        agreement: Of all put together, as ``CandidateResult`` has it.
        test_error: Share of the test examples whose label all together did not predict, once
            they were calibrated by them; for regression the squared median of the absolute
            residuals, in the target's own unit. None where there are too few test examples.
        folds: Parts that the examples of both splits were cut into.
        repeats: Times that they were cut, each time otherwise.
        num_examples: Train examples, N.
        num_test: Test examples whose labels were learned from, too.
        network: Name of the network that agreed most; empty where none was a candidate.
        features: Name of the frozen network whose features were used; empty for none.
        notes: What a person should know about it, in sentences.
        seconds: What all of it took.
        digest: Of everything that decides the numbers.
    """

    candidates: tuple[CandidateResult, ...]
    agreement: float
    folds: int
    repeats: int
    num_examples: int
    num_test: int = 0
    test_error: float | None = None
    network: str = ""
    features: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` makes an equal summary of."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HeldOutSummary:
        """Return the summary that ``to_json`` described; what this version lacks is left out.

        Raises:
            LookupError, TypeError, ValueError: If it is none.
        """
        known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        named = {one.name for one in fields(CandidateResult)}
        known["candidates"] = tuple(
            CandidateResult(**{name: value for name, value in one.items() if name in named})
            for one in values["candidates"]
        )
        known["notes"] = tuple(map(str, values.get("notes", ())))
        return cls(**known)


@dataclass(frozen=True)
class HeldOutOpinion:
    """What models that have not seen an example say of its label.

    Attributes:
        label: The most probable class, by its index.
        probability: Its probability, 0 to 1.
        runner_up: The second most probable class; None where there is only one.
        runner_up_probability: Its probability.
        given_probability: Probability of the given label.
    """

    label: int
    probability: float
    runner_up: int | None
    runner_up_probability: float
    given_probability: float


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The predictions of a cross-validation, by position in the train split.

    Attributes:
        summary: What is said about it.
        stored: Probabilities as ``pack_probabilities`` has them; for regression predicted numbers
            in the target's own unit, shape ``(N, 1)``.
        num_classes: K; 0 for regression.
    """

    summary: HeldOutSummary
    stored: Floats
    num_classes: int

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Return the predicted numbers of a regression, shape ``(N,)``."""
        values: npt.NDArray[np.float64] = np.asarray(self.stored[:, 0], dtype=np.float64)
        return values

    def value(self, position: int) -> float:
        """Return the predicted number of one train example of a regression.

        Raises:
            IndexError: If it has no such example.
            ValueError: If what is stored of it is damaged.
        """
        value = float(self.stored[position, 0])
        if not math.isfinite(value):
            raise ValueError(f"found for example {position} what is no number")
        return value

    def probabilities(self, position: int) -> Floats:
        """Return one train example's class probabilities, shape ``(K,)``.

        Raises:
            IndexError: If it has no such example.
            ValueError: If what is stored of it is damaged.
        """
        probabilities = unpack_probabilities(self.stored[position], self.num_classes)
        if not np.isfinite(probabilities).all():
            raise ValueError(f"found for example {position} probabilities that are no numbers")
        return probabilities

    def margins(self, given: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Return how much more probable another label is than the given one.

        Args:
            given: Class indices, shape ``(N,)``.

        Returns:
            ``ln max(p of another label) - ln p(given)``, in nats, shape ``(N,)``; positive where
            another label is more probable.
        """
        of_given, of_others, _ = self._compare(given)
        return _log(of_others) - _log(of_given)

    def labels(self, given: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the most probable class of every example, shape ``(N,)``.

        Args:
            given: Class indices, shape ``(N,)``; one as probable as any other is the answer.
        """
        of_given, of_others, others = self._compare(given)
        return np.where(of_others > of_given, others, given).astype(np.int64)

    def likeliest_others(self, given: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the most probable class beside the given one, shape ``(N,)``."""
        return self._compare(given)[2]

    def _compare(
        self, given: npt.NDArray[np.integer]
    ) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """Return probabilities of the given label and of the likeliest other one, and that one."""
        rows = np.arange(len(given))
        if self.num_classes <= STORED_CLASSES:
            probabilities = np.array(self.stored)
            of_given = probabilities[rows, given].copy()
            probabilities[rows, given] = -1.0
            others = probabilities.argmax(axis=1)
            return of_given, probabilities[rows, others], others.astype(np.int64)
        values = np.array(self.stored[:, :LARGEST_STORED])
        classes = np.asarray(self.stored[:, LARGEST_STORED:], dtype=np.int64)
        is_given = classes == np.asarray(given)[:, None]
        of_given = np.where(is_given, values, 0.0).sum(axis=1, dtype=np.float32)
        # Where all that is stored is the same, what is not stored is, too: nothing is known.
        of_given = np.where(values[:, 0] == values[:, -1], values[:, 0], of_given)
        values[is_given] = -1.0
        places = values.argmax(axis=1)
        return of_given, values[rows, places], classes[rows, places]

    def opinion(self, position: int, given: int) -> HeldOutOpinion:
        """Return what is said of one train example's label.

        Args:
            position: In the train split.
            given: Its label as a class index.

        Raises:
            IndexError: If it has no such example.
            ValueError: If what is stored of it is damaged.
        """
        probabilities = self.probabilities(position)
        stored = self.stored[position]
        is_known = given < self.num_classes
        if (
            is_known
            and self.num_classes > STORED_CLASSES
            and stored[0] == stored[LARGEST_STORED - 1]
        ):
            probabilities[given] = stored[0]
        order = np.argsort(-probabilities, kind="stable")[:2].tolist()
        # Of two that are as probable the given one is no other label.
        if is_known and given != order[0] and probabilities[given] >= probabilities[order[0]]:
            order = [given, order[0]]
        second = order[1] if len(order) > 1 else None
        return HeldOutOpinion(
            label=order[0],
            probability=float(probabilities[order[0]]),
            runner_up=second,
            runner_up_probability=0.0 if second is None else float(probabilities[second]),
            # A class that came to the project after the run is none that these models know.
            given_probability=float(probabilities[given]) if is_known else 0.0,
        )


def _log(probabilities: Floats) -> npt.NDArray[np.float64]:
    logs: npt.NDArray[np.float64] = np.log(
        np.maximum(probabilities.astype(np.float64), LEAST_PROBABILITY)
    )
    return logs


def write_held_out(
    folder: Path,
    summary: HeldOutSummary,
    predictions: npt.NDArray[np.floating],
    neighbours: npt.NDArray[np.floating] | None = None,
    of_test: npt.NDArray[np.floating] | None = None,
) -> None:
    """Write a cross-validation; its summary comes last, so that it is there whole or not at all.

    Args:
        folder: Where.
        summary: What is said about it.
        predictions: Probabilities of all classes, shape ``(N, K)``; for regression predicted
            numbers, shape ``(N,)``.
        neighbours: What the nearest examples alone say, in the same shape.
        of_test: What is said of the test examples, shape ``(M, K)`` or ``(M,)``.
    """
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    parts = {PREDICTIONS_FILE: predictions, NEIGHBOURS_FILE: neighbours, TEST_FILE: of_test}
    for name, found in parts.items():
        if found is None or not len(found):
            continue
        values = found.astype(np.float32)
        stored = values[:, None] if values.ndim == 1 else pack_probabilities(values)
        with atomic_file(folder / name) as temporary, temporary.open("wb") as file:
            write_array(file, stored)
    text = json.dumps(summary.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / SUMMARY_FILE, text + "\n")


def copy_held_out(source: Path, target: Path) -> HeldOutSummary | None:
    """Put a cross-validation of one folder into another, too.

    The files are linked where the disk can, because none of them is ever written to.

    Returns:
        Its summary, or None where there is none to copy.
    """
    summary = read_summary(source)
    if summary is None or source == target:
        return summary
    drop_held_out(target)
    for name in _FILES:
        if not (source / name).exists():
            continue
        try:
            os.link(source / name, target / name)
        except OSError:  # a file system without hard links
            with atomic_file(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
    return summary


def drop_held_out(folder: Path) -> None:
    """Delete a folder's cross-validation, or why there is none."""
    for name in (SUMMARY_FILE, *_FILES, REASON_FILE):
        (folder / name).unlink(missing_ok=True)


def write_reason(folder: Path, reason: str) -> None:
    """Write why nobody could be asked, in the place of a cross-validation."""
    drop_held_out(folder)
    write_text(folder / REASON_FILE, reason + "\n")


def read_reason(folder: Path) -> str:
    """Return why nobody could be asked; empty where somebody was, or nobody was to be."""
    try:
        return (folder / REASON_FILE).read_text("utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def read_summary(folder: Path) -> HeldOutSummary | None:
    """Return what is said about the cross-validation in a folder; None where there is none.

    Raises:
        RunFolderError: If its file is damaged.
    """
    path = folder / SUMMARY_FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        return HeldOutSummary.from_json(json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path, error) from error


def open_held_out(folder: Path, num_examples: int, num_classes: int) -> HeldOut | None:
    """Open the cross-validation in a folder; None where there is none, or of other examples.

    Args:
        folder: A run's, or where it was computed.
        num_examples: Train examples N.
        num_classes: K; 0 for regression.

    Raises:
        RunFolderError: If a file is damaged.
    """
    summary = read_summary(folder)
    if summary is None or summary.num_examples != num_examples:
        return None
    return _open(folder / PREDICTIONS_FILE, summary, num_classes)


def open_held_out_test(folder: Path, num_examples: int, num_classes: int) -> HeldOut | None:
    """Open what models say of test examples that they have not seen; None where none were asked.

    Args:
        folder: A run's, or where it was computed.
        num_examples: Test examples M.
        num_classes: K; 0 for regression.

    Raises:
        RunFolderError: If a file is damaged, or of other examples.
    """
    summary, path = read_summary(folder), folder / TEST_FILE
    if summary is None or not path.exists():
        return None
    return _open(path, summary, num_classes, num_examples)


def is_whole(folder: Path, num_examples: int, num_classes: int) -> bool:
    """Return whether a folder has a cross-validation of these examples that can be read."""
    try:
        return open_held_out(folder, num_examples, num_classes) is not None
    except RunFolderError:
        return False


def open_of_run(folder: RunFolder, split: Split = "train") -> HeldOut | None:
    """Open the cross-validation of a run; None where it has none, or one of other examples.

    Args:
        folder: The run's.
        split: Of the examples that were asked about.

    Raises:
        RunFolderError: If one of its files or ``run.json`` is damaged.
    """
    config = folder.read_config()
    if split == "test":
        return open_held_out_test(folder.root, config.counts["test"], len(config.classes))
    return open_held_out(folder.root, config.counts["train"], len(config.classes))


def find_problems(folder: RunFolder) -> Iterator[RunFolderError]:
    """Yield what is wrong with a run's folder and its cross-validation, file by file."""
    yield from folder.find_problems()
    try:
        folder.read_config()
    except RunFolderError:
        return  # has been told
    try:
        held_out = open_of_run(folder)
        if held_out is not None:
            _check_numbers(folder.root / PREDICTIONS_FILE, held_out)
            neighbours = open_neighbours(folder.root, held_out)
            if neighbours is not None:
                _check_numbers(folder.root / NEIGHBOURS_FILE, neighbours)
        of_test = open_of_run(folder, "test")
        if of_test is not None:
            _check_numbers(folder.root / TEST_FILE, of_test)
    except RunFolderError as error:
        yield error


def _check_numbers(path: Path, held_out: HeldOut) -> None:
    for start in range(0, len(held_out), _CHECKED_ROWS):
        if not np.isfinite(held_out.stored[start : start + _CHECKED_ROWS]).all():
            raise _broken(path, ValueError("it holds what is no number"))


def list_files(folder: Path) -> list[Path]:
    """Return where the files of a cross-validation lie, whether they are there or not."""
    return [folder / name for name in _FILES]


def recall_summary(config: Mapping[str, Any]) -> HeldOutSummary | None:
    """Return the summary that the database keeps with a run; None where there is none to read.

    Args:
        config: The run's, as the database has it.
    """
    try:
        return HeldOutSummary.from_json(config["held_out"])
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def measure_agreement(predicted: npt.NDArray[Any], given: npt.NDArray[Any]) -> float:
    """Return how well predictions agree with what was given.

    Args:
        predicted: Class indices, or numbers, shape ``(N,)``.
        given: The same of the data.

    Returns:
        The share of equal labels, 0 to 1; of numbers the share of their variance that is
        explained, at most 1, without the worst 2%: one slipped decimal point would be all there
        is.
    """
    if np.issubdtype(given.dtype, np.integer):
        return float((predicted == given).mean()) if len(given) else 0.0
    squares = np.sort((given - predicted) ** 2)
    kept = squares[: max(1, math.ceil(_MEASURED * len(squares)))]
    spread = np.sort((given - np.median(given)) ** 2)[: len(kept)]
    return 1.0 - float(kept.mean() / max(float(spread.mean()), _LEAST_VARIANCE))


def open_neighbours(folder: Path, held_out: HeldOut) -> HeldOut | None:
    """Open what the nearest examples alone say; None where no candidate asked neighbours.

    Args:
        folder: Of the cross-validation.
        held_out: As ``open_held_out`` gave it.

    Raises:
        RunFolderError: If the file is damaged.
    """
    path = folder / NEIGHBOURS_FILE
    return _open(path, held_out.summary, held_out.num_classes) if path.exists() else None


def _open(
    path: Path, summary: HeldOutSummary, num_classes: int, num_examples: int | None = None
) -> HeldOut:
    try:
        rows = summary.num_examples if num_examples is None else num_examples
        shape = (rows, count_columns(num_classes) if num_classes else 1)
        return HeldOut(summary, open_array(path, shape), num_classes)
    except (OSError, ValueError, EOFError, *HEADER_ERRORS) as error:
        raise _broken(path, error) from error


def describe_damage(folder: Path, error: BaseException, split: Split = "train") -> RunFolderError:
    """Return the error that says that the predictions in a folder are damaged."""
    return _broken(folder / (PREDICTIONS_FILE if split == "train" else TEST_FILE), error)


def _broken(path: Path, error: BaseException) -> RunFolderError:
    found: Sequence[str] = str(error).splitlines() or [type(error).__name__]
    return RunFolderError(
        f"The out-of-fold predictions in {path} cannot be used: {found[0][:200]}. Expected what a "
        "training wrote. Train the project again; no decision is lost by that."
    )
