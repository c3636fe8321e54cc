"""The base class of sources, and the preview made of one.

A format says how its examples are read and where they are; what a plan makes of them is described
here for all formats alike (``describe_plan``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from io import BytesIO

import numpy as np

from relabel.features.image import read_image
from relabel.importers.classes import Plan
from relabel.importers.columns.gold_labels import NO_GOLD_LABEL
from relabel.importers.columns.label_status import LEFT_OUT
from relabel.importers.columns.roles import SPLIT_UNUSED
from relabel.importers.files.images import check_images, rescale_deep_images
from relabel.importers.options import ImportOptions
from relabel.importers.plan import make_plan
from relabel.importers.records import (
    Column,
    Depths,
    Preview,
    PreviewRow,
    Problem,
    Source,
    SourceRecord,
)
from relabel.importers.scan import Survey, describe_refused, hash_key, survey_source
from relabel.text import Kind, Task
from tracin_core.errors import InputError

# Millions of pixels that a preview decodes: some seconds. Headers tell the rest.
PREVIEW_MEGAPIXELS = 500.0
THUMBNAIL_EDGE = 96  # pixels
_MUCH = 0.2  # share of the data
# Reasons that the data itself gives for leaving an example out.
_BY_ITS_OWN_WORD = (LEFT_OUT, SPLIT_UNUSED, NO_GOLD_LABEL)
MAX_SHOWN_TEXT = 500  # characters


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
        """Describe which records are the same only because something is left out."""
        return ()

    def records(self, *, check_pixels: float = float("inf")) -> Iterator[SourceRecord | Problem]:
        """Yield the examples; see ``Source.records``."""
        if self.kind != "image":
            return self.read()
        if check_pixels > 0:
            return check_images(self.read(), check_pixels, self.depths)
        return rescale_deep_images(self.read(), self.depths.range)

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
        return make_preview(self, rows)


def make_preview(source: Source, rows: int = 20) -> Preview:
    """Read a source once and say what was understood.

    Raises:
        InputError: If the data as a whole cannot be imported.
    """
    survey = survey_source(source, rows=rows, check_pixels=PREVIEW_MEGAPIXELS)
    return describe_plan(source, survey, make_plan(source, survey))


def describe_plan(source: Source, survey: Survey, plan: Plan) -> Preview:
    """Describe what was understood of a source and what will become of its examples."""
    options = source.options
    found = Counter(survey.problems.counts)
    found.update(plan.problems.counts)
    repeated = source.explain_repeats(plan.repeats, plan.duplicates)
    return Preview(
        format=source.format,
        kind=source.kind,
        task=source.task,
        target=source.target,
        classes=plan.classes,
        counts=plan.counts(),
        class_counts=_count_classes(plan),
        columns=source.columns,
        rows=tuple(
            _show(record, survey, plan)
            for record in rescale_deep_images(iter(survey.shown), source.depths.range)
            if isinstance(record, SourceRecord)
        ),
        problems=(*survey.problems.kept, *plan.problems.kept),
        problem_counts=dict(found.most_common()),
        notes=(
            *_note_refused(survey),
            *source.notes,
            *source.depths.describe(),
            *plan.notes,
            *repeated,
        ),
        num_usable=int(plan.kept.sum()),
        num_refused=survey.problems.num_refused,
        num_findings=sum(
            sum(log.counts.values()) - log.num_refused for log in (survey.problems, plan.problems)
        ),
        duplicates=plan.duplicates,
        options=options,
    )


def _note_refused(survey: Survey) -> list[str]:
    """Report that much of the data cannot be used, for another reason than its own word."""
    counts = survey.problems.counts
    unmeant = survey.problems.num_refused - sum(counts[what] for what in _BY_ITS_OWN_WORD)
    if unmeant < _MUCH * (len(survey) + unmeant):
        return []
    return [describe_refused(survey.problems, len(survey))]


def _count_classes(plan: Plan) -> dict[str, int]:
    if not plan.classes:
        return {}
    counts = np.bincount(plan.data_labels[plan.kept], minlength=len(plan.classes))
    return {name: int(count) for name, count in zip(plan.classes, counts, strict=True)}


def _show(record: SourceRecord, survey: Survey, plan: Plan) -> PreviewRow:
    """Show a record as the data has it, in the split it will have."""
    digest = np.frombuffer(hash_key(record.key()), dtype=survey.digests.dtype)
    number = int(np.flatnonzero(survey.digests == digest)[0])
    value = record.value
    return PreviewRow(
        where=record.where,
        split="test" if plan.splits[number] == 1 else "train",
        answer=_name_class(plan, number) if value is None else f"{value:.10g}",
        text=None if record.text is None else record.text[:MAX_SHOWN_TEXT],
        fields=record.fields,
        image=_thumbnail(record),
    )


def _name_class(plan: Plan, number: int) -> str:
    """Return the class that the data gives an example; spellings may have been merged."""
    return plan.classes[plan.data_labels[number]] if plan.classes else ""


def _thumbnail(record: SourceRecord) -> bytes | None:
    if record.image is None:
        return None
    try:
        image = read_image(record.image.to_file()[0])
    except InputError:
        return None
    image.thumbnail((THUMBNAIL_EDGE, THUMBNAIL_EDGE))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
