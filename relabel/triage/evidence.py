"""The evidence behind a score: its proponents and opponents among the train examples.

It is read from a run's stored vectors and indexes, without torch; indexes that are missing, changed
or of an older program can be built again.

The opponents give a second opinion on a label. An opponent's training step raised the example's
loss: the two look alike to the model and pull toward different labels. Where the given label is
wrong, the right one is often the opponents'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from relabel.errors import RunFolderError
from relabel.runs.folder import RunFolder
from relabel.text import SPLITS, Layers, Split
from tracin_core.errors import RetrievalError
from tracin_core.retrieval.exact import SIDES, Matrix, Measure, SearchResult, Side
from tracin_core.retrieval.index import Index, build_index, open_index


@dataclass(frozen=True)
class Neighbour:
    """A train example that speaks for or against.

    Attributes:
        position: Its position in the train split.
        score: Influence (loss units; of a score, score units), or cosine. Positive for a
            proponent, negative for an opponent, never zero.
    """

    position: int
    score: float


NOBODY = -1  # the position of no train example
# Of each file: its place on the disk, size, and times of the last change of content and of entry.
Status = tuple[tuple[int, int, int, int], ...]


def status_of(path: Path) -> tuple[int, int, int, int]:
    """Return place, size and times of change of a file; zeros where there is none."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0, 0)  # opening it says what is wrong
    # The last one cannot be set by whoever changes a file and puts its time back.
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Evidence:
    """Proponents and opponents of the examples of one run, or of new ones.

    A train example is never its own neighbour. A proponent's score is positive and an
    opponent's negative, so there can be fewer than asked for.

    Args:
        folder: The run's folder. Vectors and indexes are opened when they are first asked for.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._forget()

    @cached_property
    def layers(self) -> tuple[Layers, ...]:
        """Return whose vectors the run has."""
        return self._folder.read_config().scored_layers

    def choose_layers(self, wanted: Layers | None = None) -> Layers:
        """Return the layers that are wanted; of None all, where the run has them."""
        return wanted or self.layers[0]

    def _forget(self) -> None:
        self._vectors = cache(self._folder.vectors)
        self._index = cache(self._open_index)
        self._opened: dict[tuple[Layers, Split], Status] = {}
        self._faults: dict[Layers, str] = {}

    def _check_files(self, layers: Layers, split: Split) -> None:
        """Open the vectors again where their file is not the one that was opened.

        Reading beyond the end of a memory-mapped file that was cut ends the process; opening it
        anew raises an error instead.
        """
        for part in {split, SPLITS[0]}:
            status = self._file_status(layers, part)
            if self._opened.setdefault((layers, part), status) != status:
                self._forget()
                self._opened[layers, part] = status

    def _file_status(self, layers: Layers, split: Split) -> Status:
        paths = [self._folder.vectors_path(layers, split)]
        if split == SPLITS[0]:
            # Annoy has its files mapped as well. Of a digest that was right when they were opened
            # nothing is left once they change.
            paths += sorted(self._folder.index_path(layers).rglob("*"))
        return tuple(map(status_of, paths))

    def neighbours(
        self,
        split: Split,
        position: int,
        *,
        side: Side,
        k: int = 10,
        layers: Layers | None = None,
        measure: Measure = "influence",
    ) -> list[Neighbour]:
        """Return the train examples that speak for or against one example, strongest first.

        Args:
            split: Of the example.
            position: Of the example in its split.
            side: ``"proponents"`` or ``"opponents"``.
            k: At most so many.
            layers: Gradients of all layers, or of the last one; None for all where the run has
                them.
            measure: Influence (dot product), or cosine, which ignores how large the gradients are.

        Raises:
            RunFolderError: If the run has no such example or layers, or a file is missing or
                corrupt.
        """
        return self.neighbours_of_many(
            split, [position], side=side, k=k, layers=layers, measure=measure
        )[0]

    def neighbours_of_many(
        self,
        split: Split,
        positions: Sequence[int],
        *,
        side: Side,
        k: int = 10,
        layers: Layers | None = None,
        measure: Measure = "influence",
    ) -> list[list[Neighbour]]:
        """Return the neighbours of many examples at once; one list for each."""
        layers = self.choose_layers(layers)
        queries, own = self._open_queries(split, positions, layers)
        # One more, because a train example can be found for itself.
        found = self._search(queries, side, k + (split == "train"), layers, measure)
        return _select_all(found, side, k, own)

    def both_sides_of_many(
        self,
        split: Split,
        positions: Sequence[int],
        *,
        k: int = 10,
        layers: Layers | None = None,
        measure: Measure = "influence",
    ) -> dict[Side, list[list[Neighbour]]]:
        """Return what `neighbours_of_many` does, of both sides.

        Where the search is exact, the train vectors are gone through once for both: an opponent
        of a vector is a proponent of its negative.
        """
        layers = self.choose_layers(layers)
        queries, own = self._open_queries(split, positions, layers)
        wanted = k + (split == "train")
        # A single query has a way of its own through the vectors, which is the faster one.
        if len(queries) < 2 or (measure == "influence" and self._index(layers).kind != "exact"):
            return {
                side: _select_all(
                    self._search(queries, side, wanted, layers, measure), side, k, own
                )
                for side in SIDES
            }
        found = self._search(
            np.concatenate([queries, -queries]), "proponents", wanted, layers, measure
        )
        half = len(queries)
        against = SearchResult(found.indices[half:], -found.scores[half:])
        found = SearchResult(found.indices[:half], found.scores[:half])
        return {
            "proponents": _select_all(found, "proponents", k, own),
            "opponents": _select_all(against, "opponents", k, own),
        }

    def _open_queries(
        self, split: Split, positions: Sequence[int], layers: Layers
    ) -> tuple[Matrix, np.ndarray]:
        """Return the vectors of some examples, and the positions at which they find themselves."""
        self._check_files(layers, split)
        vectors = self._vectors(layers, split)
        chosen = np.asarray(positions, dtype=np.int64)
        self._check_positions(chosen, split, len(vectors))
        return vectors[chosen], chosen if split == "train" else np.full(len(chosen), NOBODY)

    def neighbours_of_vector(
        self,
        vector: ArrayLike,
        *,
        side: Side,
        k: int = 10,
        layers: Layers | None = None,
        measure: Measure = "influence",
        itself: int = NOBODY,
    ) -> list[Neighbour]:
        """Return the train examples that speak for or against a new example.

        Args:
            vector: Its vector for the same layers, shape ``(D,)``.
            side: ``"proponents"`` or ``"opponents"``.
            k: At most so many.
            layers: As in ``neighbours``.
            measure: As in ``neighbours``.
            itself: Position of the example where it is a train example; it is left out.

        Raises:
            RetrievalError: If the vector does not fit the run or is not finite.
            RunFolderError: If the run has no such layers, or a file is missing or corrupt.
        """
        layers = self.choose_layers(layers)
        self._check_files(layers, "train")
        wanted = k + (itself != NOBODY)
        found = self._search(np.atleast_2d(np.asarray(vector)), side, wanted, layers, measure)
        return _select(found.indices[0], found.scores[0], side, k, itself)

    def recall(self, layers: Layers | None = None) -> float:
        """Return the measured share of true neighbours that influence finds."""
        return self._index(self.choose_layers(layers)).recall

    def index_fault(self, layers: Layers | None = None) -> str:
        """Describe why the run's index is not used and what can be done; nothing where it is."""
        layers = self.choose_layers(layers)
        self._check_files(layers, "train")
        self._index(layers)
        return self._faults.get(layers, "")

    def _search(
        self, queries: Matrix, side: Side, k: int, layers: Layers, measure: Measure
    ) -> SearchResult:
        return self._index(layers).search(queries, k, side, measure=measure)

    def _open_index(self, layers: Layers) -> Index:
        """Open the run's index; without a sound one, search exactly, which needs none."""
        vectors, path = self._vectors(layers, "train"), self._folder.index_path(layers)
        if path.exists():
            try:
                return open_index(path, vectors)
            except RetrievalError as error:
                self._faults[layers] = f"{error} Until then every example is compared, exactly."
        return build_index(vectors, "exact")

    def _check_positions(self, positions: np.ndarray, split: Split, count: int) -> None:
        outside = positions[(positions < 0) | (positions >= count)]
        if len(outside):
            raise RunFolderError(
                f"The run {self._folder.root.name} has no {split} example {outside[0]}: it scored "
                f"{count}. Score the project again to include newer examples."
            )


def open_evidence(run_folder: Path | str) -> Evidence:
    """Open a run's evidence.

    Args:
        run_folder: ``projects/<slug>/runs/<run key>``.

    Raises:
        RunFolderError: If the folder is missing or ``run.json`` is corrupt. Other files are
            checked when they are first needed.
    """
    folder = RunFolder(Path(run_folder))
    folder.read_config()
    return Evidence(folder)


def _select_all(found: SearchResult, side: Side, k: int, own: np.ndarray) -> list[list[Neighbour]]:
    return [
        _select(indices, scores, side, k, itself)
        for indices, scores, itself in zip(found.indices, found.scores, own, strict=True)
    ]


def _select(
    indices: np.ndarray, scores: np.ndarray, side: Side, k: int, itself: int
) -> list[Neighbour]:
    """Return the neighbours without the example itself and scores of the wrong sign."""
    kept = (scores > 0 if side == "proponents" else scores < 0) & (indices != itself)
    pairs = zip(indices[kept][:k].tolist(), scores[kept][:k].tolist(), strict=True)
    return [Neighbour(position, score) for position, score in pairs]


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


@dataclass(frozen=True)
class Suggestion:
    """The label that most opponents carry.

    Attributes:
        label: Class index.
        votes: How many opponents carry it.
        of: How many opponents there are.
    """

    label: int
    votes: int
    of: int


def suggest_label(opponent_labels: Sequence[int], given_label: int) -> Suggestion | None:
    """Return the label that more opponents carry than any other, or None.

    Args:
        opponent_labels: Labels of the opponents, as given or as reviewed, in any order.
        given_label: Label of the example; its opponents are no argument for it.

    Returns:
        None where there are no opponents, where two labels lead with equal votes, or where the
        leading label is the given one.
    """
    ranked = Counter(opponent_labels).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    label, votes = ranked[0]
    if label == given_label:
        return None
    return Suggestion(label=label, votes=votes, of=len(opponent_labels))
