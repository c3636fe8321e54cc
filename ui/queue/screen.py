"""What the queue's screen begins with: the cards of a page, and what can be decided about many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from relabel.db.decisions.checks import mark_example
from relabel.db.decisions.kinds import DECISION_KINDS, RELABEL
from relabel.db.project_rules import Project
from relabel.db.queue import QueueRow
from relabel.db.runs import Run
from relabel.db.schema import UNDECIDED
from relabel.db.team.reviewers import NAMELESS
from relabel.text import shorten
from ui.galleries import queue_card
from ui.labels import is_regression, status_tags
from ui.queue.filters import QueueView, filter_to_json
from ui.server.pictures import picture_address
from ui.session import reviewer_name
from ui.wording import isolate

# Keys of the grid itself: all, undo.
_OWN_KEYS = "au"
_SUGGESTED_KEY = "m"
_NAME_LENGTH = 60  # characters of a class in the box
# Examples on a page of the queue: more of pictures, which are looked at, than of what is read.
_PAGE_SIZES, _OTHERWISE = {"image": 100}, 50


def choose_page_size(kind: str) -> int:
    """Return how many examples of a kind stand on a page of the queue."""
    return _PAGE_SIZES.get(kind, _OTHERWISE)


def describe_screen(
    project: Project,
    run: Run,
    view: QueueView,
    rows: Sequence[QueueRow],
    *,
    keys: Sequence[str],
    passing: int,
    left: int,
    total: int,
) -> dict[str, Any]:
    """Return what the browser is handed.

    Args:
        project: Its classes name the labels.
        run: Ranks the rows.
        view: Order and filter.
        rows: Of this page.
        keys: The key of each class, where there are few enough.
        passing: How many pass the filter.
        left: How many of it are not decided, whatever its state filter.
        total: How many it lets through in all.
    """
    return {
        "project": project.slug,
        "mark": mark_example(project.created_at, ""),
        "query": {"run": run.id, "signal": view.signal, **filter_to_json(view.filter)},
        "reviewer": reviewer_name(),
        "nameless": NAMELESS,
        "label": "Suspects",
        "cards": [describe_row(project, run, row) for row in rows],
        "hasPictures": any(row.media_path for row in rows),
        "actions": list_actions(project, run),
        "classes": [isolate(shorten(name, _NAME_LENGTH)) for name in project.classes],
        "classKeys": list(keys),
        "passing": passing,
        "left": left,
        "total": total,
    }


def describe_row(project: Project, run: Run, row: QueueRow) -> dict[str, Any]:
    """Return a card with what a decision about it names."""
    other = row.predicted_label if row.suggested_label is None else row.suggested_label
    return asdict(queue_card(project, row, total=run.num_ranked)) | {
        "picture": picture_address(row.example_id, row.key, row.media_path),
        "version": row.version,
        "rank": row.rank,
        "score": row.score,
        "other": other,
        "decided": row.status not in UNDECIDED,
        "states": [asdict(tag) for tag in status_tags(project, row)],
    }


def list_actions(project: Project, run: Run) -> list[dict[str, Any]]:
    """Return what can be decided about many examples at once, each with its key."""
    actions: list[dict[str, Any]] = []
    if not is_regression(project):
        whose = "suggested" if run.config.get("suggests_labels") else "network’s"
        actions.append(
            {
                "code": RELABEL.code,
                "title": f"Take the {whose} label",
                "key": _SUGGESTED_KEY,
                "suggested": True,
                "first": True,
            }
        )
    taken = {_SUGGESTED_KEY, *_OWN_KEYS}
    for kind in DECISION_KINDS:
        if kind.effect not in ("confirm", "exclude", "mark"):
            continue
        letters = [kind.key, *kind.title.lower()]
        key = next((one for one in letters if one.isalpha() and one not in taken), "")
        taken.add(key)
        actions.append({"code": kind.code, "title": kind.title, "key": key})
    return actions
