"""A database that was used again is as empty as a new one, or it is not used again."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, make_url, text

from relabel.db.engine import open_database
from relabel.db.projects import create_project
from tests.relabel.empty_databases import EmptyDatabases

pytestmark = pytest.mark.slow


def test_the_next_test_finds_no_row_and_the_first_number(postgresql_databases: EmptyDatabases):
    numbers, urls = [], []
    for _ in range(2):
        url = postgresql_databases.take()
        engine = open_database(url)
        project = create_project(engine, slug="p", title="P", kind="text", classes=["a", "b"])
        numbers.append(project.id)
        urls.append(url)
        engine.dispose()
        postgresql_databases.give_back(url)
    assert urls[0] == urls[1]
    assert numbers == [1, 1]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE project ADD COLUMN colour text",
        "ALTER TABLE decision DISABLE TRIGGER ALL",
        "UPDATE alembic_version SET version_num = 'another'",
    ],
)
def test_one_that_was_changed_itself_is_not_used_again(
    change: str, postgresql_databases: EmptyDatabases
):
    url = postgresql_databases.take()
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    postgresql_databases.give_back(url)
    following = postgresql_databases.take()
    assert following != url
    postgresql_databases.give_back(following)
