"""All runs of a project, and which of them its pages show."""

from __future__ import annotations

from sqlalchemy import Engine, select, update

from tracin_core.errors import NotFoundError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.run_rows import Run, run_in
from tracin_core.reviews.schema import RunRow


def list_runs(engine: Engine, project_id: int, limit: int = 50) -> list[Run]:
    """Return a project's runs, the latest first."""
    query = (
        select(RunRow.id)
        .where(RunRow.project_id == project_id)
        .order_by(RunRow.created_at.desc(), RunRow.id.desc())
        .limit(limit)
    )
    with reading(engine) as connection:
        return [run_in(connection, run_id) for run_id in connection.scalars(query).all()]


def make_current(engine: Engine, project_id: int, run_id: int) -> Run:
    """Let a project's pages show another of its runs.

    Decisions do not change: they name the run that they were made with.

    Args:
        engine: The database.
        project_id: The project.
        run_id: The run that is to be shown.

    Raises:
        NotFoundError: If the project has no such run.
    """
    with writing(engine) as connection:
        run = run_in(connection, run_id)
        if run.project_id != project_id:
            raise NotFoundError(
                f"The run {run.key} belongs to another project. Choose one of this project's runs."
            )
        # First off, then on: at no moment may two runs be current.
        connection.execute(
            update(RunRow).where(RunRow.project_id == project_id).values(is_current=False)
        )
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(is_current=True))
    return run
