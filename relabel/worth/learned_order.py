"""A queue that learns: what is left, ranked anew by what was decided.

A logistic regression on the run's signals and on the pairs (given label, likeliest other) learns
which of them go with errors. What the ranked queue showed is no fair sample, and learning from it
alone can ruin an order, so a share of the decisions must come from random draws; and the new order
is taken only where, on those draws and by models that have not seen them, it tells errors from
right labels at least as well as the order of before. What certifies recall never teaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, delete, insert, update

from relabel.db.engine import reading, reading_one_state, writing
from relabel.db.project_rules import project_in
from relabel.db.runs import Run, get_run, rank_scores, run_in
from relabel.db.schema import RunRow, ScoreRow, utc_now
from relabel.db.team.audits import list_audits, list_items
from relabel.db.team.reviewers import Identity, check_lead
from relabel.errors import InvalidDecisionError
from relabel.text import counted
from relabel.triage.signals import LEARNED, choose_default_signal
from relabel.worth.audit import standardise
from relabel.worth.run_table import Labels, Numbers, RunTable, read_run_table, read_verdicts

# Fewer decisions teach nothing; and of the random ones so many errors and right labels must be
# there, or the gate could only toss a coin.
LEAST_DECISIONS, LEAST_RANDOM_OF_A_KIND = 50, 3
# How freely the score that ranks the queue counts beside the other signals and the pairs: where
# little was decided, its order remains. With the strength of the penalty, by benchmarks/worth.py.
MAIN_SCALE, OTHER_SCALE, PAIR_SCALE, STRENGTH = 4.0, 0.5, 0.5, 0.1
FOLDS = 5
# Signals that say nothing of their own.
_LEFT_OUT = (LEARNED, "class_percentile", "self_influence_recorded", "self_influence_normalised")
# Pairs and signals that are told in words.
TOLD = 6
SETTING = "learned_order"
# Of what is handed over, this much at random is proposed, for the reasons that the module tells.
PROPOSED_SHARE = 0.2

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Features:
    """What an order is learned from, by position.

    Attributes:
        names: Of the columns of ``signals``; the first is the score that ranks the queue.
        signals: Scaled, shape ``(N, S)``.
        pairs: Number of each example's pair of labels, shape ``(N,)``; None for regression.
        given: Given labels, shape ``(N,)``.
        num_classes: K.
    """

    names: tuple[str, ...]
    signals: Numbers
    pairs: Labels | None
    given: Labels
    num_classes: int


@dataclass(frozen=True, eq=False)
class OrderModel:
    """A logistic regression: what it adds to the logit of an error.

    Attributes:
        weights: Of the signals, shape ``(S,)``.
        shift: Added to all.
        of_pairs: By the pair's number.
        of_given: By the given label.
    """

    weights: Numbers
    shift: float
    of_pairs: Mapping[int, float]
    of_given: Mapping[int, float]

    def apply(self, features: Features) -> Numbers:
        """Return the logit of an error for each example, shape ``(N,)``."""
        return self.apply_without_pairs(features) + self.add_pairs(features)

    def apply_without_pairs(self, features: Features) -> Numbers:
        """Return what the signals alone say, shape ``(N,)``."""
        found: Numbers = features.signals @ self.weights + self.shift
        return found

    def add_pairs(self, features: Features) -> Numbers:
        """Return what pair and given label add, shape ``(N,)``."""
        added = np.zeros(len(features.signals))
        if features.pairs is None:
            return added
        table = np.zeros(features.num_classes**2)
        table[list(self.of_pairs)] = list(self.of_pairs.values())
        given = np.zeros(features.num_classes)
        given[list(self.of_given)] = list(self.of_given.values())
        return added + table[features.pairs] + given[features.given]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What an order was learned from, how it was judged, and what it says; kept with the run.

    Attributes:
        num_decisions: Decisions that taught.
        num_random: Random draws among them.
        num_random_wrong: Errors among those.
        learned: How often, of an error and a right label among the random draws, the new order has
            the error first: 0.5 by chance, 1 always. By models that have not seen the draw.
        static: The same of the order of before.
        is_taken: Whether the new one is at least as good.
        base: The signal that ranked before.
        weights: What it says, in sentences.
        learned_at: When, ISO 8601.
    """

    num_decisions: int
    num_random: int
    num_random_wrong: int
    learned: float
    static: float
    is_taken: bool
    base: str
    weights: tuple[str, ...]
    learned_at: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what ``read_lesson`` reads."""
        return asdict(self)


def make_features(table: RunTable, base: str) -> Features:
    """Return what an order is learned from.

    Args:
        table: Of the run.
        base: The signal that ranks the queue without learning.
    """
    names = [base, *(name for name in table.scores if name != base and name not in _LEFT_OUT)]
    columns = [MAIN_SCALE * standardise(table.scores[base])]
    for name in names[1:]:
        score = table.scores[name]
        # Squared norms reach over powers of ten.
        score = np.log(np.maximum(score, 1e-12)) if name.startswith("self_influence") else score
        columns.append(OTHER_SCALE * standardise(score))
    if table.held_out_loss is not None:
        names.append("held_out_loss")
        columns.append(OTHER_SCALE * standardise(table.held_out_loss))
    pairs = None if table.others is None else table.given * table.num_classes + table.others
    return Features(tuple(names), np.column_stack(columns), pairs, table.given, table.num_classes)


def fit_order(features: Features, positions: Labels, is_wrong: Flags) -> OrderModel:
    """Fit the logistic regression to decisions.

    Args:
        features: Of all examples.
        positions: Of the decided ones, shape ``(D,)``.
        is_wrong: Whether an error was found, shape ``(D,)``; of both kinds at least one.
    """
    from sklearn.linear_model import LogisticRegression

    columns = [features.signals[positions]]
    pairs: list[int] = []
    labels: list[int] = []
    if features.pairs is not None:
        of_decided, of_given = features.pairs[positions], features.given[positions]
        # A pair that nobody has decided about has no weight, and needs no column.
        pairs, labels = np.unique(of_decided).tolist(), np.unique(of_given).tolist()
        columns += [
            PAIR_SCALE * (of_decided[:, None] == np.array(pairs)),
            PAIR_SCALE * (of_given[:, None] == np.array(labels)),
        ]
    model: Any = LogisticRegression(C=STRENGTH, max_iter=1000)
    model.fit(np.column_stack(columns), is_wrong)
    found = model.coef_[0]
    num_signals = features.signals.shape[1]
    effects = PAIR_SCALE * found[num_signals:]
    return OrderModel(
        weights=found[:num_signals],
        shift=float(model.intercept_[0]),
        of_pairs=dict(zip(pairs, effects[: len(pairs)].tolist(), strict=True)),
        of_given=dict(zip(labels, effects[len(pairs) :].tolist(), strict=True)),
    )


@dataclass(frozen=True, eq=False)
class Decided:
    """Decisions that may teach.

    Attributes:
        positions: Of the examples, shape ``(D,)``.
        is_wrong: Whether an error was found, shape ``(D,)``.
        is_random: Whether it was drawn at random, shape ``(D,)``.
        weights: How many uniform draws a random one stands for, shape ``(D,)``.
    """

    positions: Labels
    is_wrong: Flags
    is_random: Flags
    weights: Numbers

    def __len__(self) -> int:
        return len(self.positions)


def judge_order(features: Features, decided: Decided, seed: int = 0) -> tuple[float, float]:
    """Return how well the learned and the static order tell errors among the random draws.

    Each random draw is ranked by a model that has learned from all others but a fifth of the random
    ones, its own among them. What is compared is its place among all examples, because scores of
    different models cannot be.

    Returns:
        The area under the ROC curve of the learned order, and of the static one.
    """
    from sklearn.metrics import roc_auc_score

    random = np.flatnonzero(decided.is_random)
    parts = np.random.default_rng(seed).permutation(len(random)) % FOLDS
    places = np.zeros(len(random))
    for part in range(FOLDS):
        asked = random[parts == part]
        learned = np.setdiff1d(np.arange(len(decided)), asked)
        if not len(asked) or len(set(decided.is_wrong[learned].tolist())) < 2:
            continue
        model = fit_order(features, decided.positions[learned], decided.is_wrong[learned])
        logits = model.apply(features)
        ordered = np.sort(logits)
        places[parts == part] = np.searchsorted(ordered, logits[decided.positions[asked]])
    truth, weights = decided.is_wrong[random], decided.weights[random]
    static = features.signals[decided.positions[random], 0]
    return (
        float(roc_auc_score(truth, places, sample_weight=weights)),
        float(roc_auc_score(truth, static, sample_weight=weights)),
    )


def explain_missing(decided: Decided) -> str:
    """Return what is still missing before an order can be learned; "" where nothing is."""
    random_wrong = int(decided.is_wrong[decided.is_random].sum())
    random_right = int(decided.is_random.sum()) - random_wrong
    if len(decided) < LEAST_DECISIONS:
        return (
            f"{counted(len(decided), 'decision')} of {LEAST_DECISIONS} from which on the queue can "
            "learn."
        )
    if min(random_wrong, random_right) < LEAST_RANDOM_OF_A_KIND:
        return (
            f"Among the random draws that may teach there are {counted(random_wrong, 'error')} and "
            f"{counted(random_right, 'right label')}; at least {LEAST_RANDOM_OF_A_KIND} of each "
            "are needed, or nobody could say whether the learned order is any better. Draw more "
            "at random: an audit with a teaching share."
        )
    return ""


def learn_order(
    engine: Engine, project_folder: Path, run_id: int, *, by: Identity
) -> tuple[Lesson, Run]:
    """Learn an order from the decisions, and rank what is left by it if it is at least as good.

    Where it is not, the order of before stays, and a learned one of before goes.

    Args:
        engine: The database.
        project_folder: Where the run's folder is in.
        run_id: The run.
        by: Who wants it.

    Returns:
        The lesson, and the run as it is ranked now.

    Raises:
        InvalidDecisionError: If too little was decided; the message says what is missing.
        NotAllowedError: If there is a lead, and it is somebody else.
    """
    check_lead(engine, by, "let the queue learn")
    run = get_run(engine, run_id)
    table = read_run_table(engine, run, project_folder)
    base = choose_default_signal([name for name in run.signals if name != LEARNED])
    decided = read_decided(engine, run, table)
    if missing := explain_missing(decided):
        raise InvalidDecisionError(f"The queue cannot learn yet. {missing}")
    features = make_features(table, base)
    learned, static = judge_order(features, decided)
    model = fit_order(features, decided.positions, decided.is_wrong)
    with reading(engine) as connection:
        classes = project_in(connection, run.project_id).classes
    lesson = Lesson(
        num_decisions=len(decided),
        num_random=int(decided.is_random.sum()),
        num_random_wrong=int(decided.is_wrong[decided.is_random].sum()),
        learned=learned,
        static=static,
        is_taken=learned >= static,
        base=base,
        weights=tuple(tell_weights(model, features, classes)),
        learned_at=utc_now().isoformat(timespec="seconds"),
    )
    scores = None
    if lesson.is_taken:
        scores = put_decided_first(model.apply(features), features.signals[:, 0], decided)
    return lesson, _store(engine, run, table, lesson, scores)


def put_decided_first(logits: Numbers, static: Numbers, decided: Decided) -> Numbers:
    """Return scores in which what taught stands above what is left, in the order of before."""
    scores = logits.copy()
    top = float(logits.max()) + 1.0
    order = np.argsort(np.argsort(static[decided.positions]))
    scores[decided.positions] = top + order / max(1, len(decided))
    return scores


def read_decided(engine: Engine, run: Run, table: RunTable) -> Decided:
    """Return the decisions that may teach: all but those of what certifies recall."""
    verdicts = read_verdicts(engine, run, table)
    teaching: dict[int, float] = {}
    certifying: set[int] = set()
    with reading_one_state(engine) as connection:
        for audit in list_audits(connection, run.project_id):
            for one in list_items(connection, audit):
                if not one.teaches:
                    certifying.add(one.example_id)
                elif one.is_wrong is not None:
                    weight = 1.0 / (audit.num_examples * one.probability)
                    teaching[one.example_id] = teaching.get(one.example_id, 0.0) + weight
    kept = np.array([one not in certifying for one in verdicts.example_ids.tolist()], dtype=bool)
    ids = verdicts.example_ids[kept].tolist()
    return Decided(
        positions=verdicts.positions[kept],
        is_wrong=verdicts.is_wrong[kept],
        is_random=np.array([one in teaching for one in ids], dtype=bool),
        weights=np.array([teaching.get(one, 1.0) for one in ids]),
    )


def tell_weights(model: OrderModel, features: Features, classes: Sequence[str]) -> list[str]:
    """Return what a model says, in sentences, the most telling pairs first.

    How often a pair is wrong is compared with how often it would be by its signals alone.
    """
    told = []
    if features.pairs is not None:
        alone = _to_chance(model.apply_without_pairs(features))
        with_pairs = _to_chance(model.apply(features))
        found = []
        for pair in model.of_pairs:
            of_pair = features.pairs == pair
            ratio = float(with_pairs[of_pair].mean() / max(alone[of_pair].mean(), 1e-9))
            found.append((abs(np.log(max(ratio, 1e-9))), pair, ratio, int(of_pair.sum())))
        for _, pair, ratio, count in sorted(found, reverse=True)[:TOLD]:
            given, other = divmod(pair, features.num_classes)
            if given == other or 1 / 1.1 < ratio < 1.1:
                continue
            times = f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"
            told.append(
                f"{classes[given]} given, {classes[other]} likeliest ({counted(count, 'example')}):"
                f" {times} times as often wrong as their signals alone say"
            )
    return told


def _to_chance(logits: Numbers) -> Numbers:
    chance: Numbers = 1 / (1 + np.exp(-logits))
    return chance


def forget_order(engine: Engine, run_id: int, *, by: Identity) -> Run:
    """Take a learned order away; the queue is ranked as before.

    Raises:
        NotAllowedError: If there is a lead, and it is somebody else.
        NotFoundError: If there is no such run.
    """
    check_lead(engine, by, "let the queue forget")
    with writing(engine) as connection:
        _remove(connection, run_in(connection, run_id))
        return run_in(connection, run_id)


def _remove(connection: Connection, run: Run) -> None:
    connection.execute(
        delete(ScoreRow).where(ScoreRow.scoring_id == run.scoring_id, ScoreRow.signal == LEARNED)
    )
    config = {name: value for name, value in run.config.items() if name != SETTING}
    signals = [name for name in run.signals if name != LEARNED]
    connection.execute(
        update(RunRow).where(RunRow.id == run.id).values(signals=signals, config=config)
    )


def _store(
    engine: Engine, run: Run, table: RunTable, lesson: Lesson, scores: Numbers | None
) -> Run:
    """Keep a lesson, and the ranking that follows from it; one of before goes."""
    rows: list[dict[str, Any]] = []
    if scores is not None:
        ids = table.ids.tolist()
        rows = [
            {
                "scoring_id": run.scoring_id,
                "signal": signal,
                "rank": rank,
                "example_id": example_id,
                "value": value,
            }
            for signal, rank, example_id, value in rank_scores(LEARNED, scores, ids)
        ]
    with writing(engine) as connection:
        now = run_in(connection, run.id)
        if now.scoring_id != run.scoring_id:
            raise InvalidDecisionError(
                "The project was scored anew meanwhile. Let the queue learn again."
            )
        _remove(connection, now)
        if rows:
            connection.execute(insert(ScoreRow), rows)
        kept = run_in(connection, run.id)
        signals = [LEARNED, *kept.signals] if rows else list(kept.signals)
        config = {**kept.config, SETTING: lesson.to_json()}
        connection.execute(
            update(RunRow).where(RunRow.id == run.id).values(signals=signals, config=config)
        )
        return run_in(connection, run.id)


def read_lesson(config: Mapping[str, Any]) -> Lesson | None:
    """Return the last lesson of a run, taken or not; None where there is none that can be read."""
    found = config.get(SETTING)
    if not isinstance(found, Mapping):
        return None
    try:
        known = {name: found[name] for name in Lesson.__dataclass_fields__}
        known["weights"] = tuple(str(one) for one in known["weights"])
        return Lesson(**known)
    except (LookupError, TypeError):
        return None
