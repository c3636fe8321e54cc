"""Run by Alembic: migrate the connection that the caller opened and locked.

The caller's transaction spans all revisions, and both dialects change schemas inside one, so
a kill half-way leaves the old schema whole.
"""

from __future__ import annotations

from alembic import context

from relabel.db.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
