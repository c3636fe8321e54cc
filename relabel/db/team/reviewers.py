"""Reviewers: the people who decide, by name, by how the name is known, and what they may do.

Names that differ in capitals, in the width of characters or in inner spaces alone are one person's;
the first spelling stays. Without a lead everybody may do everything; where there is one, only leads
take back what others decided, settle disagreements and export.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from relabel.db.engine import reading, writing
from relabel.db.schema import ReviewerRow, utc_now
from relabel.errors import InvalidDecisionError, NotAllowedError, NotFoundError

IdentitySource = Literal["account", "typed", "oidc"]
IDENTITY_SOURCES: tuple[IdentitySource, ...] = ("account", "typed", "oidc")
# Characters; longer than any name or address (RFC 5321 allows 254), short enough for a table.
# Why nothing is recorded where nobody has said who decides.
NAMELESS = "The reviewer's name is empty. Expected a name to keep with each decision: enter yours."
LONGEST_NAME = 254


Role = Literal["reviewer", "lead"]
REVIEWER: Role = "reviewer"
LEAD: Role = "lead"
ROLES: tuple[Role, ...] = (REVIEWER, LEAD)

_any_lead = exists().where(ReviewerRow.__table__.alias("other").c.role == LEAD)


@dataclass(frozen=True)
class Identity:
    """Who a screen says that it is, before anything has been decided.

    Attributes:
        name: As it was typed or told.
        source: How it is known; as in `Reviewer`.
    """

    name: str
    source: IdentitySource = "typed"

    @property
    def key(self) -> str:
        """Return what all spellings of the name have in common; "" where there is none."""
        return make_name_key(self.name)

    @property
    def holder(self) -> str:
        """Return what tells the person from all others."""
        return f"{self.source}:{self.key}"


@dataclass(frozen=True)
class Reviewer:
    """A person who decides.

    Attributes:
        name: As it was spelled first.
        identity_source: "account" (set by whoever started the server), "typed" (whatever was
            typed: attribution, not authentication) or "oidc" (signed in).
        role: "reviewer" or "lead".
        may_lead: Whether the person may do what a lead does: a lead, or anybody where there is no
            lead.
    """

    id: int
    name: str
    identity_source: str
    role: str = REVIEWER
    may_lead: bool = True


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
    key = make_name_key(name)
    found = _find(connection, key, identity_source)
    if found is None:
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(ReviewerRow).values(
                        name=name,
                        name_key=key,
                        identity_source=identity_source,
                        created_at=utc_now(),
                    )
                )
        except IntegrityError:
            # On PostgreSQL another transaction may have entered the name a moment ago; then it
            # is there now. Anything else shows in the next lines.
            found = None
        found = _find(connection, key, identity_source)
    if found is None:
        raise NotFoundError(f"The reviewer {name!r} could not be entered. Try again.")
    return found


def find_reviewer(engine: Engine, who: Identity) -> Reviewer | None:
    """Return a reviewer who has been entered, or None."""
    with reading(engine) as connection:
        return _find(connection, who.key, who.source)


_FIND = select(
    ReviewerRow.id, ReviewerRow.name, ReviewerRow.role, _any_lead.label("has_lead")
).where(
    ReviewerRow.name_key == bindparam("key"), ReviewerRow.identity_source == bindparam("source")
)


def _find(connection: Connection, key: str, identity_source: str) -> Reviewer | None:
    row = connection.execute(_FIND, {"key": key, "source": identity_source}).one_or_none()
    if row is None:
        return None
    may_lead = row.role == LEAD or not row.has_lead
    return Reviewer(row.id, row.name, identity_source, row.role, may_lead)


def any_lead(engine: Engine) -> bool:
    """Return whether somebody leads; without a lead everybody may do everything."""
    with reading(engine) as connection:
        return bool(connection.scalar(select(_any_lead)))


def may_lead(engine: Engine, who: Identity) -> bool:
    """Return whether a person may do what a lead does."""
    found = find_reviewer(engine, who)
    return not any_lead(engine) if found is None else found.may_lead


def list_reviewers(engine: Engine) -> list[Reviewer]:
    """Return everybody who has decided something or has a role, by name."""
    columns = (ReviewerRow.id, ReviewerRow.name, ReviewerRow.identity_source, ReviewerRow.role)
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).order_by(ReviewerRow.name_key)).all()
    has_lead = any(row.role == LEAD for row in rows)
    return [Reviewer(*row, may_lead=row.role == LEAD or not has_lead) for row in rows]


def check_lead(engine: Engine, who: Identity, deed: str) -> None:
    """Check that a person may do what only leads do where there is one.

    Args:
        engine: The database.
        who: The person.
        deed: What is wanted, as in "export the labels".

    Raises:
        NotAllowedError: If there is a lead, and it is somebody else.
    """
    if not may_lead(engine, who):
        with reading(engine) as connection:
            raise refuse(connection, deed)


def refuse(connection: Connection, deed: str) -> NotAllowedError:
    """Return the error that says who may do what only leads do."""
    leads = connection.scalars(select(ReviewerRow.name).where(ReviewerRow.role == LEAD)).all()
    return NotAllowedError(
        f"Only a lead may {deed}. Ask {' or '.join(leads)}, or have somebody made a lead on Team."
    )


def set_role(
    engine: Engine,
    name: str,
    role: Role,
    *,
    identity_source: IdentitySource = "typed",
    by: Identity | None = None,
) -> Reviewer:
    """Give a person a role.

    Args:
        engine: The database.
        name: Whose; entered if new.
        role: "reviewer" or "lead".
        identity_source: How the person's name is known.
        by: Who gives it; None for whoever has the command line, and with it the database.

    Raises:
        NotAllowedError: If there is a lead, and it is not who gives the role.
        InvalidDecisionError: If the name is none, or the role is unknown.
    """
    if role not in ROLES:
        raise InvalidDecisionError(f"Found the role {role!r}. Expected one of {', '.join(ROLES)}.")
    if by is not None:
        check_lead(engine, by, "give roles")
    with writing(engine) as connection:
        found = reviewer_in(connection, name, identity_source)
        connection.execute(update(ReviewerRow).where(ReviewerRow.id == found.id).values(role=role))
        changed = _find(connection, make_name_key(name), identity_source)
    assert changed is not None  # noqa: S101 - for the type checker
    return changed


def make_name_key(name: str) -> str:
    """Return what names have in common that differ in capitals, width or inner spaces alone."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def is_named(name: str) -> ColumnElement[bool]:
    """Return the condition that a reviewer has this name, however it is spelled."""
    return ReviewerRow.name_key == make_name_key(name)


def clean_name(name: str) -> str:
    """Return the name without surrounding space.

    Raises:
        InvalidDecisionError: If it is empty, too long or holds control characters.
    """
    cleaned = name.strip()
    if not cleaned:
        raise InvalidDecisionError(NAMELESS)
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
