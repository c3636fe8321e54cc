"""The indexes of a run, built again where they are missing, changed or of an older program."""

from __future__ import annotations

from collections.abc import Callable

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.index import open_index
from tracin_core.retrieval.index_build import build_index
from tracin_core.runs import RunFolder
from tracin_core.terms import Layers


def mend_indexes(
    folder: RunFolder, on_step: Callable[[int, int], None] = lambda done, total: None
) -> list[Layers]:
    """Build those of a run's indexes that cannot be used, from the vectors the run has.

    Args:
        folder: Of the run; nothing else may be mending it.
        on_step: Told how many of how many indexes are looked at.

    Returns:
        The layers whose index was built.

    Raises:
        RunFolderError: If the run or its vectors are damaged.
        RetrievalError: If an index cannot be built.
        StorageError: If it cannot be written.
    """
    mended: list[Layers] = []
    every = folder.read_config().scored_layers
    for number, layers in enumerate(every):
        on_step(number, len(every))
        vectors, path = folder.vectors(layers, "train"), folder.index_path(layers)
        try:
            open_index(path, vectors)
        except RetrievalError:
            build_index(vectors, "auto", path)
            mended.append(layers)
    on_step(len(every), len(every))
    return mended
