"""Reviewers: the people who decide, by name and by how the name is known."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError

from relabel.db.engine import writing
from relabel.db.schema import ReviewerRow, utc_now
from relabel.errors import InvalidDecisionError

IdentitySource = Literal["account", "typed", "oidc"]
IDENTITY_SOURCES: tuple[IdentitySource, ...] = ("account", "typed", "oidc")
# Characters; longer than any name or address (RFC 5321 allows 254), short enough for a table.
LONGEST_NAME = 254


@dataclass(frozen=True)
class Reviewer:
    """A person who decides.

    Attributes:
        identity_source: "account" (the operating system's user), "typed" (whatever was typed:
            attribution, not authentication) or "oidc" (signed in).
    """

    id: int
    name: str
    identity_source: str


def ensure_reviewer(
    engine: Engine, name: str, identity_source: IdentitySource = "typed"
) -> Reviewer:
    """Return the reviewer of this name and identity, entered on first use.

    Raises:
        InvalidDecisionError: If the name is empty, too long or holds control characters.
    """
    with writing(engine) as connection:
        return reviewer_in(connection, name, identity_source)


def reviewer_in(connection: Connection, name: str, identity_source: str) -> Reviewer:
    """Return what `ensure_reviewer` does, inside the caller's transaction."""
    name = clean_name(name)
    if identity_source not in IDENTITY_SOURCES:
        raise InvalidDecisionError(
            f"Found the identity source {identity_source!r}. Expected one of "
            f"{', '.join(IDENTITY_SOURCES)}."
        )
    query = select(ReviewerRow.id).where(
        ReviewerRow.name == name, ReviewerRow.identity_source == identity_source
    )
    found = connection.scalar(query)
    if found is None:
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(ReviewerRow).values(
                        name=name, identity_source=identity_source, created_at=utc_now()
                    )
                )
        except IntegrityError:
            # On PostgreSQL another transaction may have entered the name a moment ago; then it
            # is there now. Anything else shows in the next line.
            found = None
        found = connection.scalars(query).one()
    return Reviewer(id=found, name=name, identity_source=identity_source)


def clean_name(name: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidDecisionError: If it is empty, too long or holds control characters.
    """
    cleaned = name.strip()
    if not cleaned:
        raise InvalidDecisionError(
            "The reviewer's name is empty. Expected a name to keep with each decision: enter yours."
        )
    if len(cleaned) > LONGEST_NAME:
        raise InvalidDecisionError(
            f"The reviewer's name has {len(cleaned)} characters. Expected at most {LONGEST_NAME}: "
            "enter a shorter one."
        )
    # Cc: control, Cs: half a surrogate pair, Zl/Zp: line and paragraph separators, and Cf:
    # invisible format characters, with which one name could pass for another.
    if any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in cleaned):
        raise InvalidDecisionError(
            f"The reviewer's name {cleaned!r} holds control or invisible characters. Expected "
            "plain text on one line: enter it again."
        )
    return cleaned
