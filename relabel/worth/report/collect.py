"""What a report says, gathered from the database, the run and what was measured. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, select

from relabel.db.decisions.kinds import DECISION_KINDS, list_codes
from relabel.db.engine import reading
from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.runs import Run, current_run
from relabel.db.schema import DecisionRow
from relabel.db.stats import ReviewProgress, review_progress
from relabel.db.yields import (
    Flow,
    FoundByRank,
    Work,
    corrected_flows,
    errors_by_rank,
    work_by_class,
    work_by_reviewer,
)
from relabel.triage.signals import choose_default_signal, name_signals
from relabel.workspace import Workspace
from relabel.worth.gain.labels import count_events_after
from relabel.worth.gain.saved import Gain, read_latest_gain
from relabel.worth.noise_rate import ClassNoise, NoiseRate, read_noise_rate
from relabel.worth.report.telling import TellingCorrection, choose_telling
from relabel.worth.stopping import StopState, read_stop_state

# Flows that are read; the figure shows the most frequent ones.
FLOWS = 100


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """Everything that a report tells.

    Attributes:
        made_at: When it was made, UTC.
        project: The project.
        run: The run that ranked the suspects; None before the first one.
        ranking: What they were ranked by, for people.
        progress: Of the train split.
        test_progress: Of the test split.
        reviewers: What each has done.
        first: First decision, UTC; None where there is none.
        last: Last decision.
        classes: What was decided by given label; empty for regression.
        flows: From given labels to corrected ones, the most frequent first.
        excluded_flows: Given labels and how many examples of them were excluded.
        found_by_rank: Errors found, from the most suspect on.
        audit: What a random audit says; None without one, or without an answer.
        noise_classes: The same by class, where any was answered.
        stop: Whether the review may stop; None before a run.
        gain: What was measured last; None where nothing was.
        gain_age: Decisions and undos since then.
        telling: The most telling corrections.
        telling_fault: Why they come without evidence; empty where they do not.
    """

    made_at: datetime
    project: Project
    run: Run | None
    ranking: str
    progress: ReviewProgress
    test_progress: ReviewProgress
    reviewers: tuple[Work, ...]
    first: datetime | None
    last: datetime | None
    classes: tuple[Work, ...]
    flows: tuple[Flow, ...]
    excluded_flows: tuple[tuple[int, int], ...]
    found_by_rank: tuple[FoundByRank, ...]
    audit: NoiseRate | None
    noise_classes: tuple[ClassNoise, ...]
    stop: StopState | None
    gain: Gain | None
    gain_age: int
    telling: tuple[TellingCorrection, ...]
    telling_fault: str

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted."""
        return self.project.task == "regression"

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the classes."""
        return self.project.classes

    @property
    def corrected(self) -> int:
        """Return how many train examples were corrected."""
        return _count(self.progress, "correct")

    @property
    def excluded(self) -> int:
        """Return how many train examples were excluded."""
        return _count(self.progress, "exclude")

    @property
    def ambiguous(self) -> int:
        """Return how many train examples were marked ambiguous."""
        return _count(self.progress, "mark")

    @property
    def confirmed(self) -> int:
        """Return how many train examples were kept as they are."""
        return _count(self.progress, "confirm")

    @property
    def found(self) -> int:
        """Return how many errors were found."""
        return self.corrected + self.excluded


def _count(progress: ReviewProgress, effect: str) -> int:
    return sum(progress.by_status[kind.state] for kind in DECISION_KINDS if kind.effect == effect)


def collect_facts(engine: Engine, workspace: Workspace, slug: str) -> ReportFacts:
    """Gather what a report tells of a project.

    Raises:
        NotFoundError: If there is no such project.
    """
    project = get_project(engine, slug)
    run = current_run(engine, project.id)
    signal = "" if run is None or not run.signals else choose_default_signal(run.signals)
    is_regression = project.task == "regression"
    classes = [] if is_regression else work_by_class(engine, project.id)
    flows = () if is_regression else corrected_flows(engine, project.id, FLOWS).pairs
    rate = read_noise_rate(engine, project.id)
    audit = rate if rate is not None and rate.num_audited else None
    first, last = _read_period(engine, project.id)
    gain = read_latest_gain(workspace, slug)
    telling, fault = choose_telling(engine, workspace, project, run)
    return ReportFacts(
        made_at=datetime.now(UTC),
        project=project,
        run=run,
        ranking=name_signals([signal])[signal] if signal else "",
        progress=review_progress(engine, project.id),
        test_progress=review_progress(engine, project.id, "test"),
        reviewers=tuple(work_by_reviewer(engine, project.id)),
        first=first,
        last=last,
        classes=tuple(classes),
        flows=flows,
        excluded_flows=tuple((i, one.excluded) for i, one in enumerate(classes) if one.excluded),
        found_by_rank=tuple(errors_by_rank(engine, run.id, signal) if run and signal else ()),
        audit=audit,
        noise_classes=tuple(one for one in (audit.by_class if audit else ()) if one.num_audited),
        stop=read_stop_state(engine, run.id) if run is not None and signal else None,
        gain=gain,
        gain_age=0 if gain is None else count_events_after(engine, project.id, gain.last_event),
        telling=tuple(telling),
        telling_fault=fault,
    )


def _read_period(engine: Engine, project_id: int) -> tuple[datetime | None, datetime | None]:
    """Return when the first and the last decision were made."""
    moment: Any = func.coalesce(DecisionRow.stated_at, DecisionRow.created_at)
    with reading(engine) as connection:
        query = select(DecisionRow.stated_at, DecisionRow.created_at).where(
            DecisionRow.project_id == project_id, DecisionRow.action.not_in(list_codes("undo"))
        )
        ends = [
            connection.execute(query.order_by(order).limit(1)).one_or_none()
            for order in (moment.asc(), moment.desc())
        ]
    first, last = (None if one is None else one[0] or one[1] for one in ends)
    return first, last
