"""Say why a file that ``torch.load(weights_only=True)`` refuses is refused, and the way out."""

from __future__ import annotations

import builtins
import pickle
import re
import struct
from pathlib import Path

import torch

from tracin_core.errors import CheckpointError
from tracin_core.influence.stand_ins import stand_ins_allowed

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
        with stand_ins_allowed():
            names = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except UNREADABLE:
        names = set()  # damaged, or from before the zip format, of which torch lists none
    return [found[1], *sorted(names - {found[1], f"builtins.{found[1]}"})]
