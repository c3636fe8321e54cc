"""Read checkpoint files and folders, whoever wrote them; nothing is ever unpickled.

Files of torch and safetensors, sharded or not, and folders of ``transformers`` give plain values
and tensors; in these the model's weights are found wherever the training program put them. Of a
file that ``torch.load(weights_only=True)`` refuses, the error names the cause and the way out.
"""

from __future__ import annotations

import builtins
import json
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tracin_core.checkpoints.safe_globals import (
    allow_safe_globals,
    bound_allocations,
    check_archive,
)
from tracin_core.errors import CheckpointError
from tracin_core.files import check_ordinary

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
        with allow_safe_globals(), bound_allocations():
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
    """Restore a dictionary's own methods, which would be called, where a file replaced them.

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
    """Return whether a file is empty or begins as torch's archives do and lacks their end."""
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


# Where training programs put the state dict.
NESTED_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module")

# What modules add to a state dict by get_extra_state(): of any kind, and no weight.
EXTRA_STATE = "_extra_state"


def find_state(content: Mapping[str, Any], title: str) -> dict[str, Tensor]:
    """Return the tensors by name, wherever the file keeps them.

    Args:
        content: What the file holds.
        title: How messages name the checkpoint.

    Returns:
        The state dict; where there are several under names of their own, such as a generator's
        and a discriminator's, all of them with these names as prefixes.

    Raises:
        CheckpointError: If there are none.
    """
    state = _collect(content)
    if not state:
        keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(
            f"Checkpoint {title} holds {keys} but no weights; expected a state dict of tensors "
            f"(NumPy arrays are not read), or one under {', '.join(NESTED_KEYS)}. Save it as "
            "torch.save(model.state_dict(), path), or move the file out of the folder."
        )
    return state


def is_training_state(content: Mapping[str, Any]) -> bool:
    """Return whether a file is an optimizer's or a schedule's, saved beside the weights."""
    return {"state", "param_groups"} <= content.keys() or {"last_epoch", "_last_lr"} <= (
        content.keys()
    )


def _collect(content: Mapping[str, Any]) -> dict[str, Tensor]:
    content = {k: v for k, v in content.items() if str(k).rpartition(".")[2] != EXTRA_STATE}
    for key in NESTED_KEYS:
        inner = content.get(key)
        # A network's options may stand under such a name, too.
        if isinstance(inner, Mapping) and (state := _collect(inner)):
            return state
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    parts = {
        f"{key}.{name}": value
        for key, inner in content.items()
        if isinstance(inner, Mapping) and all(isinstance(v, Tensor) for v in inner.values())
        for name, value in inner.items()
    }
    # Beside several state dicts, single numbers are records, such as the best accuracy so far.
    return parts | {name: value for name, value in tensors.items() if value.ndim or not parts}


# What torch raises for a type that is not allowed, and for bytes that are damaged.
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)
# As torch's message names the first type that it does not know.
UNKNOWN_TYPE = re.compile(r"GLOBAL (\S+) was not an allowed")
# What no training program saves: torch lets nobody allow the modules os, sys and their like.
BLOCKED = re.compile(r"GLOBAL (\S+) whose module \S+ is blocked")
CAUSE = re.compile(r"WeightsUnpickler error: (.+)")
MOST_NAMED = 4


def explain_refusal(path: Path, error: Exception) -> CheckpointError:
    """Return the error with what stood in the way of reading a file.

    Args:
        path: The file.
        error: What torch raised.
    """
    start = f"Checkpoint file {path} cannot be read safely: "
    called = _find_call(str(error))
    if called is not None:
        return CheckpointError(
            f"{start}it would run {called} on your machine. Expected tensors and plain values "
            "only. Do not open it in another way; get the file anew from somebody you trust, "
            "saved as model.state_dict()."
        )
    types = _list_types(path, error)
    if types:
        shown = ", ".join(types[:MOST_NAMED]) + (", ..." if len(types) > MOST_NAMED else "")
        return CheckpointError(
            f"{start}it holds {shown}. Expected tensors and plain values only, because making "
            "other objects from a file may run code. Save model.state_dict() and "
            "optimizer.state_dict() instead of objects. If you trust a file that you already "
            "have, open it in a program of your own with torch.load(path, weights_only=False) and "
            "torch.save its state dict; or allow what it holds, at the top of your model's file, "
            "with torch.serialization.add_safe_globals([TheType])."
        )
    if "TorchScript" in str(error):
        return CheckpointError(
            f"{start}it is a TorchScript program. Expected a state dict. Save it from there: "
            "torch.save(torch.jit.load(path).state_dict(), new_path)."
        )
    if "Unsupported operand" in str(error):
        return CheckpointError(
            f"{start}it was written by pickle itself, or by torch.save with a pickle_protocol. "
            "Expected torch.save(model.state_dict(), path) without one. If you trust the file, "
            "open it in a program of your own and save it again so."
        )
    found = CAUSE.search(str(error))
    cause = found[1] if found else (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"{start}{cause.strip()[:200]}. Expected a whole file with tensors "
        "and plain values only. Copy it again, or save model.state_dict() with torch.save again."
    )


def _find_call(message: str) -> str | None:
    """Return a function of the system or of Python itself, which torch names without a module."""
    blocked = BLOCKED.search(message)
    if blocked is not None:
        return blocked[1]
    found = UNKNOWN_TYPE.search(message)
    known = None if found is None else getattr(builtins, found[1], None)
    return found[1] if found and callable(known) and not isinstance(known, type) else None


def _list_types(path: Path, error: Exception) -> list[str]:
    """Return the types that are not allowed, the one that torch met first in front."""
    found = UNKNOWN_TYPE.search(str(error))
    if found is None:
        return []
    try:
        with allow_safe_globals():
            names = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except UNREADABLE:
        names = set()  # damaged, or from before the zip format, of which torch lists none
    return [found[1], *sorted(names - {found[1], f"builtins.{found[1]}"})]
