"""Growth by given keys: a known key with another content is said, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.examples import get_example
from relabel.importers import plan
from relabel.importers.options import ImportOptions
from relabel.importers.preview import preview_import, survey_for
from tests.relabel.importers.builders import picture
from tests.relabel.importers.ingest.test_importing import command, run, views
from tests.relabel.importers.ingest.test_importing import engine as engine
from tests.relabel.importers.ingest.test_importing import own as own

CHANGED = plan.CHANGED_CONTENT


def keyed_texts(path: Path, rows: int = 30, **changed: str) -> Path:
    """Make a table whose keys are a0, a1, ...; some with another text."""
    data = pd.DataFrame({"id": [f"a{n}" for n in range(rows)]})
    data["text"] = [changed.get(key, f"the words of {key}") for key in data["id"]]
    data["label"] = ["good", "bad"] * (rows // 2)
    data.to_csv(path, index=False)
    return path


def by_key(engine):
    return {v.key: v for split in ("train", "test") for v in views(engine, split=split)}


def test_another_text_under_a_known_key_is_reported_and_the_stored_one_kept(engine, own, tmp_path):
    path = keyed_texts(tmp_path / "t.csv")
    run(engine, own, path, key="id")
    decided = by_key(engine)["a7"]
    record_decision(
        engine,
        NewDecision(example_id=decided.id, expected_version=0, reviewer="ann", action="exclude"),
    )
    keyed_texts(path, 32, a7="quite another text", a9="this one as well")
    surveyed = survey_for(engine, "mine", path, ImportOptions())
    shown, _ = preview_import(engine, own, "mine", surveyed)
    report = run(engine, own, path)
    assert shown.problem_counts == report.problem_counts == {CHANGED: 2}
    assert [(p.row, p.refused) for p in report.refused] == [(9, False), (11, False)]
    assert "The key 'a7' is known with another text" in report.refused[0].message
    assert "kept as it was, with every decision" in report.refused[0].message
    assert (report.changed, report.skipped_known, sum(report.added.values())) == (2, 30, 2)
    assert by_key(engine)["a7"].text == "the words of a7"
    assert get_example(engine, decided.id, None).status == "excluded"


def test_other_pixels_under_a_known_key_are_reported(engine, own, tmp_path):
    data = pd.DataFrame({"file": [f"{n}.png" for n in range(20)], "id": range(100, 120)})
    data["label"] = ["a", "b"] * 10
    data.to_csv(tmp_path / "d.csv", index=False)
    for n in range(20):
        (tmp_path / f"{n}.png").write_bytes(picture(n))
    run(engine, own, tmp_path / "d.csv", key="id", image="file")
    (tmp_path / "4.png").write_bytes(picture(99))
    report = run(engine, own, tmp_path / "d.csv")
    assert report.problem_counts == {CHANGED: 1}
    assert report.refused[0].where == "row 6"
    assert "'104' is known with another image" in report.refused[0].message
    stored = own.media_folder("mine") / by_key(engine)["104"].media_path
    assert stored.read_bytes() == picture(4)


def test_other_values_under_a_known_key_are_reported_and_equal_ones_are_not(engine, own, tmp_path):
    data = pd.DataFrame({"id": [f"k{n}" for n in range(30)], "size": np.arange(30) / 4})
    data["kind"], data["label"] = ["u", "v", ""] * 10, ["x", "y"] * 15
    data.to_parquet(tmp_path / "d.parquet")
    run(engine, own, tmp_path / "d.parquet", key="id")
    data.to_csv(tmp_path / "same.csv", index=False)  # 3.0 is 3 in one of them
    assert run(engine, own, tmp_path / "same.csv").problem_counts == {}
    data.loc[12, "size"] = 99.5
    data.to_csv(tmp_path / "other.csv", index=False)
    report = run(engine, own, tmp_path / "other.csv")
    assert report.problem_counts == {CHANGED: 1}
    assert "'k12' is known with other values" in report.refused[0].message


def test_text_and_label_of_one_key_may_both_have_changed(engine, own, tmp_path):
    path = keyed_texts(tmp_path / "t.csv")
    run(engine, own, path, key="id")
    path.write_text(path.read_text().replace("a3,the words of a3,bad", "a3,new words,good"))
    report = run(engine, own, path)
    assert report.problem_counts == {"changed in the data": 1, CHANGED: 1}
    assert [p.row for p in report.refused] == [5, 5]
    assert "'bad'" in report.refused[0].message


def test_all_changes_are_counted_and_the_first_are_told(engine, own, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "KEPT_PER_KIND", 3)
    path = keyed_texts(tmp_path / "t.csv")
    run(engine, own, path, key="id")
    keyed_texts(path, **{f"a{n}": f"new text {n}" for n in range(8)})
    report = run(engine, own, path)
    assert report.problem_counts == {CHANGED: 8}
    assert [p.row for p in report.refused] == [2, 3, 4]


@pytest.mark.parametrize("count", [1, 2])
def test_the_command_says_how_many_changed(own, tmp_path, capsys, count):
    path = keyed_texts(tmp_path / "t.csv")
    assert command(own, "mine", str(path), "--key", "id") == 0
    keyed_texts(path, **{f"a{n}": f"new text {n}" for n in range(count)})
    assert command(own, "mine", str(path)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    words = "1 had changed and stays" if count == 1 else "2 had changed and stay"
    assert f"{words} as imported" in shown
    assert "known with another" in shown
