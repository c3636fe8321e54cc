"""How many examples an export holds, said before it is made."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from relabel.db.decisions.kinds import list_codes
from relabel.db.engine import reading
from relabel.db.schema import DEFERRING, ExampleRow, effective
from relabel.exporters.registry import Exporter
from relabel.text import counted


@dataclass(frozen=True)
class ExportCounts:
    """Examples of a project, of both splits.

    Attributes:
        total: All.
        reviewed: Those that somebody has decided on; of these
        corrected: those with another answer, and
        excluded: those that are left out of training.
    """

    total: int
    reviewed: int
    corrected: int
    excluded: int

    def describe(
        self, exporter: Exporter, *, reviewed_only: bool, excluded: str | None = None
    ) -> str:
        """Return in words what a file holds."""
        drops = (excluded or ("drop" if exporter.drops_excluded else "keep")) == "drop"
        number = self.reviewed if reviewed_only else self.total
        number -= self.excluded if drops else 0
        which = "reviewed" if reviewed_only else f"{self.reviewed:,} of them reviewed"
        left_out = (
            f"; {counted(self.excluded, 'excluded one')} left out"
            if drops and self.excluded
            else f", {self.excluded:,} excluded"
        )
        return f"{counted(number, 'example')}, {which}, {self.corrected:,} corrected{left_out}"


def count_exported(engine: Engine, project_id: int) -> ExportCounts:
    """Count the examples of a project by what was decided."""
    with reading(engine) as connection:
        total = connection.scalars(
            select(func.count()).where(ExampleRow.project_id == project_id)
        ).one()
        found = connection.execute(
            select(effective.c.action, func.count())
            .where(effective.c.project_id == project_id)
            .group_by(effective.c.action)
        )
        by_action: dict[str, int] = {row[0]: row[1] for row in found}
    return ExportCounts(
        total=total,
        reviewed=sum(count for action, count in by_action.items() if action not in DEFERRING),
        corrected=sum(by_action.get(action, 0) for action in list_codes("correct")),
        excluded=sum(by_action.get(action, 0) for action in list_codes("exclude")),
    )
