"""What the candidates read of a project's examples, each made once, when it is asked for."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch

from relabel.crossval.registry import Candidate, Matrix, Reads, list_candidates
from relabel.db.project_rules import Project
from relabel.features.backbones.registry import AUTO, NO_FEATURES, find_backbone
from relabel.features.encoding import Encoder, fit_encoder
from relabel.features.frozen import FeatureEncoder, begin_features
from relabel.features.image import ImageEncoder
from relabel.features.joined import JoinedRows
from relabel.features.text import split_words
from relabel.fitting.data import has_stored_rows, open_stored_rows
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import ProjectExamples
from relabel.models.registry import find_network
from relabel.progress import OnProgress, Progress
from relabel.text import SPLITS
from tracin_core.errors import ConfigurationError

# Words of a text that are read, and characters: beyond them a text says nothing new.
MOST_WORDS, MOST_CHARACTERS = 20_000, 5_000
MOST_TERMS = 200_000
# Hashed runs of characters: some share a place, which costs less than a table of millions. Those
# that hardly any text has say nothing that carries over.
HASHED, LEAST_TEXTS_OF_RUN = 2**21, 3
RUNS = (2, 5)
# Grey pictures up to this side are compared by their pixels: scans and digits fill them, and a
# network that knows photographs sees nothing more in them.
SIDE_OF_PIXELS = 32
ROWS_AT_ONCE = 4_096


@dataclass(eq=False)
class Representations:
    """The examples of a project as candidates read them: the train split, then the test split.

    Attributes:
        folder: The project's.
        project: The project.
        examples: Both splits.
        options: What the person chose.
        on_progress: Told about every step.
    """

    folder: Path
    project: Project
    examples: ProjectExamples
    options: WorkOptions
    on_progress: OnProgress
    _made: dict[str, Any] = field(default_factory=dict)

    def read(self, name: Reads) -> Matrix:
        """Return the examples as candidates read them, N rows and M of the test split.

        Raises:
            ConfigurationError: If they cannot be had, with the way out.
            InputError: If an example cannot be read.
        """
        makers: dict[str, Callable[[], Matrix]] = {
            "words": self._make_words,
            "characters": self._make_characters,
            "words and characters": self._join_words_and_characters,
            "features": self._make_features,
            "numbers": self._make_numbers,
            "inputs": self._count_inputs,
        }
        rows: Matrix = self._keep(name, makers[name])
        return rows

    def _keep(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def find_blank(self, name: Reads) -> npt.NDArray[np.bool_]:
        """Return of which examples nothing is known: texts without a known word; ``(N + M,)``."""
        rows: Any = self.read(name)
        if self.project.kind != "text":
            return np.zeros(rows.shape[0], dtype=bool)
        if scipy.sparse.issparse(rows):
            empty: npt.NDArray[np.bool_] = np.diff(rows.indptr) == 0
            return empty
        return rows.find_blank() if isinstance(rows, _Rows) else np.zeros(rows.shape[0], dtype=bool)

    @property
    def num_examples(self) -> int:
        """Return the number of all examples, N + M."""
        return sum(self.examples.counts.values())

    def width(self, name: Reads) -> float:
        """Return the numbers of a row; of sparse ones, those that are not zero on average."""
        rows = self.read(name)
        if scipy.sparse.issparse(rows):
            return float(rows.nnz) / max(rows.shape[0], 1)  # type: ignore[attr-defined]
        return float(rows.shape[1])

    @property
    def features(self) -> str:
        """Return the name of the frozen network whose features were made; empty for none."""
        encoder = self._made.get("encoder")
        return encoder.backbone if isinstance(encoder, FeatureEncoder) else ""

    def identify_features(self) -> dict[str, Any]:
        """Return what decides the features that candidates read, or why they read none.

        "auto" alone would not do: what it finds depends on what is installed.

        Raises:
            ConfigurationError: If features that a person named cannot be had.
        """
        if all(one.reads != "features" for one in self._candidates()):
            return {}
        if self.is_by_pixels():
            return {"kind": "pixels"}
        if self.options.features == NO_FEATURES:
            return {"kind": NO_FEATURES}
        try:
            return self._begin_features().cache_identity()
        except ConfigurationError as error:
            if self.options.features != AUTO:
                raise
            return {"kind": NO_FEATURES, "reason": str(error)}

    def has_features(self) -> bool:
        """Return whether the features of a frozen network lie ready, so that none is run."""
        try:
            return has_stored_rows(self.folder, self._begin_features(), self.examples)
        except ConfigurationError:  # no such network is installed any more
            return False

    def read_pixels(self) -> Matrix:
        """Return the pixels of the examples, rows of length one.

        Raises:
            InputError: If a picture cannot be read.
        """
        pixels = self._image_encoder()
        return _Rows(pixels, self._stored(pixels), unit=True)

    def has_backbone(self) -> bool:
        """Return whether a backbone is at hand, be it damaged."""
        try:
            find_backbone(self.project.kind, self.options.features)  # type: ignore[arg-type]
        except ConfigurationError:
            return False
        return True

    def _candidates(self) -> tuple[Candidate, ...]:
        return list_candidates(self.project.kind, self.project.task)  # type: ignore[arg-type]

    def _texts(self) -> Iterator[str]:
        total = self.num_examples
        contents = chain(*(self.examples.splits[split].contents() for split in SPLITS))
        for number, text in enumerate(contents, start=1):
            yield str(text)
            if number % ROWS_AT_ONCE == 0 or number == total:
                self.on_progress(Progress("counting words", number, total))

    def _make_words(self) -> Matrix:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return self._vectorise(
            lambda: TfidfVectorizer(
                analyzer=_list_terms,
                min_df=2,
                max_features=MOST_TERMS,
                sublinear_tf=True,
                dtype=np.float32,
            ).fit_transform(self._texts())
        )

    def _make_characters(self) -> Matrix:
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        def make() -> Any:
            counts = HashingVectorizer(
                analyzer="char_wb",
                ngram_range=RUNS,
                n_features=HASHED,
                alternate_sign=False,
                norm=None,
                preprocessor=_fold_beginning,
                dtype=np.float32,
            ).transform(self._texts())
            return TfidfTransformer(sublinear_tf=True).fit_transform(_drop_rare(counts))

        return self._vectorise(make)

    def _vectorise(self, make: Callable[[], Any]) -> Matrix:
        """Return sparse rows; texts in which no term occurs twice have rows without numbers."""
        try:
            rows = make().tocsr()
        except ValueError as error:
            if "vocabulary" not in str(error) and "no terms" not in str(error):
                raise
            rows = scipy.sparse.csr_matrix((self.num_examples, 1), dtype=np.float32)
        rows.sort_indices()
        found: Matrix = rows.astype(np.float32)
        return found

    def _join_words_and_characters(self) -> Matrix:
        joined: Matrix = scipy.sparse.hstack(
            [self.read("words"), self.read("characters")], format="csr"
        )
        return joined

    def _make_features(self) -> Matrix:
        if self.is_by_pixels():
            return self.read_pixels()
        if self.options.features == NO_FEATURES:
            raise ConfigurationError("No features of a frozen network were asked for.")
        encoder = self._begin_features()
        stored = self._stored(encoder)
        self._made["encoder"] = encoder.measured(stored[0])
        return _Rows(self._made["encoder"], stored)

    def _begin_features(self) -> FeatureEncoder:
        options, network = self.options, find_network(self.options.model)
        # A network that begins with weights of its own means those, and not the backbone's.
        is_beginning = network is not None and network.load_weights is not None
        encoder: FeatureEncoder = self._keep(
            "begun",
            lambda: begin_features(
                self.project.kind,  # type: ignore[arg-type]
                options.features,
                weights=None if is_beginning else options.weights,
                allow_download=options.allow_download,
            ),
        )
        return encoder

    def is_by_pixels(self) -> bool:
        """Return whether pictures are small and grey, and so are compared by their pixels."""
        if self.project.kind != "image" or self.options.features != AUTO:
            return False
        encoder = self._image_encoder()
        return encoder.channels == 1 and max(encoder.height, encoder.width) <= SIDE_OF_PIXELS

    def _image_encoder(self) -> ImageEncoder:
        def make() -> Encoder:
            return fit_encoder("image", self.examples.splits["train"].contents(at_most=2000))

        encoder = self._keep("pixels", make)
        if not isinstance(encoder, ImageEncoder):
            raise ConfigurationError(f"Found a {type(encoder).__name__} for images.")
        return encoder

    def _make_numbers(self) -> Matrix:
        encoder = fit_encoder(
            "table",
            self.examples.splits["train"].contents(),
            columns=self.project.settings.get("columns", ()),
        )
        return _Rows(encoder, self._stored(encoder))

    def _stored(self, encoder: Encoder) -> tuple[npt.NDArray[Any], ...]:
        stored = open_stored_rows(self.folder, encoder, self.examples, self.on_progress)
        return tuple(np.asarray(stored[split]) for split in SPLITS)

    def _count_inputs(self) -> Matrix:
        return np.zeros((self.num_examples, 1), dtype=np.float32)


class _Rows:
    """Stored rows as a head takes them, float32, made when they are asked for."""

    def __init__(
        self, encoder: Any, stored: Sequence[npt.NDArray[Any]], *, unit: bool = False
    ) -> None:
        self._encoder, self._stored, self._unit = encoder, JoinedRows(stored), unit
        self.shape = (len(self._stored), int(np.prod(stored[0].shape[1:])))

    def __getitem__(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        found = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            chosen = rows[start : start + ROWS_AT_ONCE]
            found[start : start + len(chosen)] = self._make(self._stored[chosen])
        return found

    def find_blank(self) -> npt.NDArray[np.bool_]:
        """Return which rows are nothing but zeros as they are stored, shape ``(N,)``."""
        return np.concatenate([~np.asarray(part).any(axis=1) for part in self._stored.parts])

    def _make(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        made = self._encoder.to_inputs(torch.from_numpy(stored)).flatten(1)
        made = torch.nn.functional.normalize(made, dim=1) if self._unit else made
        rows: npt.NDArray[np.float32] = made.numpy()
        return rows


def _drop_rare(counts: Any) -> Any:
    """Leave out what few texts have, and of very many runs those that fewer texts have."""
    texts = np.bincount(counts.indices, minlength=counts.shape[1])
    kept = np.flatnonzero(texts >= LEAST_TEXTS_OF_RUN)
    if len(kept) > MOST_TERMS:
        kept = np.sort(kept[np.argsort(-texts[kept], kind="stable")[:MOST_TERMS]])
    return counts[:, kept] if len(kept) else counts[:, :1]


def _list_terms(text: str) -> list[str]:
    """Return the words of a text and its pairs of neighbouring words."""
    words = split_words(text, limit=MOST_WORDS)
    return words + [f"{one} {other}" for one, other in pairwise(words)]


def _fold_beginning(text: str) -> str:
    return unicodedata.normalize("NFKC", text[:MOST_CHARACTERS]).casefold()
