"""The overview: pairs that lead to their examples, charts that can be read, what was brought."""

from __future__ import annotations

from urllib.parse import parse_qs

import numpy as np

from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.db.stats import label_confusion
from relabel.db.yields import disputed_pairs
from ui.charts import choose_worst


def test_the_pairs_lead_to_their_examples(open_app, engine):
    project = get_project(engine, "digits")
    run = current_run(engine, project.id)
    counts = label_confusion(engine, run.id, "train", suggested=True)
    most = disputed_pairs(engine, run.id, counts, suggested=True).pairs[0]
    app = open_app("overview", project="digits")
    assert not app.exception
    links = [one.proto for one in app.get("page_link") if one.proto.query_string]
    assert len(links) == 11  # ten pairs, and all of them
    query = {name: value[0] for name, value in parse_qs(links[0].query_string).items()}
    assert query == {
        "project": "digits",
        "given": project.classes[most.given],
        "suggested": project.classes[most.other],
    }
    queue = open_app("queue", **query)
    assert not queue.exception
    assert any(f"{most.count}" in one.value for one in queue.caption)


def test_what_was_decided_is_summed(open_app, open_review):
    assert "Errors found" not in [
        one.label for one in open_app("overview", project="digits").metric
    ]
    screen = open_review(project="digits")
    screen.press("model")
    screen.press("keep")
    app = open_app("overview", project="digits")
    assert not app.exception
    figures = {one.label: one.value for one in app.metric}
    assert figures["Errors found"] == "1"
    assert figures["Errors among the decided"] == "50%"
    assert figures["Decisions an hour"] == "2,400"  # each took 1.5 seconds
    assert any(
        "2 reviewed among the first 2 suspects 1 were errors" in c.value for c in app.caption
    )


def test_of_many_classes_a_chart_shows_those_in_dispute():
    counts = np.diag(np.full(77, 1000))
    counts[70, 3] = counts[5, 60] = 9
    shown = choose_worst(counts)
    assert len(shown) == 15
    assert {3, 5, 60, 70} <= {*shown}
    assert choose_worst(np.eye(4, dtype=np.int64)) == [0, 1, 2, 3]
