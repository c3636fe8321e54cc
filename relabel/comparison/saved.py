"""A run's comparison on disk: a small JSON and the scores of each contender; read without torch.

The folder ``comparison/`` of a run holds ``comparison.json``, ``labels.npy`` and ``wrong.npy``, and
for every contender that was tried its ``<name>.json`` and, where it has scores, ``<name>.npy``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.comparison.agreement import measure_agreement
from relabel.comparison.checkpoints import FoundByClass, count_by_class
from relabel.comparison.curves import MislabelCurve, trace_curve
from relabel.errors import NotFoundError, RunFolderError
from relabel.files import explain_disk_errors, write_array
from relabel.runs.folder import RunFolder
from relabel.workspace import find_program_name
from tracin_core.files import atomic_file, write_text

FOLDER = "comparison"
# Raised when what is written means something else.
VERSION = 1
UNKNOWN, RIGHT, WRONG = -1, 0, 1
Pairs = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The train examples that speak most for and against one example, by one method.

    Attributes:
        proponents: Positions and influences, strongest first.
        opponents: The same of negative influences, the most negative first.
    """

    proponents: Pairs
    opponents: Pairs


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one contender.

    Attributes:
        name: The contender's.
        title: For people.
        digest: Of everything that decides its numbers beside the run.
        reason: Why it has no scores; "" where it has.
        unattributed: Why it has no influences; "" where it has.
        seconds: Processor time of scoring all train examples, a fit included; None for a ranking
            that the scoring of the run has measured.
        influence_seconds: Of the influences, a fit included.
        num_explained: Of so many examples.
        peak_bytes: The most memory beyond what the process held before; None where not known.
        report: What the method says of its fit.
        sides: By examples, such as "test:17".
    """

    name: str
    title: str
    digest: str = ""
    reason: str = ""
    unattributed: str = ""
    seconds: float | None = None
    influence_seconds: float | None = None
    num_explained: int = 0
    peak_bytes: int | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    sides: Mapping[str, Sides] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Outcome:
        """Return the outcome that ``asdict`` described.

        Raises:
            LookupError, TypeError, ValueError: If it is none.
        """
        sides = {
            str(name): Sides(**{side: _read_pairs(one[side]) for side in one})
            for name, one in values["sides"].items()
        }
        return cls(**{**values, "sides": sides})


def _read_pairs(values: Sequence[Sequence[float]]) -> Pairs:
    return tuple((int(position), float(influence)) for position, influence in values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Contenders beside each other on one run.

    Attributes:
        folder: Where it lies.
        made_at: When: UTC, ISO 8601.
        outcomes: In the order in which they are offered.
        scores: Of those that have any, by name, shape ``(N,)``, high for suspects.
        labels: As the run was scored with them, class indices or numbers, shape ``(N,)``.
        wrong: ``WRONG``, ``RIGHT`` or ``UNKNOWN``, shape ``(N,)``.
        drawn: The examples whose proponents are compared, such as "test:17".
        truth: Where the truth is from; "" where it is not known.
    """

    folder: Path
    made_at: str
    outcomes: tuple[Outcome, ...]
    scores: Mapping[str, npt.NDArray[np.float32]]
    labels: npt.NDArray[Any]
    wrong: npt.NDArray[np.int8]
    drawn: tuple[str, ...]
    truth: str

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Return whose truth is known, shape ``(N,)``."""
        known: npt.NDArray[np.bool_] = self.wrong != UNKNOWN
        return known

    @property
    def can_judge(self) -> bool:
        """Return whether there are labels known to be wrong, and others known to be right."""
        return bool((self.wrong == WRONG).any() and (self.wrong == RIGHT).any())

    @cached_property
    def curves(self) -> dict[str, MislabelCurve]:
        """Return each contender's mislabel curve over the examples whose truth is known."""
        if not self.can_judge:
            return {}
        is_wrong = self.wrong[self.known] == WRONG
        return {
            name: trace_curve(values[self.known], is_wrong) for name, values in self.scores.items()
        }

    def count_by_class(self, run: RunFolder) -> FoundByClass | None:
        """Return what self-influence at each checkpoint alone finds; None where nothing is known.

        Raises:
            RunFolderError: If the run's signals are damaged.
        """
        classes = run.read_config().classes
        scores = run.read_all_signals("train").scores.get("self_influence_last")
        if scores is None or not classes or not self.can_judge:
            return None
        known = self.known
        return count_by_class(
            scores[:, known], self.wrong[known] == WRONG, self.labels[known], len(classes)
        )

    @cached_property
    def agreement(self) -> tuple[list[str], npt.NDArray[np.float64]]:
        """Return the titles of the methods that name proponents, and how far each two agree."""
        naming = [one for one in self.outcomes if one.sides and set(self.drawn) <= set(one.sides)]
        proponents = [
            [[position for position, _ in one.sides[name].proponents] for name in self.drawn]
            for one in naming
        ]
        return [one.title for one in naming], measure_agreement(proponents)

    def list_explained(self) -> list[str]:
        """Return the examples that every method with influences has explained."""
        explained = [set(one.sides) for one in self.outcomes if one.sides]
        common = set.intersection(*explained) if explained else set()
        return sorted(common, key=_order_examples)


def name_example(split: str, position: int) -> str:
    """Return what stands for an example, such as "test:17"."""
    return f"{split}:{position}"


def _order_examples(name: str) -> tuple[bool, int]:
    split, position = name.split(":")
    return split != "test", int(position)


def find_folder(run: RunFolder) -> Path:
    """Return where a run's comparison lies."""
    return run.root / FOLDER


def write_outcome(
    folder: Path, outcome: Outcome, scores: npt.NDArray[np.float32] | None = None
) -> None:
    """Write what came of a contender, and its scores unless they are there already.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if scores is not None:
            write_numbers(folder / f"{outcome.name}.npy", scores)
        text = json.dumps(asdict(outcome), indent=1, ensure_ascii=False)
        write_text(folder / f"{outcome.name}.json", text)


def write_numbers(path: Path, values: npt.NDArray[Any]) -> None:
    """Write an array, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        write_array(file, values)


def read_outcome(
    folder: Path, name: str, num_examples: int
) -> tuple[Outcome, npt.NDArray[np.float32] | None] | None:
    """Return what came of a contender with its scores; None where nothing sound is there."""
    try:
        outcome = Outcome.from_json(json.loads((folder / f"{name}.json").read_bytes()))
        if outcome.reason:
            return outcome, None
        scores = np.load(folder / f"{name}.npy", allow_pickle=False)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return (outcome, scores) if scores.shape == (num_examples,) else None


def write_comparison(
    folder: Path,
    *,
    made_at: str,
    names: Sequence[str],
    labels: npt.NDArray[Any],
    wrong: npt.NDArray[np.int8],
    drawn: Sequence[str],
    truth: str,
) -> None:
    """Write what all contenders share; the fields are those of ``Comparison``.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    summary = {
        "version": VERSION,
        "made_at": made_at,
        "names": list(names),
        "drawn": list(drawn),
        "truth": truth,
    }
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_numbers(folder / "labels.npy", labels)
        write_numbers(folder / "wrong.npy", wrong)
        write_text(folder / "comparison.json", json.dumps(summary, indent=1, ensure_ascii=False))


def read_comparison(run: RunFolder) -> Comparison | None:
    """Return a run's latest comparison; None where there is none.

    Raises:
        RunFolderError: If it is damaged, or of a newer version of the program.
    """
    folder = find_folder(run)
    if not (folder / "comparison.json").is_file():
        return None
    try:
        summary = json.loads((folder / "comparison.json").read_bytes())
        if summary["version"] != VERSION:
            raise ValueError(f"found version {summary['version']!r:.20}")
        labels, wrong = (
            np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("labels", "wrong")
        )
        found = [(str(name), read_outcome(folder, name, len(labels))) for name in summary["names"]]
        if missing := [name for name, one in found if one is None]:
            raise ValueError(f"found nothing sound of {missing[0]!r:.80}")
        sound = [one for _, one in found if one is not None]
        return Comparison(
            folder=folder,
            made_at=str(summary["made_at"]),
            outcomes=tuple(outcome for outcome, _ in sound),
            scores={one.name: scores for one, scores in sound if scores is not None},
            labels=labels,
            wrong=wrong,
            drawn=tuple(map(str, summary["drawn"])),
            truth=str(summary["truth"]),
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"The comparison in {folder} cannot be read: {error}. Delete that folder and compare "
            f"again: {find_program_name()} compare"
        ) from error


def require_comparison(run: RunFolder) -> Comparison:
    """Return a run's latest comparison.

    Raises:
        NotFoundError: If there is none.
        RunFolderError: If it is damaged.
    """
    comparison = read_comparison(run)
    if comparison is None:
        raise NotFoundError(
            f"The run {run.root.name} has no comparison; expected one in {find_folder(run)}. Make "
            f"it: {find_program_name()} compare NAME"
        )
    return comparison
