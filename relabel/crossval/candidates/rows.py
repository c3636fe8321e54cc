"""Models of a table's rows: boosted trees, a linear model, and forests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.crossval.candidates.words import place_classes
from relabel.crossval.registry import Candidate, Fold, Size, register_candidate

# With fewer examples in a leaf a tree learns single ones by heart, wrong labels and all.
LEAST_IN_LEAF = 5
TREES = 100
ROUNDS = 100
# Of fewer numbers a tree is grown in less time than its parts are handed to other threads, which on
# a busy machine are not even running: 280 rows of 14 classes took two busy cores more than 150 s
# with two threads, and 40 s with one.
SMALL_VALUES = 500_000


def _ask(model: Any, fold: Fold) -> npt.NDArray[np.floating]:
    from threadpoolctl import threadpool_limits

    rows = np.ascontiguousarray(fold.rows[fold.learned], dtype=np.float32)
    asked = np.ascontiguousarray(fold.rows[fold.asked], dtype=np.float32)
    with threadpool_limits(1 if rows.size < SMALL_VALUES else None):
        return _fit_predict(model, fold, rows, asked)


def _fit_predict(
    model: Any, fold: Fold, rows: npt.NDArray[np.float32], asked: npt.NDArray[np.float32]
) -> npt.NDArray[np.floating]:
    model.fit(rows, fold.targets[fold.learned])
    if fold.is_regression:
        values: npt.NDArray[np.floating] = model.predict(asked)
        return values
    return place_classes(model.predict_proba(asked), model.classes_, fold)


def _fit_boosted(fold: Fold) -> npt.NDArray[np.floating]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    made: Any = HistGradientBoostingClassifier
    options: dict[str, Any] = {}
    if fold.is_regression:
        # Absolute errors: a slipped decimal point pulls no harder than any other wrong number.
        made, options = HistGradientBoostingRegressor, {"loss": "absolute_error"}
    return _ask(
        made(max_iter=ROUNDS, early_stopping=False, random_state=fold.seed, **options), fold
    )


def _fit_forest(fold: Fold) -> npt.NDArray[np.floating]:
    from sklearn.ensemble import ExtraTreesClassifier

    return _ask(
        ExtraTreesClassifier(
            n_estimators=TREES,
            min_samples_leaf=LEAST_IN_LEAF,
            random_state=fold.seed,
            n_jobs=-1,
        ),
        fold,
    )


def _fit_linear(fold: Fold) -> npt.NDArray[np.floating]:
    from sklearn.linear_model import HuberRegressor, LogisticRegression

    if fold.is_regression:
        return _ask(HuberRegressor(max_iter=300), fold)
    return _ask(LogisticRegression(max_iter=300), fold)


def _estimate_boosted(size: Size) -> float:
    models = size.classes if size.classes > 2 else 1
    return 0.3 + ROUNDS * models * (2e-3 + 10e-9 * size.examples * size.width)


def _estimate_forest(size: Size) -> float:
    return 0.2 + TREES * 4e-7 * size.examples * math.sqrt(size.width)


def _estimate_linear(size: Size) -> float:
    return 0.1 + 100 * 2e-9 * size.examples * size.width * size.classes


register_candidate(
    Candidate(
        name="rows_boosted",
        title="Boosted trees",
        kinds=("table",),
        reads="numbers",
        fit_predict=_fit_boosted,
        estimate=_estimate_boosted,
    )
)
register_candidate(
    Candidate(
        name="rows_forest",
        title="Extremely randomised trees",
        kinds=("table",),
        # Means of leaves follow wrong numbers about; their majorities do not.
        tasks=("classification",),
        reads="numbers",
        fit_predict=_fit_forest,
        estimate=_estimate_forest,
    )
)
register_candidate(
    Candidate(
        name="rows_linear",
        title="Linear over the columns",
        kinds=("table",),
        reads="numbers",
        fit_predict=_fit_linear,
        estimate=_estimate_linear,
    )
)
