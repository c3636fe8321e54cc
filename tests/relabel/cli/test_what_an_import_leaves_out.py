"""What an import leaves out, and what it keeps but a person should look at, are told apart."""

from __future__ import annotations

import pytest

from relabel.cli.imports import print_preview
from relabel.importers.base import describe_plan
from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.importers.plan import make_plan
from relabel.importers.records import Preview
from relabel.importers.scan import survey_source

ROWS = [f"{n},a text of number {n},{'bad' if n % 2 else 'good'}" for n in range(12)]
CONFLICT = "12,a text of number 3,good"
EMPTY = "13,,good"


@pytest.fixture
def shown(tmp_path, capsys):
    def show(*rows: str) -> tuple[str, Preview]:
        path = tmp_path / "data.csv"
        path.write_text("\n".join(["id,text,label", *ROWS, *rows, ""]))
        source = open_source(path, ImportOptions(key="id"))
        survey = survey_source(source)
        plan = make_plan(source, survey)
        preview = describe_plan(source, survey, plan)
        print_preview(preview, plan, "texts")
        return " ".join(capsys.readouterr().out.replace("│", " ").split()), preview

    return show


def test_findings_do_not_stand_under_no_problems(shown):
    told, preview = shown(CONFLICT)
    assert (preview.num_refused, preview.num_findings) == (0, 1)
    assert "0 with problems" not in told
    assert "left out nothing" in told
    assert "worth a look 1 kept with the findings below" in told
    assert "Findings by kind" in told
    assert "Problems" not in told
    assert "row 14 (kept)" in told


def test_what_is_left_out_is_counted_apart_from_findings(shown):
    told, preview = shown(CONFLICT, EMPTY)
    assert (preview.num_refused, preview.num_findings) == (1, 1)
    assert "left out 1 with problems, 0 repeated" in told
    assert "worth a look 1 kept" in told
    assert "Problems by kind" in told


def test_of_sound_data_nothing_is_worth_a_look(shown):
    told, _ = shown()
    assert "left out nothing" in told
    assert "worth a look" not in told
