"""The workspace folder with its database and projects, and the folder of the screens.

A checkout keeps its workspace in ``data/workspace``; an installed copy in the user's data folder.
``find_app_folder`` returns where ``app.py``, ``ui/``, ``pages/`` and ``.streamlit/`` are, which
lie inside the package in an installed copy, and ``find_program_name`` what a person types there.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from platformdirs import user_data_path

from relabel.errors import WorkspaceError
from tracin_core.files import expand_path

_PACKAGE = Path(__file__).resolve().parent
# The wheel puts them into the package (pyproject.toml), where nobody else's `ui` can be meant.
_INSTALLED = _PACKAGE / "_app"
REPOSITORY_ROOT = _PACKAGE.parent


def is_checkout(package: Path) -> bool:
    """Return whether a package lies in a checkout; wheels of others leave stray files beside it."""
    return (package.parent / "pyproject.toml").is_file() and not (package / "_app").is_dir()


# A checkout keeps its data in it; an installed copy's environment may be made anew any day.
IS_CHECKOUT = is_checkout(_PACKAGE)
_IN_CHECKOUT = REPOSITORY_ROOT / "data" / "workspace"
DEFAULT_WORKSPACE = (
    _IN_CHECKOUT if IS_CHECKOUT else user_data_path("tracin-relabel", appauthor=False) / "workspace"
)
DATABASE_FILE = "tracin.db"
WORKSPACE_VARIABLE = "TRACIN_WORKSPACE"
DATABASE_VARIABLE = "TRACIN_DATABASE_URL"
_PACKAGE = Path(__file__).resolve().parent
# The wheel puts them into the package (pyproject.toml), where nobody else's `ui` can be meant.
_INSTALLED = _PACKAGE / "_app"


@dataclass(frozen=True)
class Workspace:
    """One folder with everything a person's projects consist of.

    Attributes:
        root: The folder; made on first use.
        database_url: SQLAlchemy URL; SQLite in the workspace unless told otherwise.
    """

    root: Path
    database_url: str

    def project_folder(self, slug: str) -> Path:
        """Return the folder of one project, which need not exist."""
        return self.root / "projects" / slug

    def media_folder(self, slug: str) -> Path:
        """Return the folder that every media path of a project is relative to."""
        return self.project_folder(slug) / "media"

    def run_folder(self, slug: str, run_key: str) -> Path:
        """Return the folder of one run: its configuration, checkpoints, signals and vectors."""
        return self.project_folder(slug) / "runs" / run_key

    def truth_path(self, slug: str) -> Path:
        """Return the file with the known true labels, read for evaluation and nothing else."""
        return self.project_folder(slug) / "truth.parquet"

    def prepare(self) -> None:
        """Make the folder and see that it can be written.

        Raises:
            WorkspaceError: If it cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".write-test-{os.getpid()}"
            try:
                probe.write_bytes(b"ok")
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise WorkspaceError(
                f"The workspace {self.root} cannot be written: {error.strerror or error}. "
                "Free some space or mend its permissions, or choose another folder with "
                f"--workspace or {WORKSPACE_VARIABLE}."
            ) from error

    def prepare_to_look(self) -> str:
        """Make the folder if it can be made, and see that it can at least be read.

        Returns:
            What stands in the way of writing, for people; "" where nothing does.

        Raises:
            WorkspaceError: If there is nothing that could be looked at.
        """
        try:
            self.prepare()
        except WorkspaceError as error:
            if not self.root.is_dir() or not os.access(self.root, os.R_OK | os.X_OK):
                raise
            return str(error)
        return ""


def resolve_workspace(folder: str | Path | None = None, database: str | None = None) -> Workspace:
    """Choose the workspace: the argument, else the environment, else the default.

    The default of a checkout is its ``data/workspace``; of an installed copy, a folder among the
    user's data, as the system names it.

    Args:
        folder: Workspace folder, as ``--workspace`` gives it.
        database: SQLAlchemy URL, as ``--database`` gives it.

    Returns:
        The workspace; nothing is created yet.

    Raises:
        InputError: If no folder can have that name.
    """
    root = Path(folder or os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE)
    root = expand_path(root).resolve()
    url = database or os.environ.get(DATABASE_VARIABLE) or f"sqlite:///{root / DATABASE_FILE}"
    return Workspace(root=root, database_url=url)


def describe_other_workspaces(folder: str | Path | None = None) -> str:
    """Return where an installed copy's data may lie from before, and how to use it; else "".

    Installed copies once kept their data inside the environment, and a person may have worked in a
    checkout. Nothing is said where a workspace was chosen.

    Args:
        folder: As for ``resolve_workspace``.
    """
    if IS_CHECKOUT or folder or os.environ.get(WORKSPACE_VARIABLE):
        return ""
    places = (Path.cwd() / "data" / "workspace", _IN_CHECKOUT)
    others = [place for place in dict.fromkeys(places) if (place / DATABASE_FILE).is_file()]
    return "\n".join(
        f"Note: {place} holds projects too, and is not used; this is {DEFAULT_WORKSPACE}. "
        f"To use it, set {WORKSPACE_VARIABLE} or add --workspace {quote(str(place))}; to hear "
        "no more of it, move it away or set the variable."
        for place in others
        if place.resolve() != DEFAULT_WORKSPACE.resolve()
    )


def find_app_folder() -> Path:
    """Return the folder of ``app.py``: inside an installed package, else the checkout's own.

    Run as ``python FOLDER/app.py``, it finds its modules and Streamlit its configuration from
    any working directory.
    """
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent


def find_program_name() -> str:
    """Return what starts the command line here: ``relabel`` or ``python -m relabel``.

    An installed copy has the console command, whatever process of it asks: a job, or the server.
    A checkout need not have it, unless that is what was started.
    """
    is_console_command = Path(sys.argv[0] if sys.argv else "").name == "relabel"
    return "relabel" if is_console_command or not IS_CHECKOUT else "python -m relabel"
