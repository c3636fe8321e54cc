"""The server: checks before the start, the app with its own routes, one address.

``python app.py`` checks first and explains what is wrong; ``streamlit run app.py`` works too.
"""

from __future__ import annotations

import errno
import gc
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import streamlit as st
from starlette.middleware import Middleware

from relabel.cli import run_command
from relabel.cli.parameters import Location, command, whole
from relabel.db.engine import is_read_only, open_database
from relabel.db.jobs import fail_dead_jobs
from relabel.projects.delete import finish_removals, remove_abandoned
from relabel.workspace import (
    DATABASE_VARIABLE,
    WORKSPACE_VARIABLE,
    describe_other_workspaces,
    resolve_workspace,
)
from tracin_core.errors import ConfigurationError, TracInError
from ui.failures import report_bug
from ui.review.routes import REVIEW_ROUTES
from ui.server.addresses import ADDRESSES
from ui.server.guard import Guard
from ui.server.pictures import ROUTES
from ui.server.shell import SHELLS

DEFAULT_PORT = 8501
DEFAULT_ADDRESS = "127.0.0.1"


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[dict[str, Any]]:
    """Check that the workspace can be used, and close the books on jobs that died with a server."""
    try:
        check_workspace()
    except TracInError as error:
        # The pages say it too, and begin to work when it has been mended.
        print(error, file=sys.stderr, flush=True)
    else:
        # Deleting a large project takes a while, and nobody needs to wait for it.
        threading.Thread(target=remove_leftovers, name="leftovers", daemon=True).start()
    # Streamlit looks through all objects for garbage after each drawing. What was imported stays,
    # so it is left out: a tenth of a second of each.
    gc.collect()
    gc.freeze()
    yield {}


app = st.App(
    Path(__file__).resolve().parent / "ui" / "router.py",
    routes=[*ADDRESSES, *SHELLS, *ROUTES, *REVIEW_ROUTES],
    lifespan=lifespan,
    middleware=[Middleware(Guard)],
    on_script_error=report_bug,
)


def check_workspace() -> str:
    """Open the database once, so that a broken one is told in the terminal too.

    Returns:
        What stands in the way of recording anything, for people; "" where nothing does.

    Raises:
        TracInError: If there is nothing that could be looked at.
    """
    workspace = resolve_workspace()
    if note := describe_other_workspaces():  # `main` has chosen one; Streamlit's own start not
        print(note, file=sys.stderr, flush=True)
    obstacle = workspace.prepare_to_look()
    engine = open_database(workspace.database_url, to_look=True)
    if is_read_only(engine):
        obstacle = obstacle or f"The database {engine.url.database} is read-only for you."
    fail_dead_jobs(engine)
    engine.dispose()
    return obstacle


def remove_leftovers() -> None:
    """Finish the deletions that a killed process began, and remove what it was writing."""
    workspace = resolve_workspace()
    try:
        engine = open_database(workspace.database_url, to_look=True)
        if not is_read_only(engine):
            remove_abandoned(engine, workspace)
            finish_removals(engine, workspace)
        engine.dispose()
    except (TracInError, OSError) as error:
        print(error, file=sys.stderr, flush=True)


def check_port(address: str, port: int) -> None:
    """Check that the port is free.

    Raises:
        ConfigurationError: If another program listens there, or the address is not ours.
    """
    if not 0 < port < 2**16:
        raise ConfigurationError(
            f"Found port {port}. Expected a number from 1 to 65535, such as --port {DEFAULT_PORT}."
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do, so that a port just given back does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise ConfigurationError(_explain_binding(address, port, error)) from error


def _explain_binding(address: str, port: int, error: OSError) -> str:
    found = f"Port {port} on {address} cannot be used: {error.strerror or error}. "
    if error.errno != errno.EADDRINUSE:
        return (
            f"{found}Expected an address of this machine and a port you may open: "
            f"python app.py --address {DEFAULT_ADDRESS} --port {DEFAULT_PORT}."
        )
    other = port + 1 if port + 1 < 2**16 else DEFAULT_PORT
    return (
        f"{found}Another program (perhaps this app) listens there; stop it, or choose another "
        f"port: make app PORT={other}, or python app.py --port {other}."
    )


def allowed_hosts(address: str, origins: Sequence[str] = ()) -> list[str]:
    """Return the names a browser may call this server by.

    Listening on every interface means under names that only the network knows.

    Args:
        address: Where the server listens.
        origins: Addresses that people open, where a proxy stands before it.
    """
    if address in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        return ["*"]
    named = {urlsplit(origin).hostname or "" for origin in origins}
    return sorted({"127.0.0.1", "localhost", address, *named})


def read_origin(text: str) -> str:
    """Return an address that people open, without what follows its port.

    Raises:
        click.BadParameter: If it is none.
    """
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound:
        raise click.BadParameter(
            f"found {text!r}, expected an address such as https://labels.example.org"
        )
    return f"{parts.scheme}://{parts.netloc}".lower()


@command
@click.option(
    "--port", type=whole(1, 2**16 - 1), default=DEFAULT_PORT, metavar="PORT", show_default=True
)
@click.option(
    "--address",
    default=DEFAULT_ADDRESS,
    show_default=True,
    metavar="ADDRESS",
    help="where to listen; the default is this machine only, as the app has no login",
)
@click.option(
    "--origin",
    multiple=True,
    type=read_origin,
    metavar="URL",
    help="address that people open, where a proxy stands before the app and changes its name "
    "or port; may be given several times",
)
def start(location: Location, port: int, address: str, origin: Sequence[str]) -> int:
    """Start the label review in a browser."""
    try:
        workspace = location.resolve()
        os.environ[WORKSPACE_VARIABLE] = str(workspace.root)
        os.environ[DATABASE_VARIABLE] = workspace.database_url
        check_port(address, port)
        obstacle = check_workspace()
    except TracInError as error:
        print(error, file=sys.stderr)
        return 2
    if obstacle:
        print(f"{obstacle} What is there can be looked at and exported.", file=sys.stderr)
    print(f"Reviewing the projects in {workspace.root}", flush=True)
    print(f"Open http://{address}:{port} in a browser; Ctrl-C stops.", flush=True)
    app.run(
        config={
            "server.port": port,
            "server.address": address,
            "server.allowedHosts": allowed_hosts(address, origin),
            "server.corsAllowedOrigins": list(origin),
        }
    )
    return 0


def main(arguments: list[str]) -> int:
    """Check, say the address, serve until interrupted.

    Returns:
        The exit status.

    Raises:
        SystemExit: With 2, if the options cannot be understood.
    """
    return run_command(start, "app.py", arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
