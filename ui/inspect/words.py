"""The words by which texts influence each other, marked in both.

Only of a network over words and pairs of words, whose influences fall apart by word. What is handed
to the page is text in pieces, each with how much it carries; never markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import streamlit as st

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.features.encoding import encoder_from_json
from relabel.features.ngrams import NgramEncoder
from relabel.models.registry import find_network
from relabel.runs.folder import RunFolder
from relabel.triage.evidence import Status, status_of
from relabel.triage.words import WordMark, cut_at_marks, split_influence
from tracin_core.errors import InputError, TracInError
from ui.components.cards import Piece
from ui.fields import Fields, name_pieces
from ui.session import run_folder

MARKING = "Marked: the words by which the proponents and opponents influence it most."
# Of the word that carries most: from the first share on a word is marked, from the second on twice.
MARKED, MARKED_TWICE = 0.3, 0.6
# Longer texts are shown as they are: their words would be counted anew for every neighbour.
LONGEST_MARKED = 50_000  # characters
# Characters before the first mark that an excerpt shows, where the mark stands far behind.
_BEFORE = 60


class WordMarks:
    """Marks words in the texts that influence one text, and gathers what they mark in that one.

    Args:
        encoder: The run's.
        text: The text that is explained.
    """

    def __init__(self, encoder: NgramEncoder, text: str) -> None:
        self._encoder, self._text = encoder, text
        self._carried: dict[tuple[int, int], float] = {}

    def mark(
        self, text: str, score: float, length: int, fields: Fields | None = None
    ) -> tuple[Piece, ...]:
        """Return an excerpt of a train text in pieces.

        Args:
            text: The train text.
            score: Its influence on the text that is explained, or its cosine.
            length: Characters of the excerpt.
            fields: The texts that it was joined of, by their columns.
        """
        if len(text) > LONGEST_MARKED:
            return ()
        try:
            shared = split_influence(self._encoder, text, self._text, abs(score))
        except InputError:  # a text of blanks
            return ()
        for mark in shared.second:
            place = (mark.start, mark.stop)
            self._carried[place] = self._carried.get(place, 0.0) + mark.amount
        return cut_excerpt(text, shared.first, length, fields)

    def pieces(self, fields: Fields | None = None) -> tuple[Piece, ...]:
        """Return the text that is explained in pieces, by all that has been marked so far.

        Args:
            fields: The texts that it was joined of, by their columns.
        """
        marks = [WordMark(*place, amount) for place, amount in sorted(self._carried.items())]
        return name_pieces(grade_pieces(self._text, marks), fields)


def grade_pieces(text: str, marks: Iterable[WordMark]) -> tuple[Piece, ...]:
    """Return a text in pieces, each with how strongly it is marked: 0 not at all, 1 or 2.

    Args:
        text: The text.
        marks: Its words that carry something, in order.
    """
    chosen = list(marks)
    most = max((mark.amount for mark in chosen), default=0.0)
    kept = [mark for mark in chosen if mark.amount >= MARKED * most > 0]
    return tuple(
        (piece, 0 if not amount else 1 + (amount >= MARKED_TWICE * most))
        for piece, amount in cut_at_marks(text, kept)
    )


def cut_excerpt(
    text: str, marks: Iterable[WordMark], length: int, fields: Fields | None = None
) -> tuple[Piece, ...]:
    """Return so many characters of a text in pieces, where its strongest marks begin.

    Args:
        text: The text.
        marks: Its words that carry something, in order.
        length: Characters to show.
        fields: The texts that it was joined of, by their columns, whose names are shown.
    """
    graded = name_pieces(grade_pieces(text, marks), fields)
    total = sum(len(piece) for piece, _ in graded)
    first = 0
    for piece, grade in graded:
        if grade:
            break
        first += len(piece)
    # From the beginning, unless nothing would be marked there.
    start = 0 if first < length // 2 or first >= total else first - _BEFORE
    shown: list[Piece] = [("…", 0)] if start else []
    place = 0
    for piece, grade in graded:
        part = piece[max(0, start - place) : max(0, start + length - place)]
        place += len(piece)
        if part:
            shown.append((part, grade))
    return (*shown, ("…", 0)) if start + length < total else tuple(shown)


@st.cache_resource(show_spinner=False, max_entries=4)
def _open_encoder(folder: Path, run_key: str, files: Status) -> NgramEncoder | None:
    """Read the run's table of terms once for each state of its file."""
    encoder = encoder_from_json(dict(RunFolder(folder).read_config().encoder))
    return encoder if isinstance(encoder, NgramEncoder) else None


def start_marking(project: Project, run: Run, text: str | None) -> WordMarks | None:
    """Return what marks words of a text and of those that influence it; None where nothing can.

    A run that is damaged is told where its evidence is searched.

    Args:
        project: The project.
        run: Its run.
        text: The text that is explained; None for pictures and rows.
    """
    if not text or len(text) > LONGEST_MARKED:
        return None
    try:
        encoder = find_ngrams(project, run)
    except TracInError:
        return None
    return None if encoder is None else WordMarks(encoder, text)


def find_ngrams(project: Project, run: Run) -> NgramEncoder | None:
    """Return the table of words and pairs of words of a run whose network reads them, else None.

    Raises:
        RunFolderError: If the run is damaged.
        ConfigurationError: If its table is.
    """
    network = find_network(str(dict(run.config.get("model") or {}).get("name", "")))
    if network is None or network.takes != "ngrams":
        return None
    folder = run_folder(project, run)
    return _open_encoder(folder, run.key, (status_of(RunFolder(folder).config_path),))
