"""Find the checkpoints that a training left in a folder, in the order of its steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tracin_core.errors import CheckpointError
from tracin_core.influence.checkpoint_files import (
    ADAPTER_FILES,
    SHARDS,
    TRAINER_STATE,
    WEIGHT_FILES,
    find_weights_file,
    read_content,
    refuse_adapters,
)
from tracin_core.influence.checkpoint_progress import Progress, find_progress
from tracin_core.influence.checkpoint_states import find_state, holds_no_model
from tracin_core.influence.checkpoints import Checkpoint
from tracin_core.paths import check_ordinary, expand_path

# The last two are what PyTorch's ImageNet example and timm call files that are no archives.
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pth.tar", ".pt.tar")
# What trainers write beside the weights: optimizer, schedule, random state, arguments.
NOT_WEIGHTS = re.compile(r"^(optimizer|scheduler|scaler|rng_state|random_states|training_args)")
# Names of a second copy of one of the others, such as Lightning's save_last.
COPIES = re.compile(
    r"^(last|latest|best|final)|[-_.](last|latest|best|final)(?![a-z])", re.IGNORECASE
)
# "epoch=3-step=500" is at step 500, and "epoch_3_acc_91" at 3; otherwise the last whole number
# counts, and none that is part of a decimal such as "loss=0.25".
NAMED_NUMBER = re.compile(r"(?:step|iter|checkpoint|ckpt)[a-z]*[-_=]?(\d+)", re.IGNORECASE)
NAMED_EPOCH = re.compile(r"(?<![a-z])(?:epoch|ep)[-_=]?(\d+)", re.IGNORECASE)
WHOLE_NUMBER = re.compile(r"(?<![\d.])\d+(?!\.?\d)")


@dataclass(frozen=True)
class _Found:
    path: Path
    progress: Progress
    number: int | None  # the last one in the name
    named_epoch: int | None = None

    @property
    def step(self) -> int | None:
        return self.number if self.progress.step is None else self.progress.step

    @property
    def epoch(self) -> float | None:
        return self.named_epoch if self.progress.epoch is None else self.progress.epoch

    @property
    def recorded(self) -> tuple[float | None, float | None] | None:
        """Where in the training its file says that it is: epoch and step."""
        place = self.progress.epoch, self.progress.step
        return None if place == (None, None) else place

    @property
    def is_copy(self) -> bool:
        return COPIES.search(self.path.name) is not None


def find_checkpoints(folder: str | Path) -> list[Checkpoint]:
    """Return the checkpoints in a folder, in training order.

    Read are torch and safetensors files, Lightning's folders (or the one above their
    ``checkpoints``), a ``transformers`` Trainer's output folder with its ``checkpoint-*``,
    accelerate's with its ``checkpoint_0`` or ``epoch_0``, and one such checkpoint alone. The order
    is that of the steps recorded in the files (where these begin anew with each epoch, that of
    epochs and steps), else of the epochs, else of a number in each name: the step's or epoch's,
    else the last. Left out are files of optimizers and schedules, and second copies: those named
    ``last``, ``best`` or ``final``, unless a step or epoch of their own is recorded in them, and
    those without a number that are at another's step or epoch.

    Args:
        folder: Where training wrote them, or the file of one.

    Returns:
        Checkpoints with their step; the learning rate is read from the file when needed.

    Raises:
        CheckpointError: If there are none, one cannot be read, or the order is unknown.
    """
    folder = expand_path(folder)
    check_ordinary(folder, "the folder that training wrote its checkpoints to", CheckpointError)
    if not folder.exists():
        raise CheckpointError(
            f"Folder {folder} does not exist; expected the folder that training wrote its "
            "checkpoints to. Check the path."
        )
    inspected = [_inspect(path) for path in (_list_paths(folder) if folder.is_dir() else [folder])]
    found = [item for item in inspected if item is not None]
    if not found:
        refuse_adapters(folder)
        raise CheckpointError(
            f"Folder {folder} holds no checkpoints; expected files that end in "
            f"{', '.join(SUFFIXES)}, or folders named checkpoint-500 with weights. Pass the "
            "folder that holds them."
        )
    ordered = _sort(_drop_copies(found), folder)
    steps = [item.step for item in ordered]
    known = [step for step in steps if step is not None]
    # Steps that fall again are counted within an epoch, and say nothing of the whole training.
    rises = all(earlier < later for earlier, later in pairwise(known))
    return [Checkpoint(item.path, step=item.step if rises else None) for item in ordered]


def _list_paths(folder: Path) -> list[Path]:
    if (folder / TRAINER_STATE).is_file():
        find_weights_file(folder)
        return [folder]
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    saved_by_trainer = [path for path in inside if path.name.startswith("checkpoint-")]
    if saved_by_trainer:
        return saved_by_trainer
    files = sorted(path for path in folder.iterdir() if _is_weights(path))
    # accelerate's checkpoint_0 or epoch_0; the final model may lie beside them once more.
    saved_by_accelerate = [path for path in inside if _holds_weights_file(path)]
    if saved_by_accelerate and all(path.name.startswith(WEIGHT_FILES) for path in files):
        return saved_by_accelerate
    inner = folder / "checkpoints"
    return _list_paths(inner) if not files and inner.is_dir() else files


def _holds_weights_file(folder: Path) -> bool:
    names = [*WEIGHT_FILES, *(f"{name}.index.json" for name in WEIGHT_FILES)]
    return any((folder / name).is_file() for name in names)


def _is_weights(path: Path) -> bool:
    return (
        path.is_file()
        and path.name.endswith(SUFFIXES)
        and not path.name.startswith(".")  # what a Mac leaves beside each file it copies
        and not NOT_WEIGHTS.match(path.name)
        and path.name not in ADAPTER_FILES
        and not SHARDS.search(path.name)
    ) or path.name.endswith((".safetensors.index.json", ".bin.index.json"))


def _inspect(path: Path) -> _Found | None:
    content = read_content(path)
    if holds_no_model(content):
        return None
    find_state(content, path.name)  # a file without weights is named before any work
    name = path.stem if path.is_file() else path.name
    patterns = (NAMED_NUMBER, NAMED_EPOCH, WHOLE_NUMBER)
    numbers = next((found for p in patterns if (found := p.findall(name))), None)
    epochs = NAMED_EPOCH.findall(name)
    return _Found(
        path,
        find_progress(content, path),
        int(numbers[-1]) if numbers else None,
        int(epochs[-1]) if epochs else None,
    )


def _drop_copies(found: list[_Found]) -> list[_Found]:
    originals = [item for item in found if not item.is_copy]
    known = {item.step for item in originals} | {None}
    places = {item.recorded for item in originals} | {None}
    own = [i for i in found if i.is_copy and (i.step not in known or i.recorded not in places)]
    kept = [*originals, *own] if originals else found
    # torchvision's checkpoint.pth is the newest model_12.pth once more.
    numbered = {item.recorded for item in kept if item.number is not None} - {None}
    return [item for item in kept if item.number is not None or item.recorded not in numbered]


def _sort(found: list[_Found], folder: Path) -> list[_Found]:
    if len(found) == 1:
        return found
    by_epoch = _sort_by_epochs(found)
    if by_epoch is not None:
        return by_epoch
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
        "in their names. Give each training a folder of its own and number its files in training "
        "order, or pass a list of Checkpoint(path, step=...)."
    )


def _sort_by_epochs(found: list[_Found]) -> list[_Found] | None:
    """Return the order by epoch and step where steps are counted anew in each epoch.

    Steps of the whole training never fall from one epoch to the next; then they alone decide.
    """
    places = [
        (item.epoch, item.step)
        for item in found
        if item.epoch is not None and item.step is not None
    ]
    if len(places) < len(found) or len(set(places)) < len(found):
        return None
    pairs = sorted(zip(places, found, strict=True), key=lambda pair: pair[0])
    steps = [step for (_, step), _ in pairs]
    rises = all(earlier < later for earlier, later in pairwise(steps))
    return None if rises else [item for _, item in pairs]
