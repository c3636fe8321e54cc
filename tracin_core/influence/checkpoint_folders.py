"""Find the checkpoints that a training left in a folder, in the order of its steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tracin_core.errors import CheckpointError
from tracin_core.influence.checkpoint_files import (
    SHARDS,
    TRAINER_STATE,
    find_weights_file,
    read_content,
)
from tracin_core.influence.checkpoint_names import find_state
from tracin_core.influence.checkpoint_progress import Progress, find_progress
from tracin_core.influence.checkpoints import Checkpoint

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
# What trainers write beside the weights: optimizer, schedule, random state, arguments.
NOT_WEIGHTS = re.compile(r"^(optimizer|scheduler|scaler|rng_state|random_states|training_args)")
# Names of a second copy of one of the others, such as Lightning's save_last.
COPIES = re.compile(r"^(last|latest|best|final)", re.IGNORECASE)
# "epoch=3-step=500" is at step 500; otherwise the last whole number counts, and none that is
# part of a decimal such as "loss=0.25".
NAMED_NUMBER = re.compile(r"(?:step|iter|checkpoint|ckpt)[a-z]*[-_=]?(\d+)", re.IGNORECASE)
WHOLE_NUMBER = re.compile(r"(?<![\d.])\d+(?!\.?\d)")


@dataclass(frozen=True)
class _Found:
    path: Path
    progress: Progress
    number: int | None  # the last one in the name

    @property
    def step(self) -> int | None:
        return self.number if self.progress.step is None else self.progress.step


def find_checkpoints(folder: str | Path) -> list[Checkpoint]:
    """Return the checkpoints in a folder, in training order.

    Read are torch and safetensors files, Lightning's folders (or the one above their
    ``checkpoints``), a ``transformers`` Trainer's output folder with its ``checkpoint-*``, and
    one such checkpoint alone. The order is that of the steps recorded in the files, else of
    the epochs, else of the last number in each name. Files named ``last``, ``best`` or ``final``
    beside others are left out, unless a step of their own is recorded in them.

    Args:
        folder: Where training wrote them.

    Returns:
        Checkpoints with their step; the learning rate is read from the file when needed.

    Raises:
        CheckpointError: If there are none, one cannot be read, or the order is unknown.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"Folder {folder} does not exist; expected the folder that training wrote its "
            "checkpoints to. Check the path."
        )
    found = [_inspect(path) for path in _list_paths(folder)]
    if not found:
        raise CheckpointError(
            f"Folder {folder} holds no checkpoints; expected files that end in "
            f"{', '.join(SUFFIXES)}, or folders named checkpoint-500 with weights. Pass the "
            "folder that holds them."
        )
    ordered = _sort(_drop_copies(found), folder)
    return [Checkpoint(item.path, step=item.step) for item in ordered]


def _list_paths(folder: Path) -> list[Path]:
    if (folder / TRAINER_STATE).is_file():
        find_weights_file(folder)
        return [folder]
    saved_by_trainer = sorted(p for p in folder.glob("checkpoint-*") if p.is_dir())
    if saved_by_trainer:
        return saved_by_trainer
    files = sorted(path for path in folder.iterdir() if _is_weights(path))
    inner = folder / "checkpoints"
    return _list_paths(inner) if not files and inner.is_dir() else files


def _is_weights(path: Path) -> bool:
    return (
        path.is_file()
        and path.suffix in SUFFIXES
        and not NOT_WEIGHTS.match(path.name)
        and not SHARDS.search(path.name)
    ) or path.name.endswith((".safetensors.index.json", ".bin.index.json"))


def _inspect(path: Path) -> _Found:
    content = read_content(path)
    find_state(content, path.name)  # a file without weights is named before any work
    name = path.stem if path.is_file() else path.name
    numbers = NAMED_NUMBER.findall(name) or WHOLE_NUMBER.findall(name)
    return _Found(path, find_progress(content, path), int(numbers[-1]) if numbers else None)


def _drop_copies(found: list[_Found]) -> list[_Found]:
    originals = [item for item in found if not COPIES.match(item.path.name)]
    known = {item.step for item in originals} | {None}
    own_steps = [i for i in found if COPIES.match(i.path.name) and i.step not in known]
    return [*originals, *own_steps] if originals else found


def _sort(found: list[_Found], folder: Path) -> list[_Found]:
    if len(found) == 1:
        return found
    steps: list[float | None] = [item.progress.step for item in found]
    # A step that is recorded twice means two runs: no other order could mend that.
    repeated = None not in steps and len(set(steps)) < len(steps)
    orders: list[list[float | None]] = [
        steps,
        [item.progress.epoch for item in found],
        [item.number for item in found],
    ]
    for order in [] if repeated else orders:
        known = [place for place in order if place is not None]
        if len(set(known)) == len(found):
            return [item for _, item in sorted(zip(known, found, strict=True), key=lambda p: p[0])]
    names = ", ".join(item.path.name for item in found[:5])
    raise CheckpointError(
        f"The order of the checkpoints in {folder} is unknown ({names}): their steps are missing "
        "or the same. Expected one training run, with steps or epochs in the files or numbers "
        "in their names. Give each training a folder of its own, or pass a list of "
        "Checkpoint(path, step=...) in training order."
    )
