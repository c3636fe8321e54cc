"""Where examples are in a person's data: filled in where it is missing, else left alone."""

from __future__ import annotations

from sqlalchemy import select

from relabel.db.bulk import FoundPlace, fill_places, lacks_places
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project
from relabel.db.schema import ExampleRow


def test_missing_places_are_filled_in_and_known_ones_stay(engine):
    projects = [
        create_project(engine, slug=slug, title="P", kind="text", classes=("a", "b"))
        for slug in ("mine", "other")
    ]
    for project in projects:
        rows = [
            NewExample("known", "train", 0, source_place="a.csv, row 2"),
            NewExample("missing", "train", 1),
            NewExample("tested", "test", 0),
            NewExample("gone", "test", 1),
        ]
        add_examples(engine, project.id, rows)
    found = [
        FoundPlace("known", "train", "b.csv, row 2"),
        FoundPlace("missing", None, "b.csv, row 3"),
        FoundPlace("missing", "train", "b.csv, row 4"),
        FoundPlace("tested", "train", "b.csv, row 5"),
        FoundPlace("tested", "test", "b.csv, row 6"),
        FoundPlace("nobody's", None, "b.csv, row 7"),
    ]
    fill_places(engine, projects[0].id, found)
    query = select(ExampleRow.project_id, ExampleRow.key, ExampleRow.source_place)
    with engine.connect() as connection:
        places = {(row.project_id, row.key): row.source_place for row in connection.execute(query)}
    mine, other = (project.id for project in projects)
    assert {key: place for (project, key), place in places.items() if project == mine} == {
        "known": "a.csv, row 2",
        "missing": "b.csv, row 3",
        "tested": "b.csv, row 6",
        "gone": None,
    }
    assert places[other, "missing"] is None
    assert lacks_places(engine, mine)
    fill_places(engine, mine, [FoundPlace("gone", None, "b.csv, row 8")])
    assert not lacks_places(engine, mine)
    assert lacks_places(engine, other)
