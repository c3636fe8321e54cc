"""Whether scoring again would bring anything: what has changed since the current run was scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from relabel.db.bulk import next_positions
from relabel.db.decisions.history import HistoryRow, fetch_history
from relabel.db.decisions.kinds import list_codes
from relabel.db.jobs import list_jobs
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.fitting.saved import TrainingInfo
from relabel.text import LayerChoice
from tracin_core.attribution import DEFAULT_METHOD
from ui.runs.layers import layers_of
from ui.session import get_engine

_EVENTS_READ = 200  # at a time


def count_unranked(project: Project, run: Run) -> int:
    """Return how many train examples have come since the run was scored."""
    return max(0, next_positions(get_engine(), project.id)["train"] - run.num_ranked)


def labels_have_changed(project: Project, run: Run) -> bool:
    """Return whether examples have other labels now than the run was scored with.

    An exclusion changes no label, and the excluded examples stay in the queue.
    """
    since, given = _read_labels_at(project, run)
    oldest_after: dict[int, HistoryRow] = {}
    for event in _list_changes(project):
        if not given and event.created_at <= since:
            break
        oldest_after[event.example_id] = event
    return any(map(_differs, oldest_after.values()))


def _read_labels_at(project: Project, run: Run) -> tuple[datetime, bool]:
    """Return when the run's labels were read, at the latest, and whether they are the data's."""
    for job in list_jobs(get_engine(), project.slug):
        if job.result.get("run") == run.key and job.started_at is not None:
            return job.started_at, job.options.get("labels") == "given"
    return run.created_at, False


def _list_changes(project: Project) -> list[HistoryRow]:
    """Return all events that may change a label, newest first."""
    found: list[HistoryRow] = []
    while True:
        page = fetch_history(
            get_engine(),
            project.id,
            actions=list_codes("correct", "undo"),
            page=len(found) // _EVENTS_READ + 1,
            page_size=_EVENTS_READ,
        )
        found += page.rows
        if len(page.rows) < _EVENTS_READ:
            return found


def _differs(oldest: HistoryRow) -> bool:
    """Return whether an example's label is another one than before an event."""
    now = (oldest.current_label, oldest.current_value)
    if oldest.version == 1:
        return now != (oldest.given_label, oldest.given_value)
    # What was in force before would have to be looked up; as good as ever, it was another label.
    return True


def is_current_choice(
    run: Run,
    training: TrainingInfo,
    *,
    steps: Sequence[int],
    rates: str | None,
    layers: LayerChoice,
) -> bool:
    """Return whether the run was scored with just these checkpoints, weights and layers."""
    losses = {int(epoch["step"]): epoch.get("train_loss") for epoch in training.epochs}
    chosen = [(step, losses.get(step)) for step in sorted(steps)]
    scored = [(int(one["step"]), one["train_loss"]) for one in run.checkpoints]
    same_layers = ("all" in layers_of(run)) == (layers == "both")
    # Pages score by the default method; runs of earlier versions, which name none, are of it.
    same_method = run.config.get("method", DEFAULT_METHOD) == DEFAULT_METHOD
    same_rates = run.config.get("rates") == rates
    return chosen == scored and same_rates and same_layers and same_method
