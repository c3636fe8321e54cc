"""What an import did, for the terminal, the job table and the pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracin_core.sources import Problem
from tracin_core.sources.plan_data import Plan
from tracin_core.sources.plan_reports import CHANGED_ANSWER, CHANGED_CONTENT
from tracin_core.sources.survey import Survey


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What an import did.

    Attributes:
        slug: The project.
        created: Whether it is new.
        added: Examples added by split.
        skipped_known: Examples that the project had already.
        changed: Of those, the findings that label or content is another one in the data; the
            project keeps what it has.
        duplicates: Examples left out because the same one came before in the data.
        refused: The first problems, findings included; all are counted in ``problem_counts``.
        num_refused: Examples that could not be used.
        problem_counts: Number of problems by what is wrong.
        classes_added: New classes of a project that existed.
        num_planted: Labels or numbers that were made wrong on purpose.
        notes: What a person should know of how it went.
        seconds: How long it took.
    """

    slug: str
    created: bool
    added: Mapping[str, int]
    skipped_known: int
    duplicates: int
    changed: int = 0
    refused: tuple[Problem, ...] = ()
    num_refused: int = 0
    problem_counts: Mapping[str, int] = field(default_factory=dict)
    classes_added: tuple[str, ...] = ()
    num_planted: int = 0
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        problems = [
            {"row": p.row, "where": p.where, "message": p.message, "what": p.what}
            for p in self.refused
        ]
        plain = {
            "added": dict(self.added),
            "problem_counts": dict(self.problem_counts),
            "classes_added": list(self.classes_added),
            "notes": list(self.notes),
        }
        return {**vars(self), "refused": problems, **plain}


def make_report(
    slug: str,
    created: bool,
    survey: Survey,
    plan: Plan,
    seconds: float,
    notes: tuple[str, ...] = (),
) -> ImportReport:
    """Sum up an import."""
    counts = survey.problems.counts + plan.problems.counts
    return ImportReport(
        slug=slug,
        created=created,
        added=plan.counts(),
        skipped_known=plan.num_known,
        duplicates=plan.duplicates,
        changed=counts[CHANGED_ANSWER] + counts[CHANGED_CONTENT],
        refused=(*survey.problems.kept, *plan.problems.kept),
        num_refused=survey.problems.num_refused,
        problem_counts=dict(counts.most_common()),
        classes_added=plan.classes_added,
        num_planted=int((plan.ways != 0).sum()),
        notes=notes,
        seconds=seconds,
    )
