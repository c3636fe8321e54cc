"""A backup carries second opinions and what waits for one, and gives nobody a right."""

from __future__ import annotations

import json
import zipfile

from sqlalchemy import func, select

from relabel.db.decisions.recording import NewDecision
from relabel.db.engine import reading
from relabel.db.projects import get_project
from relabel.db.schema import OpinionRow
from relabel.db.team.opinions import list_pairs, record_opinion, undo_opinion
from relabel.db.team.reviewers import LEAD, Identity, list_reviewers, set_role
from relabel.db.team.second_looks import count_waiting, read_wish, set_share
from relabel.projects.backup import backup_project
from relabel.projects.backup_file import MANIFEST
from relabel.projects.restore import restore_project
from relabel.workspace import Workspace

TOKEN, BACK = "token-of-the-answer-1", "token-of-the-answer-2"


def build_answers(scene):
    engine = scene.engine
    set_share(engine, scene.project.id, 1.0, by=Identity("Ann"))
    first = scene.decide(scene.train_ids[0], reviewer="Ann")
    scene.decide(scene.train_ids[1], reviewer="Ann")
    example_id = scene.train_ids[0]
    record_opinion(engine, NewDecision(example_id, 0, "Bob", "keep", token=TOKEN), first.id)
    undo_opinion(engine, TOKEN, reviewer="Bob", identity_source="typed", own_token=BACK)
    record_opinion(engine, NewDecision(example_id, 0, "Bob", "exclude", note="?"), first.id)
    set_role(engine, "Ann", LEAD)


def describe(engine, project):
    pairs = [
        (one.key, one.first, one.first_action, one.second, one.second_action, one.is_open)
        for one in list_pairs(engine, project.id)
    ]
    return pairs, count_waiting(engine, project.id), read_wish(project.settings)


def test_second_opinions_come_back_whole(scene, tmp_path):
    build_answers(scene)
    place = Workspace(root=tmp_path / "work", database_url=str(scene.engine.url))
    place.prepare()
    path = backup_project(scene.engine, place, scene.project.slug, tmp_path / "team.zip")
    restored = restore_project(scene.engine, place, path, slug="again")
    before = describe(scene.engine, get_project(scene.engine, scene.project.slug))
    assert describe(scene.engine, restored) == before
    assert before[0] == [("train-0", "Ann", "keep", "Bob", "exclude", True)]
    assert before[1] == 1
    with reading(scene.engine) as connection:
        counts = select(OpinionRow.project_id, func.count()).group_by(OpinionRow.project_id)
        assert [count for _, count in connection.execute(counts)] == [3, 3]
        tokens = select(OpinionRow.token).where(OpinionRow.project_id == restored.id)
        assert set(connection.scalars(tokens)) == {None}
    with zipfile.ZipFile(path) as archive:
        columns = json.loads(archive.read("rows/reviewer.jsonl").splitlines()[0])
    assert not {"role", "name_key"} & set(columns)
    assert {one.name: one.role for one in list_reviewers(scene.engine)}["Ann"] == LEAD


def test_a_backup_of_an_older_version_has_no_second_opinions(scene, tmp_path):
    scene.decide(scene.train_ids[0])
    place = Workspace(root=tmp_path / "work", database_url=str(scene.engine.url))
    place.prepare()
    path = backup_project(scene.engine, place, scene.project.slug, tmp_path / "new.zip")
    older = tmp_path / "old.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(older, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name in ("rows/opinion.jsonl", "rows/second_look.jsonl"):
                continue
            if name == MANIFEST:
                listed = json.loads(content)
                for table in ("opinion", "second_look"):
                    del listed["counts"][table], listed["entries"][f"rows/{table}.jsonl"]
                content = json.dumps(listed).encode()
            target.writestr(name, content)
    restored = restore_project(scene.engine, place, older, slug="older")
    assert list_pairs(scene.engine, restored.id) == []
