"""What all sources share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property

from tracin_core.sources.depths import Depths
from tracin_core.sources.image_files import checked, with_range
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Column, Preview, Problem, SourceRecord
from tracin_core.terms import Kind, Task


class BaseSource(ABC):
    """A source; a format says how its examples are read, and where they are.

    Attributes:
        As in ``Source``.
    """

    format: str
    kind: Kind
    task: Task
    options: ImportOptions
    target: str = ""
    classes: tuple[str, ...] | None = None
    columns: tuple[Column, ...] = ()
    notes: tuple[str, ...] = ()
    num_records: int | None = None
    counts_classes: bool = False

    @abstractmethod
    def read(self) -> Iterator[SourceRecord | Problem]:
        """Yield the examples in a fixed order, without looking into images."""

    @abstractmethod
    def places(self, rows: Collection[int]) -> Mapping[int, str]:
        """Return in words where the records with these numbers are."""

    def adopt_kinds(self, kinds: Mapping[str, str]) -> None:  # noqa: B027 - most have no columns
        """Read the columns as numbers or categories as a project has them already."""

    def explain_repeats(self, pairs: Sequence[tuple[int, int]], total: int) -> tuple[str, ...]:
        """Say which records are the same only because something is left out."""
        return ()

    def records(self, *, check_pixels: float = float("inf")) -> Iterator[SourceRecord | Problem]:
        """Yield the examples; see ``Source.records``."""
        if self.kind != "image":
            return self.read()
        if check_pixels > 0:
            return checked(self.read(), check_pixels, self.depths)
        return with_range(self.read(), self.depths.range)

    @cached_property
    def depths(self) -> Depths:
        """Return what a whole reading met of deep pictures."""
        return Depths()

    def preview(self, rows: int = 20) -> Preview:
        """Read everything once and say what was understood.

        Args:
            rows: Examples to show.

        Raises:
            InputError: If the data as a whole cannot be imported.
        """
        from tracin_core.sources.previewing import make_preview

        return make_preview(self, rows)
