"""Drawing an audit: by a seed that is kept, so that anybody can draw it again and compare.

The numbers come from the bits of PCG64, whose stream numpy promises not to change, and not from
its distributions, whose streams it does not promise.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from relabel.db.engine import reading, reading_one_state, writing
from relabel.db.runs import Run
from relabel.db.team.audits import (
    Audit,
    AuditItem,
    Design,
    Frame,
    Stratum,
    enter_audit,
    enter_items,
    find_audit,
    list_items,
)
from relabel.db.team.reviewers import Identity, check_lead, reviewer_in
from relabel.errors import InvalidDecisionError, NotFoundError
from relabel.triage.signals import LEARNED, choose_default_signal
from relabel.worth.noise_rate import make_draw_weights
from relabel.worth.run_table import RunTable, Verdicts, read_run_table, read_verdicts

Numbers = npt.NDArray[np.float64]
# Of what a person is handed, so much is of the audit while it lasts; of the items, so many teach
# the queue's order and do not certify.
MIX_SHARE, TEACHING_SHARE = 0.3, 0.5
# Decisions, and of each kind, from which on guesses are calibrated by them.
LEAST_DECISIONS, LEAST_OF_A_KIND = 30, 5
# Without decisions: the share of errors that is supposed, and how fast it falls along the score,
# a standard deviation at a time. A wrong guess makes the interval wider and nothing else.
SUPPOSED_RATE, SUPPOSED_SLOPE = 0.08, 2.0
MOST_DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What is to be drawn.

    Attributes:
        size: How many draws.
        design: "uniform" or "weighted".
        mix_share: How much of what a person is handed is of the audit, above 0 to 1.
        teaching_share: How many of the items teach the queue's order, 0 to 1; a weighted audit
            certifies no recall, so there all may.
        seed: Hexadecimal; None for one that nobody can have chosen.
    """

    size: int
    design: Design = "uniform"
    mix_share: float = MIX_SHARE
    teaching_share: float = TEACHING_SHARE
    seed: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.size <= MOST_DRAWS:
            raise InvalidDecisionError(
                f"Found an audit of {self.size:,} items. Expected 1 to {MOST_DRAWS:,}."
            )
        if not (0 < self.mix_share <= 1 and 0 <= self.teaching_share <= 1):
            raise InvalidDecisionError(
                f"Found the shares {self.mix_share} (mixed in) and {self.teaching_share} "
                "(teaching). Expected shares from 0 to 1, the first above 0."
            )
        if self.seed is not None:
            _read_seed(self.seed)


def _read_seed(seed: str) -> int:
    try:
        return int(seed, 16)
    except ValueError as error:
        raise InvalidDecisionError(
            f"Found the seed {seed!r:.40}. Expected hexadecimal digits."
        ) from error


def draw_audit(
    engine: Engine, project_folder: Path, run: Run, plan: AuditPlan, *, by: Identity
) -> Audit:
    """Draw an audit of a run's train examples; it takes the place of the one before.

    Args:
        engine: The database.
        project_folder: Where the run's folder is in.
        run: Its examples are the frame, and its ranking guesses where errors are.
        plan: What to draw.
        by: Who has it drawn.

    Raises:
        InvalidDecisionError: If more is to be drawn, without repetition, than there is.
        NotAllowedError: If there is a lead, and it is somebody else.
        JobError: If the run does not rank what it should.
    """
    check_lead(engine, by, "draw an audit")
    table = read_run_table(engine, run, project_folder)
    if plan.design == "uniform" and plan.size > len(table):
        raise InvalidDecisionError(
            f"Found an audit of {plan.size:,} items. The run ranks {len(table):,} train examples: "
            "draw at most as many."
        )
    guess = None
    if plan.design == "weighted":
        guess = guess_errors(table, read_verdicts(engine, run, table), run.signals)
    guesses = None if guess is None else guess.apply(table)
    seed = plan.seed or secrets.token_hex(16)
    frame = _make_frame(table, run, plan, guess, guesses)
    items = list(_draw(table, plan.design, seed, frame, guesses, 0, plan.size))
    with writing(engine) as connection:
        who = reviewer_in(connection, by.name, by.source)
        audit_id = enter_audit(connection, run.project_id, who.id, plan.design, seed, frame)
        enter_items(connection, audit_id, items)
        found = find_audit(connection, run.project_id)
    if found is None:
        raise NotFoundError("The audit that was drawn is gone. Draw it again.")
    return found


def extend_audit(
    engine: Engine, project_folder: Path, run: Run, more: int, *, by: Identity
) -> Audit:
    """Draw further items of the newest audit, which go on where its draw ended.

    Raises:
        NotFoundError: If there is no audit.
        InvalidDecisionError: If the run no longer has what the audit was drawn from, or too much
            is wanted.
        NotAllowedError: If there is a lead, and it is somebody else.
    """
    check_lead(engine, by, "draw more of an audit")
    with reading_one_state(engine) as connection:
        audit = find_audit(connection, run.project_id)
        items = [] if audit is None else list_items(connection, audit)
    if audit is None:
        raise NotFoundError("Found no audit to draw more of. Draw one first.")
    if more < 1 or audit.num_drawn + more > MOST_DRAWS:
        raise InvalidDecisionError(
            f"Found {more:,} further items. Expected 1 to {MOST_DRAWS - audit.num_drawn:,}."
        )
    table = read_run_table(engine, run, project_folder)
    guesses = _guess_again(audit, table)
    first, last = audit.num_drawn, audit.num_drawn + more
    if audit.design == "uniform":
        last = min(last, audit.num_examples)
    new = list(_draw(table, audit.design, audit.seed, audit.frame, guesses, 0, last))
    if [one.example_id for one in new[:first]] != [one.example_id for one in items]:
        raise _changed()
    with writing(engine) as connection:
        now = find_audit(connection, run.project_id)
        if now is None or (now.id, now.num_drawn) != (audit.id, first):
            raise InvalidDecisionError("Somebody drew more of this audit meanwhile. Look again.")
        enter_items(connection, audit.id, new[first:])
        found = find_audit(connection, run.project_id)
    return audit if found is None else found


def _changed() -> InvalidDecisionError:
    return InvalidDecisionError(
        "The audit cannot be drawn again from this run: its examples, or what the guesses were "
        "made of, have changed since. Draw a new audit."
    )


def _guess_again(audit: Audit, table: RunTable) -> Numbers | None:
    """Return the guesses that an audit was drawn with.

    Raises:
        InvalidDecisionError: If they cannot be made again.
    """
    if _digest_keys(table.keys[: audit.num_examples]) != audit.frame.keys_digest:
        raise _changed()
    if audit.design == "uniform":
        return None
    frame = audit.frame
    if frame.signal not in table.scores:
        raise _changed()
    guess = Guess(signal=frame.signal, slope=frame.slope, shift=frame.shift, told=frame.guesses)
    guesses = guess.apply(table)
    if _digest(guesses) != frame.guesses_digest:
        raise _changed()
    return guesses


def check_audit(engine: Engine, project_folder: Path, run: Run) -> list[str]:
    """Draw the newest audit of a project again and compare.

    Returns:
        What is not as it should be, in sentences; empty where every draw is the same.

    Raises:
        NotFoundError: If there is no audit.
    """
    with reading(engine) as connection:
        audit = find_audit(connection, run.project_id)
        items = [] if audit is None else list_items(connection, audit)
    if audit is None:
        raise NotFoundError("Found no audit to check. Draw one first.")
    table = read_run_table(engine, run, project_folder)
    try:
        guesses = _guess_again(audit, table)
    except InvalidDecisionError as error:
        return [str(error)]
    again = _draw(table, audit.design, audit.seed, audit.frame, guesses, 0, len(items))
    return [
        f"Draw {one.place} is example {one.example_id}; the seed gives {other.example_id}."
        for one, other in zip(items, again, strict=True)
        if (one.example_id, one.teaches) != (other.example_id, other.teaches)
        or abs(one.probability - other.probability) > 1e-12
    ]


@dataclass(frozen=True, kw_only=True)
class Guess:
    """How probable an error is, by a score.

    Attributes:
        signal: Whose score.
        slope: On the logit scale, a standard deviation of the score.
        shift: The logit at the score's mean.
        told: How it was made, in words.
    """

    signal: str
    slope: float
    shift: float
    told: str

    def apply(self, table: RunTable) -> Numbers:
        """Return how probable it is that each label is wrong, 0 to 1, shape ``(N,)``."""
        line = self.slope * standardise(table.scores[self.signal]) + self.shift
        guesses: Numbers = 1 / (1 + np.exp(-line))
        return guesses


def standardise(score: Numbers) -> Numbers:
    """Return a score in standard deviations, the outermost 1% on each side brought in."""
    bounded = np.clip(score, *np.percentile(score, (1, 99)))
    z: Numbers = (bounded - bounded.mean()) / (bounded.std() or 1.0)
    return z


def guess_errors(table: RunTable, verdicts: Verdicts, signals: tuple[str, ...]) -> Guess:
    """Return a guess of how probable errors are, by the score that ranks the queue.

    Where enough was decided, a logistic regression on the score says it; else a rate and a slope
    are supposed. Guesses need not be right: they only make an audit's interval narrower.

    Args:
        table: Of the run.
        verdicts: What is decided.
        signals: Of the run.
    """
    from scipy.optimize import brentq
    from sklearn.linear_model import LogisticRegression

    signal = choose_default_signal([name for name in signals if name != LEARNED])
    z = standardise(table.scores[signal])
    wrong = int(verdicts.is_wrong.sum())
    is_enough = len(verdicts) >= LEAST_DECISIONS
    if is_enough and LEAST_OF_A_KIND <= wrong <= len(verdicts) - LEAST_OF_A_KIND:
        model: Any = LogisticRegression(C=10.0)
        model.fit(z[verdicts.positions][:, None], verdicts.is_wrong)
        return Guess(
            signal=signal,
            slope=float(model.coef_[0, 0]),
            shift=float(model.intercept_[0]),
            told=f"calibrated by {len(verdicts)} decisions",
        )

    def excess(shift: float) -> float:
        return float((1 / (1 + np.exp(-(SUPPOSED_SLOPE * z + shift)))).mean()) - SUPPOSED_RATE

    return Guess(
        signal=signal,
        slope=SUPPOSED_SLOPE,
        shift=float(brentq(excess, -30, 30)),
        told=f"supposed, {SUPPOSED_RATE:.0%} in the mean, as little was decided",
    )


def _make_frame(
    table: RunTable, run: Run, plan: AuditPlan, guess: Guess | None, guesses: Numbers | None
) -> Frame:
    count = len(table)
    known = np.zeros(count) if guesses is None else guesses
    chances = np.full(count, 1 / count) if guesses is None else make_draw_weights(guesses)

    def stratum(chosen: npt.NDArray[np.bool_]) -> Stratum:
        mean = float(known[chosen].mean()) if chosen.any() else 0.0
        return Stratum(int(chosen.sum()), mean, float(min(1.0, chances[chosen].sum())))

    return Frame(
        num_examples=count,
        keys_digest=_digest_keys(table.keys),
        run=run.key,
        guesses="" if guess is None else guess.told,
        signal="" if guess is None else guess.signal,
        slope=0.0 if guess is None else guess.slope,
        shift=0.0 if guess is None else guess.shift,
        guesses_digest="" if guesses is None else _digest(guesses),
        strata=tuple(stratum(table.given == label) for label in range(table.num_classes)),
        whole=stratum(np.ones(count, dtype=np.bool_)),
        mix_share=float(plan.mix_share),
        teaching_share=float(plan.teaching_share),
    )


def _draw(
    table: RunTable,
    design: Design,
    seed: str,
    frame: Frame,
    guesses: Numbers | None,
    first: int,
    last: int,
) -> Iterator[AuditItem]:
    """Yield the draws from one place to another; those before do not depend on how many follow."""
    count = frame.num_examples
    if guesses is None:
        chances = np.full(count, 1 / count)
        known = np.zeros(count)
        chosen = draw_without_repetition(seed, count)[first:last]
    else:
        chances, known = make_draw_weights(guesses), guesses
        chosen = draw_with_repetition(seed, chances, last)[first:]
    for place, position in enumerate(chosen.tolist(), start=first + 1):
        yield AuditItem(
            place=place,
            example_id=int(table.ids[position]),
            given_label=int(table.given[position]),
            probability=float(chances[position]),
            guess=float(known[position]),
            teaches=_is_below(seed, table.keys[position], frame.teaching_share),
            is_wrong=None,
            is_skipped=False,
        )


def draw_without_repetition(seed: str, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers below ``count`` in an order that the seed gives by chance."""
    drawn = np.random.PCG64(_read_seed(seed)).random_raw(count)
    return np.argsort(drawn, kind="stable").astype(np.int64)


def draw_with_repetition(seed: str, chances: Numbers, size: int) -> npt.NDArray[np.int64]:
    """Return positions that are drawn by the seed, each time with the same chances.

    Args:
        seed: Hexadecimal.
        chances: Of the positions, shape ``(N,)``, together 1.
        size: How many draws; of a greater size the first ones are the same.
    """
    raw = np.random.PCG64(_read_seed(seed)).random_raw(size)
    uniform = (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)) * 2.0**-53
    ends = np.cumsum(chances)
    return np.searchsorted(ends / ends[-1], uniform, side="right").astype(np.int64)


def _is_below(seed: str, key: str, share: float) -> bool:
    """Return whether an example teaches: by its key, so that it does so however often drawn."""
    digest = sha256(f"{seed}\0teaches\0{key}".encode(errors="replace")).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def _digest(values: Numbers) -> str:
    # Rounded: libraries of another version may differ in the last bits.
    return sha256(np.round(values, 9).astype("<f8").tobytes()).hexdigest()


def _digest_keys(keys: tuple[str, ...]) -> str:
    whole = sha256()
    for key in keys:
        whole.update(key.encode(errors="replace") + b"\0")
    return whole.hexdigest()
