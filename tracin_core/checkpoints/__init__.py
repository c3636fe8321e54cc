"""Checkpoints: saved weights, and the learning rate in force where they were saved.

A ``Checkpoint`` is a file or a state dict; ``find_checkpoints`` lists those that a training left
in a folder, in the order of its steps; ``read_weights`` and ``read_rate`` read one of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.checkpoints.formats import (
    ADAPTER_FILES,
    SHARDS,
    TRAINER_STATE,
    WEIGHT_FILES,
    find_state,
    find_weights_file,
    is_training_state,
    read_content,
    refuse_adapters,
)
from tracin_core.checkpoints.learning_rates import (
    Rate,
    TrainingProgress,
    assign_rates,
    find_progress,
    map_groups,
    merge_equal_rates,
)
from tracin_core.checkpoints.state_dict import fit_to_model
from tracin_core.errors import CheckpointError
from tracin_core.files import check_ordinary, expand_path


@dataclass(frozen=True)
class Checkpoint:
    """Saved weights of a model at one step of its training.

    Attributes:
        weights: A torch or safetensors file, an index of shards, a folder as ``transformers``
            writes them, a state dict or a module; nested under a usual key or with a prefix, as
            Lightning and other programs keep it.
        learning_rate: Step size in force there: one number, or where parameters had different
            ones, numbers by parameter name or module prefix (the longest that fits wins, ``""``
            fits all); ``None`` reads it from the file.
        step: Training step, for messages and charts.
    """

    weights: str | Path | Mapping[str, Any] | nn.Module
    learning_rate: Rate | None = None
    step: int | None = None

    @property
    def title(self) -> str:
        """How messages name this checkpoint."""
        step = "" if self.step is None else f"step {self.step}"
        if isinstance(self.weights, str | Path):
            name = Path(self.weights).name
            return f"{name} ({step})" if step else name
        return step or "a state dict"


def read_weights(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """Read a checkpoint and fit it to a model; nothing is ever unpickled.

    Args:
        checkpoint: A file, folder or state dict.
        model: The model it must fit.

    Returns:
        The model's parameters and saved buffers by name, tied weights under their first name.

    Raises:
        CheckpointError: If it cannot be read, or its names or shapes do not fit.
    """
    state = find_state(read_content_of(checkpoint), checkpoint.title)
    return fit_to_model(state, model, checkpoint.title)


def refuse_broken(weights: Mapping[str, Tensor], trainable: Collection[str], title: str) -> None:
    """Refuse weights that are not numbers, before anything is computed with them.

    Args:
        weights: All tensors by name.
        trainable: Names of the trained ones, which cannot be infinite; a mask can.
        title: How messages name the checkpoint.

    Raises:
        CheckpointError: If a tensor has no numbers, or holds NaN, or a trained one infinity; it
            names the first.
    """
    for name, value in weights.items():
        if value.is_meta:
            raise CheckpointError(
                f"Checkpoint {title} holds no numbers in {name}, only its shape (the device "
                "'meta'); expected weights. Save the state dict of the model that was trained."
            )
        if not (value.is_floating_point() or value.is_complex()):
            continue
        if value.dtype.itemsize == 1:  # of which torch makes no sums
            value = value.float()
        # One sum tells that all are finite, in a tenth of the time of asking each.
        if bool(torch.isfinite(value.sum(dtype=_wide(value.dtype)))):
            continue
        for is_broken, what in ((value.isnan(), "NaN"), (value.isinf(), "infinity")):
            count = int(is_broken.sum())
            if count and (what == "NaN" or name in trainable):
                raise CheckpointError(
                    f"Checkpoint {title} holds {what} in {name}: {count:,} of {value.numel():,} "
                    "numbers. Expected finite weights, because nothing that is computed with "
                    "them would be a number. Leave the checkpoint out, or take an earlier one: "
                    "the training has diverged there."
                )


def _wide(kind: torch.dtype) -> torch.dtype:
    return torch.complex128 if kind.is_complex else torch.float64


def read_rate(checkpoint: Checkpoint, model: nn.Module) -> Rate:
    """Return the learning rate given, or recorded in the file or beside it.

    Args:
        checkpoint: Where a rate is given, or a file or folder that may have one.
        model: The model, whose parameters may have different rates.

    Returns:
        The rate of all trainable parameters, or where they differ rates by name.

    Raises:
        CheckpointError: If it is nowhere, is negative or not finite, lacks a parameter, or
            differs between parameter groups whose parameters cannot be told.
    """
    rate = checkpoint.learning_rate
    if rate is None:
        path = Path(checkpoint.weights) if isinstance(checkpoint.weights, str | Path) else None
        rate = _choose_rate(checkpoint, find_progress(read_content_of(checkpoint), path), model)
    by_name = isinstance(rate, Mapping)
    for name, value in rate.items() if isinstance(rate, Mapping) else [("", rate)]:
        if not 0 <= value < float("inf"):
            place = f" for {name!r}" if by_name else ""
            raise CheckpointError(
                f"Checkpoint {checkpoint.title} has the learning rate {value}{place}; expected a "
                "finite number, zero or more. Pass the step size that was in force at this step."
            )
    if isinstance(rate, Mapping):
        floats = {name: float(value) for name, value in rate.items()}
        return assign_rates(floats, model, checkpoint.title)
    return float(rate)


def _choose_rate(checkpoint: Checkpoint, progress: TrainingProgress, model: nn.Module) -> Rate:
    recorded = progress.learning_rates
    if len(recorded) == 1:
        return recorded[0]
    mapped = map_groups(progress.groups, model) if progress.groups else None
    if mapped is not None:
        return merge_equal_rates(mapped)
    if not recorded:
        raise CheckpointError(
            f"Checkpoint {checkpoint.title} has no learning rate; expected one. Pass "
            "Checkpoint(..., learning_rate=0.1), or TracIn(..., rates='ones') to ignore "
            "learning rates, which often ranks as well or better."
        )
    top = dict.fromkeys(name.partition(".")[0] for name, _ in model.named_parameters())
    example = ", ".join(f'"{n}": {r}' for n, r in zip(reversed(top), recorded, strict=False))
    raise CheckpointError(
        f"Checkpoint {checkpoint.title} has the learning rates {', '.join(map(str, recorded))} of "
        "different parameter groups, and not which parameters are in each; expected one rate, or "
        f"a rate for each parameter. Pass Checkpoint(..., learning_rate={{{example}}}), with "
        "parameter names or module prefixes; or TracIn(..., rates='ones') to ignore learning rates."
    )


def read_content_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return all that a checkpoint holds: weights, and what lies beside them in its file."""
    if isinstance(checkpoint.weights, Mapping):
        return checkpoint.weights
    if isinstance(checkpoint.weights, nn.Module):
        return checkpoint.weights.state_dict()
    return read_content(Path(checkpoint.weights))


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
    progress: TrainingProgress
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
    if is_training_state(content):
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
