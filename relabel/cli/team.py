"""``role``: who leads, and who reviews."""

from __future__ import annotations

from collections.abc import Iterable

import click
from rich.table import Table
from rich.text import Text

from relabel.cli.context import open_workspace
from relabel.cli.display import print_table
from relabel.cli.parameters import Location, command
from relabel.db.team.reviewers import (
    IDENTITY_SOURCES,
    ROLES,
    IdentitySource,
    Reviewer,
    Role,
    list_reviewers,
    make_name_key,
    set_role,
)


@command
@click.argument("name", required=False, metavar="[NAME]", help="whose; without one, all are listed")
@click.argument(
    "role", required=False, type=click.Choice(ROLES), metavar="[lead|reviewer]", help="which one"
)
@click.option(
    "--identity",
    type=click.Choice(IDENTITY_SOURCES),
    help="how the name is known: typed, signed in (oidc), or set for the server (account); "
    "default: as it is known already, else typed",
)
def role(
    location: Location, name: str | None, role: Role | None, identity: IdentitySource | None
) -> int:
    """Give a person a role, or list what roles there are."""
    opened = open_workspace(location, "look" if role is None else "work")
    if name is None or role is None:
        people = list_reviewers(opened.engine)
        wanted = None if name is None else make_name_key(name)
        _print(one for one in people if wanted is None or make_name_key(one.name) == wanted)
        if not any(one.role == "lead" for one in people):
            print("There is no lead: everybody may undo, settle and export.")
        return 0
    for source in _find_sources(list_reviewers(opened.engine), name, identity):
        changed = set_role(opened.engine, name, role, identity_source=source)
        print(f"{changed.name} ({source}): {changed.role}")
    return 0


def _find_sources(
    people: list[Reviewer], name: str, identity: IdentitySource | None
) -> list[IdentitySource]:
    if identity is not None:
        return [identity]
    key = make_name_key(name)
    known: list[IdentitySource] = [
        source
        for source in IDENTITY_SOURCES
        if any(make_name_key(one.name) == key and one.identity_source == source for one in people)
    ]
    return known or ["typed"]


def _print(people: Iterable[Reviewer]) -> None:
    table = Table()
    for title in ("name", "identity", "role"):
        table.add_column(title)
    for one in people:
        table.add_row(Text(one.name), one.identity_source, one.role)
    print_table(table)
