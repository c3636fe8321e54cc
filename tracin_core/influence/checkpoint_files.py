"""Read what a checkpoint file holds, whoever wrote it; nothing is ever unpickled."""

from __future__ import annotations

import json
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tracin_core.errors import CheckpointError
from tracin_core.influence.bounded_globals import allocations_bounded, check_archive
from tracin_core.influence.checkpoint_refusals import UNREADABLE, explain_refusal
from tracin_core.influence.stand_ins import stand_ins_allowed
from tracin_core.paths import check_ordinary

# What transformers' save_pretrained writes, in the order in which it looks for them.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# What PEFT writes: only what it has added.
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
SHARDS = re.compile(r"-\d{5}-of-\d{5}\.(safetensors|bin)$")
MOST_NESTED = 100
TRAINER_STATE = "trainer_state.json"
# Bytes; an index names some thousand tensors, a state has a line for each step that was logged.
_LARGEST_JSON = 256 * 2**20


def read_content(path: Path) -> Mapping[str, Any]:
    """Return what a checkpoint holds: tensors, plain values, or mappings of them.

    Args:
        path: A torch or safetensors file, an index of shards (``*.index.json``), or a folder as
            ``transformers`` writes them.

    Raises:
        CheckpointError: If there is nothing, it is damaged, or would have to be unpickled.
    """
    check_ordinary(path, "a file written by torch.save or safetensors", CheckpointError)
    if path.is_dir():
        return read_content(find_weights_file(path))
    if not path.is_file():
        raise CheckpointError(
            f"Checkpoint file {path} does not exist; expected a file written by torch.save or "
            "safetensors. Check the path, or train again to write it."
        )
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"Checkpoint file {path} holds a {type(content).__name__}; expected a state dict. "
            "Save model.state_dict() instead of the model."
        )
    return content


def find_weights_file(folder: Path) -> Path:
    """Return the file or index with the weights in a folder as ``transformers`` writes them.

    Raises:
        CheckpointError: If there is none.
    """
    for name in WEIGHT_FILES:
        for path in (folder / name, folder / f"{name}.index.json"):
            if path.is_file():
                return path
    refuse_adapters(folder)
    raise CheckpointError(
        f"Folder {folder} holds no weights; expected {' or '.join(WEIGHT_FILES)}, whole or with "
        "an index.json. For a folder with several checkpoints, pass "
        "tracin_core.find_checkpoints(folder) instead."
    )


def refuse_adapters(folder: Path) -> None:
    """Refuse a folder that holds what PEFT adds to a model, and not the model.

    Raises:
        CheckpointError: If it is one.
    """
    found = next((folder / name for name in ADAPTER_FILES if (folder / name).is_file()), None)
    whole = any((folder / name).exists() for name in WEIGHT_FILES)
    if found is not None and not whole:
        raise CheckpointError(
            f"Folder {folder} holds the adapter {found.name} alone; expected the weights of the "
            "whole model. For each checkpoint load the base model with its adapter "
            "(peft.PeftModel.from_pretrained(base, folder)), and torch.save its state_dict() with "
            "a learning_rate beside it into a file of its own: torch.save({'state_dict': "
            "model.state_dict(), 'learning_rate': 1e-4}, 'step-500.pt'). Pass that model, with "
            "requires_grad on what was trained."
        )


def read_torch(path: Path, *, may_map: bool = True) -> Any:
    """Return what ``torch.save`` wrote, as long as it is tensors and plain values.

    Args:
        path: The file.
        may_map: Whether tensors may stay on the disk until they are used; the file must then
            stay as it is.

    Raises:
        CheckpointError: If the file is damaged, or holds anything else.
    """
    if _is_cut_off(path):
        raise CheckpointError(
            f"Checkpoint file {path} is not whole: its end is missing. Expected a file that "
            "torch.save had time to finish. Wait until the training has written it, or move it "
            "out of the folder, or save or copy it again."
        )
    check_archive(path)
    try:
        with stand_ins_allowed(), allocations_bounded():
            # Mapped where the format allows: who wants the learning rate reads no weights.
            mapped = may_map and zipfile.is_zipfile(path)
            content = torch.load(path, weights_only=True, map_location="cpu", mmap=mapped)
    except (*UNREADABLE, RecursionError) as error:
        raise explain_refusal(path, error) from error
    _restore_methods(content, path)
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object that stands beside a checkpoint.

    Raises:
        CheckpointError: If it is damaged.
    """
    try:
        check_ordinary(path, "a JSON file", CheckpointError)
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"File {path} cannot be read ({error}); expected JSON, as transformers writes it. "
            "Copy the folder again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"File {path} holds a {type(content).__name__}; expected a JSON object, as "
            "transformers writes it. Copy the folder again."
        )
    return content


def _restore_methods(content: Any, path: Path) -> None:
    """Take away what a file put in place of a dictionary's own methods, which would be called.

    Raises:
        CheckpointError: If something is inside itself, or inside too many others.
    """
    around: set[int] = set()
    done: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(content, False)]
    while waiting:
        value, is_through = waiting.pop()
        if is_through:
            around.discard(id(value))
            done.add(id(value))
            continue
        if id(value) in done or not isinstance(value, dict | list | tuple):
            continue
        if id(value) in around or len(around) > MOST_NESTED:
            raise CheckpointError(
                f"Checkpoint file {path} holds a {type(value).__name__} inside itself, or inside "
                f"more than {MOST_NESTED} others; expected a state dict. Save "
                "model.state_dict() with torch.save again."
            )
        if isinstance(value, OrderedDict):
            for name in [name for name in vars(value) if hasattr(OrderedDict, name)]:
                del vars(value)[name]
        around.add(id(value))
        waiting.append((value, True))
        inner = value.values() if isinstance(value, dict) else value
        waiting += [(item, False) for item in inner if isinstance(item, dict | list | tuple)]


def _is_cut_off(path: Path) -> bool:
    """Tell whether a file is empty or begins as torch's archives do and lacks their end."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return False  # which is told where it is read
    return head == b"" or (head == b"PK\x03\x04" and not zipfile.is_zipfile(path))


def _read_shards(index: Path) -> dict[str, Any]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise CheckpointError(
            f"File {index} has no weight_map; expected an index of shards, as transformers "
            "writes it. Pass the file with the weights itself."
        )
    merged: dict[str, Any] = {}
    for name in sorted({str(value) for value in names.values()}):
        if Path(name).name != name:
            raise CheckpointError(
                f"File {index} names the shard {name!r}; expected a file beside it. Keep the "
                "shards and their index in one folder."
            )
        merged.update(read_content(index.parent / name))
    return merged


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Return tensors, and the text values in the file's header beside them."""
    if find_spec("safetensors") is None:
        raise CheckpointError(
            f"Checkpoint file {path} needs the package safetensors, which is not installed. "
            "Install it with: pip install safetensors"
        )
    safetensors = import_module("safetensors")  # an optional package
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            header = dict(file.metadata() or {})
            return header | {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"Checkpoint file {path} is no sound safetensors file ({error}). Expected a whole "
            "file. Copy or save it again."
        ) from error
