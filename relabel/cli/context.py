"""What a command opens first: the workspace with its database, a project, its current run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine

from relabel.cli.parameters import Location
from relabel.db.engine import open_database
from relabel.db.project_rules import Project
from relabel.db.projects import get_project, list_projects
from relabel.db.runs import Run, current_run
from relabel.errors import DatabaseFullError, NotFoundError
from relabel.workspace import Workspace, find_program_name

Use = Literal["work", "look", "delete"]


@dataclass(frozen=True)
class OpenedWorkspace:
    """A workspace with its database."""

    workspace: Workspace
    engine: Engine


@dataclass(frozen=True)
class OpenedProject(OpenedWorkspace):
    """A project as a command uses it."""

    project: Project

    def current_run(self) -> Run:
        """Return the run that the project's suspects come from.

        Raises:
            NotFoundError: If it has not been scored yet.
        """
        run = current_run(self.engine, self.project.id)
        if run is None:
            raise NotFoundError(
                f"Project {self.project.slug} has not been scored yet. Run "
                f"`{find_program_name()} train {self.project.slug}`, which trains and scores it."
            )
        return run


def open_workspace(location: Location, use: Use = "work") -> OpenedWorkspace:
    """Open the workspace and its database.

    Args:
        location: What was said on the command line.
        use: "work" needs to be allowed to write and some room, "look" neither, "delete" no room.

    Raises:
        WorkspaceError: If the workspace cannot be used.
        DatabaseError: If the database cannot be used.
    """
    workspace = location.resolve()
    if use == "work":
        workspace.prepare()
    else:
        workspace.prepare_to_look()
    url = workspace.database_url
    try:
        engine = open_database(url, to_look=use == "look")
    except DatabaseFullError:
        if use != "delete":
            raise
        engine = open_database(url, alone=True)
    return OpenedWorkspace(workspace, engine)


def open_project(location: Location, name: str, use: Use = "work") -> OpenedProject:
    """Open a project by its name; ``use`` as in ``open_workspace``.

    Raises:
        WorkspaceError: If the workspace cannot be used.
        DatabaseError: If the database cannot be used.
        NotFoundError: If there is no such project; the message names those there are.
    """
    opened = open_workspace(location, use)
    workspace, engine = opened.workspace, opened.engine
    try:
        project = get_project(engine, name)
    except NotFoundError as error:
        slugs = [project.slug for project in list_projects(engine)]
        known = f"It holds: {', '.join(slugs)}." if slugs else "It holds no project yet."
        raise NotFoundError(
            f"There is no project called {name!r} in {workspace.root}. {known} "
            f"Bring your data with `{find_program_name()} import`, make the demo projects with "
            f"`{find_program_name()} demo`, or choose another workspace with --workspace."
        ) from error
    return OpenedProject(workspace, engine, project)
