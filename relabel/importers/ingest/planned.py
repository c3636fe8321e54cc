"""Surveyed data and its plan, as the preview hands them to the import; needs no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relabel.importers.classes import Plan
from relabel.importers.files.encoding import EncodingGuesses, FoundEncoding
from relabel.importers.files.shared import FileState, read_state, share_open_files
from relabel.importers.options import ImportOptions
from relabel.importers.records import Source
from relabel.importers.scan import Survey, survey_source
from relabel.progress import OnProgress, Progress, ignore_progress
from tracin_core.files import expand_path

READING = "reading the data"


@dataclass(frozen=True)
class SurveyedSource:
    """Data that was read once, so that the import need not do it again.

    Attributes:
        source: The data.
        survey: What the reading found, every image looked into.
        said: What the person said about it.
        state: Of its file when it was read; None for a folder, and for a file that was written to
            meanwhile.
        encoding: Of a text file, where that had to be found.
    """

    source: Source
    survey: Survey
    said: ImportOptions
    state: FileState | None = None
    encoding: FoundEncoding | None = None


@dataclass(frozen=True)
class PlannedImport:
    """What will become of data that was read.

    Attributes:
        surveyed: The data.
        plan: What will become of its examples.
        into: What the plan supposes of the project; None where there is none yet.
    """

    surveyed: SurveyedSource
    plan: Plan
    into: Mapping[str, Any] | None = None


def survey_data(
    path: Path,
    options: ImportOptions,
    open_it: Callable[[], Source],
    *,
    rows: int = 0,
    check_pixels: float = float("inf"),
    on_progress: OnProgress = ignore_progress,
) -> SurveyedSource:
    """Open data and read it once, with its file open once.

    Args:
        path: The data.
        options: What the person says.
        open_it: Opens the data; called again where an encoding was not what was supposed.
        rows: Examples to keep for a preview.
        check_pixels: Millions of image pixels to decode at most; for an import, all.
        on_progress: Told how far the reading is.

    Raises:
        InputError: If the data cannot be imported.
    """
    path = expand_path(path)
    before = read_state(path)
    guesses = EncodingGuesses()

    def tell(done: int, total: int) -> None:
        # A table's length is known at its end only.
        on_progress(Progress(READING, done, max(total, done + 1)))

    def read() -> tuple[Source, Survey]:
        source = open_it()
        survey = survey_source(source, rows=rows, check_pixels=check_pixels, on_read=tell)
        return source, survey

    with share_open_files():
        source, survey = guesses.run(read)
        after = read_state(path)
        return SurveyedSource(
            source,
            survey,
            options,
            state=after if after == before else None,
            encoding=guesses.find(path),
        )
