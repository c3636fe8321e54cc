"""A table's rows on the screen: values as text, and which of them differ from another row's.

Which layers are scored, and which of them a run then has.

Whether scoring again would bring anything: what has changed since the current run was scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import streamlit as st

from relabel.db.bulk import next_positions
from relabel.db.decision_kinds import list_codes
from relabel.db.examples import find_by_positions
from relabel.db.history import HistoryRow, fetch_history
from relabel.db.jobs import list_jobs
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import count_reviewed
from relabel.fitting.saved import TrainingInfo
from relabel.runs.config import list_scored_layers
from relabel.text import LayerChoice, Layers, shorten, value_text
from tracin_core.attribution import DEFAULT_METHOD
from ui.components.cards import CardField
from ui.session import get_engine
from ui.wording import segment_words

Fields = Mapping[str, Any]

_VALUE_LENGTH = 80  # characters
# Train rows that tell how widely a column spreads: its deviation to about 3%.
_MEASURED_ROWS = 500
# Two numbers differ, for the eye, when they lie further apart than this share of the deviation.
NOTICED_DEVIATIONS = 0.5


def field_text(value: object) -> str:
    """Return one value as text; a missing one as a dash."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value_text(float(value))
    return shorten(str(value), _VALUE_LENGTH)


def list_fields(fields: Fields) -> list[tuple[str, str]]:
    """Return names and values in the order of the columns."""
    return [(shorten(name, _VALUE_LENGTH), field_text(value)) for name, value in fields.items()]


def card_fields(
    fields: Fields | None, beside: Fields | None = None, spreads: Mapping[str, float] | None = None
) -> tuple[CardField, ...]:
    """Return a row as a card shows it.

    Args:
        fields: The row; None for images and texts.
        beside: The row it is compared with; None marks nothing.
        spreads: Standard deviation of each numeric column.
    """
    return tuple(
        CardField(
            name=shorten(name, _VALUE_LENGTH),
            value=field_text(value),
            differs=beside is not None
            and differ(value, beside.get(name), (spreads or {}).get(name, 0.0)),
        )
        for name, value in (fields or {}).items()
    )


def differ(value: object, other: object, spread: float) -> bool:
    """Return whether two values of a column are noticeably different.

    Args:
        value: A number, a text or None.
        other: The same of the other row.
        spread: Standard deviation of the column, for numbers.
    """
    if isinstance(value, int | float) and isinstance(other, int | float):
        return abs(float(value) - float(other)) > NOTICED_DEVIATIONS * spread
    return value != other


def read_spreads(project: Project) -> Mapping[str, float]:
    """Return the standard deviation of each numeric column over a sample of the train rows."""
    if project.kind != "table":
        return {}
    _, total = count_reviewed(get_engine(), project.id)
    return _measure_spreads(project.id, total)


@st.cache_data(show_spinner=False, max_entries=32)
def _measure_spreads(project_id: int, total: int) -> dict[str, float]:
    positions = np.unique(np.linspace(0, total - 1, min(total, _MEASURED_ROWS), dtype=int))
    views = find_by_positions(get_engine(), project_id, None, "train", positions.tolist())
    columns: dict[str, list[float]] = {}
    for view in views:
        for name, value in (view.fields or {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                columns.setdefault(name, []).append(float(value))
    return {name: float(np.nanstd(values)) for name, values in columns.items()}


CHOICES: dict[LayerChoice, str] = {"both": "All and the last", "last": "The last alone"}


def choose_layers(*, place: str) -> LayerChoice:
    """Draw the choice of what a scoring computes.

    Args:
        place: Part of the page, as several may ask.
    """
    chosen = st.segmented_control(
        "Layers to score",
        list(CHOICES),
        format_func=lambda name: segment_words(CHOICES[name]),
        default="both",
        required=True,
        key=f"{place}-layers",
        persist_state="session",
        help="The queue ranks by the last layer either way. Alone it takes little more than a "
        "forward pass and half the disk; evidence over all layers is then not there.",
    )
    return chosen or "both"


def layers_of(run: Run) -> tuple[Layers, ...]:
    """Return whose scores and vectors a run has."""
    return list_scored_layers(run.config.get("layers"))


def draw_missing_layers(run: Run) -> None:
    """Describe why there is no choice of layers, where a run has the last one's alone."""
    if "all" not in layers_of(run):
        st.caption(
            "This run was scored over the last layer alone, so its evidence is the last layer’s. "
            "On the page Runs it can be scored over all layers."
        )


_PAGE = 200  # events


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


def _list_changes(project: Project) -> list[HistoryRow]:
    """Return all events that may change a label, newest first."""
    found: list[HistoryRow] = []
    while True:
        page = fetch_history(
            get_engine(),
            project.id,
            actions=list_codes("correct", "undo"),
            page=len(found) // _PAGE + 1,
            page_size=_PAGE,
        )
        found += page.rows
        if len(page.rows) < _PAGE:
            return found


def _differs(oldest: HistoryRow) -> bool:
    """Return whether an example's label is another one than before an event."""
    now = (oldest.current_label, oldest.current_value)
    if oldest.version == 1:
        return now != (oldest.given_label, oldest.given_value)
    # What was in force before would have to be looked up; as good as ever, it was another label.
    return True


def _read_labels_at(project: Project, run: Run) -> tuple[datetime, bool]:
    """Return when the run's labels were read, at the latest, and whether they are the data's."""
    for job in list_jobs(get_engine(), project.slug):
        if job.result.get("run") == run.key and job.started_at is not None:
            return job.started_at, job.options.get("labels") == "given"
    return run.created_at, False


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
