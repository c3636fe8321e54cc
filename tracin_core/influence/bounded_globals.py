"""What a checkpoint may make torch allocate: nothing that its own bytes do not pay for.

``torch.load(weights_only=True)`` runs no code of a file, but lets it call a few types of Python and
torch with values of its own. ``bytearray(10**10)`` in a file of 200 bytes takes all memory, and
``torch.Tensor(10**10)`` gives weights that nobody has written. No training program saves either:
real files give them bytes that stand in the file, or nothing. And torch's archives are stored as
they are, so one that unpacks to far more than its size was packed by somebody else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import _weights_only_unpickler as unpickler

from tracin_core.errors import CheckpointError

# Bytes of the pickle in an archive, which holds names and plain values; tensors lie beside it.
LARGEST_PICKLE = 32 * 2**20
# Bytes that an archive may unpack to whatever its size, and how many times its size beyond.
SMALL_ARCHIVE, LARGEST_GROWTH = 64 * 2**20, 4
_LARGEST_NUMBER = 2**20  # bytes that a number alone may ask for


def check_archive(path: Path) -> None:
    """See that an archive of torch's does not unpack to far more than its size.

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
def allocations_bounded() -> Iterator[None]:
    """Let no file ask for memory by a number alone; everything else is as torch has it.

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
