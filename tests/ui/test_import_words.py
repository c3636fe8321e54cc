"""What an import's page says of data, above the list of its problems."""

from __future__ import annotations

import pytest

from relabel.importers.preview import ImportPreview
from relabel.importers.records import Preview
from ui.projects.import_form import summarize


@pytest.mark.parametrize(
    ("refused", "findings", "expected"),
    [
        (0, 0, []),
        (0, 1, ["1 is kept but worth a look; “Findings” says why."]),
        (2, 0, ["2 cannot be used and would be left out; “Problems” says why."]),
        (
            2,
            3,
            [
                "2 cannot be used and would be left out; “Problems” says why.",
                "3 are kept but worth a look; “Problems” says why.",
            ],
        ),
    ],
)
def test_findings_are_counted_apart_from_what_is_left_out(refused, findings, expected):
    preview = Preview(
        format="table",
        kind="text",
        task="classification",
        classes=("bad", "good"),
        counts={"train": 8, "test": 2},
        problem_counts={"of a kind": refused + findings} if refused + findings else {},
        num_usable=10,
        num_refused=refused,
        num_findings=findings,
    )
    told = summarize(ImportPreview(preview))
    assert told.partition("2 to test with. ")[2] == " ".join(expected)
