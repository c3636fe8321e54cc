"""What ``torch.load`` may find and allocate in a checkpoint: harmless substitutes, bounded memory.

``torch.load(weights_only=True)`` looks up what a file names in a table of what is allowed, and
imports nothing. ``torch.serialization.safe_globals`` adds pairs of a callable and a name: under
the names of harmless types beside weights torch finds what is defined here, never the type itself,
so that a file with omegaconf's containers is read without omegaconf.

Why no file can run code by them: with what it finds, torch's unpickler can do four things only.

- REDUCE calls it and NEWOBJ calls its ``__new__``, with values from the file: what is below drops
  them or looks at their type, and calls none of them.
- BUILD hands an instance a state: ``__setstate__`` below keeps at most one character of it. An
  OrderedDict gets it into its ``__dict__``, as torch does with those of every state dict.
- SETITEMS and APPENDS fill plain dictionaries, OrderedDicts and lists, and nothing else.

NumPy's own functions are not allowed, though torch's message suggests it: a file may give
``numpy.dtype`` a state that hides that it holds objects, or offsets outside its bytes, and
``scalar`` then reads whatever memory the file points at. Here the bytes of a number are read by a
dtype that we name ourselves, and arrays are not read at all.

Why no file can ask for memory that its own bytes do not pay for: ``weights_only=True`` lets a file
call a few types of Python and torch with values of its own. ``bytearray(10**10)`` in a file of 200
bytes takes all memory, and ``torch.Tensor(10**10)`` gives weights that nobody has written. No
training program saves either: real files give them bytes that stand in the file, or nothing. And
torch's archives are stored as they are, so one that unpacks to far more than its size was packed
by somebody else.
"""

from __future__ import annotations

import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import _weights_only_unpickler as unpickler

from tracin_core.errors import CheckpointError

# What a file may call a number's type; none of them holds a pointer, and each has one size.
NUMBERS = ("b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8")


class LeftOut:
    """A value that nothing here asks for; made of anything, it holds nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class NumberType:
    """What ``numpy.dtype`` says of a number in a file: its type and its byte order."""

    def __init__(self, name: object = "", *_: object) -> None:
        self.name = name if isinstance(name, str) else ""
        self.order = "="

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        self.order = order if isinstance(order, str) and order in ("<", ">") else "="


class PlainItems:
    """A dictionary of another name: torch makes an OrderedDict of it, and fills that."""

    def __new__(cls, *_: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        """Return what stands for the dictionary, however the file makes it."""
        return OrderedDict()


class PlainList:
    """A list of another name: torch makes a list of it, and fills that."""

    def __new__(cls, *_: object) -> list[Any]:  # type: ignore[misc]
        """Return what stands for the list, however the file makes it."""
        return []


def read_number(kind: object = None, data: object = None, *_: object) -> Any:
    """Return a NumPy number as Python has it, or what stands for one that is none.

    Args:
        kind: Its type.
        data: Its bytes.
    """
    if isinstance(kind, NumberType) and kind.name in NUMBERS and isinstance(data, bytes):
        dtype = np.dtype(kind.order + kind.name)
        if len(data) == dtype.itemsize:
            return np.frombuffer(data, dtype)[0].item()
    return LeftOut()


SAFE_GLOBALS: dict[str, Any] = {
    # NumPy 2 and 1. Learning rates and epochs may be such numbers, so these are read; arrays,
    # such as a random generator's state, are not.
    "numpy.dtype": NumberType,
    "numpy._core.multiarray.scalar": read_number,
    "numpy.core.multiarray.scalar": read_number,
    "numpy._core.multiarray._reconstruct": LeftOut,
    "numpy.core.multiarray._reconstruct": LeftOut,
    "numpy.ndarray": LeftOut,
    # Dictionaries of other names, whose values stay: Lightning 2 and 1, and configurations.
    "collections.defaultdict": PlainItems,
    "pytorch_lightning.utilities.parsing.AttributeDict": PlainItems,
    "lightning.pytorch.utilities.parsing.AttributeDict": PlainItems,
    "lightning_fabric.utilities.data.AttributeDict": PlainItems,
    "lightning.fabric.utilities.data.AttributeDict": PlainItems,
    "easydict.EasyDict": PlainItems,
    "yacs.config.CfgNode": PlainItems,
    "collections.deque": PlainList,
}
# Arguments, places, times and versions; then what defaultdict makes its values by; then omegaconf,
# whose containers refer to types. Python 3.13 has the classes of paths in pathlib._local.
LEFT_OUT = {
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "pathlib._local": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "datetime": "datetime date time timedelta timezone",
    "decimal": "Decimal",
    "uuid": "UUID",
    "torch.torch_version": "TorchVersion",
    "builtins": "bool bytes dict float frozenset int list range slice str tuple",
    "typing": "Any",
    "omegaconf.base": "ContainerMetadata Metadata UnionNode",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode BooleanNode BytesNode FloatNode IntegerNode PathNode StringNode",
}
SAFE_GLOBALS |= {
    f"{module}.{n}": LeftOut for module, names in LEFT_OUT.items() for n in names.split()
}

# torch keeps what is allowed once for the whole process: of two threads, the one that is done
# first would take it from the other.
_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def allow_safe_globals() -> Iterator[None]:
    """Allow the harmless substitutes in ``torch.load``, but for types that a person allowed."""
    with _ONE_AT_A_TIME:
        taken = {_name(allowed) for allowed in torch.serialization.get_safe_globals()}
        pairs = [(made, name) for name, made in SAFE_GLOBALS.items() if name not in taken]
        with torch.serialization.safe_globals(pairs):  # type: ignore[arg-type]
            yield


def _name(allowed: Any) -> str:
    """Return the name under which something that is allowed stands in files."""
    if isinstance(allowed, tuple):
        return str(allowed[1])
    return f"{allowed.__module__}.{allowed.__qualname__}"


# Bytes of the pickle in an archive, which holds names and plain values; tensors lie beside it.
LARGEST_PICKLE = 32 * 2**20
# Bytes that an archive may unpack to whatever its size, and how many times its size beyond.
SMALL_ARCHIVE, LARGEST_GROWTH = 64 * 2**20, 4
_LARGEST_NUMBER = 2**20  # bytes that a number alone may ask for


def check_archive(path: Path) -> None:
    """Check that an archive of torch's does not unpack to far more than its size.

    Raises:
        CheckpointError: If it does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, IndexError, NotImplementedError):
        return  # whatever reads it says what is wrong
    size, total = path.stat().st_size, sum(one.file_size for one in members)
    most = max(SMALL_ARCHIVE, LARGEST_GROWTH * size)
    if total > most:
        raise CheckpointError(
            f"Checkpoint file {path} has {size:,} bytes and unpacks to {total:,}, expected at most "
            f"{most:,}: torch.save packs nothing. Save it again with torch.save."
        )
    longest = max((one.file_size for one in members if one.filename.endswith(".pkl")), default=0)
    if longest > LARGEST_PICKLE:
        raise CheckpointError(
            f"Checkpoint file {path} holds {longest:,} bytes of plain values beside its tensors, "
            f"expected at most {LARGEST_PICKLE:,}. Save model.state_dict() without them."
        )


@contextmanager
def bound_allocations() -> Iterator[None]:
    """Refuse files that ask for memory by a number alone; everything else is as torch has it.

    The table is torch's, for the whole process; what stands in it meanwhile does for other threads
    what torch's own entries do. Call it where one file is read at a time.
    """
    table: dict[str, Any] = unpickler._get_allowed_globals()
    own = {name: table[name] for name in table if _asks_for_memory(table[name])}
    table |= {name: _bounded(made) for name, made in own.items()}
    try:
        yield
    finally:
        table |= own


def _asks_for_memory(made: Any) -> bool:
    return made is bytearray or made is torch.Tensor or made in torch._tensor_classes


def _bounded(made: Any) -> Callable[..., Any]:
    def make(*values: Any) -> Any:
        asked = [value for value in values if isinstance(value, int)]
        if any(value > _LARGEST_NUMBER for value in asked):
            name = getattr(made, "__name__", str(made))
            # Of an UnpicklingError torch would tell something else.
            raise ValueError(f"it asks for a {name} of {max(asked):,} elements that are not in it")
        return made(*values)

    return make
