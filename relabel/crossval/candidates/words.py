"""Models of texts: which words, pairs of words and runs of characters speak for which class.

Linear models tell apart what a text is about; naive Bayes, which cannot weigh words against each
other, is less moved by wrong labels. On labels that people got wrong neither was always the better
one, and together they were better than either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from relabel.crossval.registry import Candidate, Fold, Size, register_candidate
from relabel.text import Kind, Task

# Strength of the penalty, divided by the examples: what a logistic regression of scikit-learn
# calls 1 / C. Chosen by agreement with the given labels.
PENALTY = 0.2
PASSES, TOLERANCE = 30, 1e-3
# Laplace's smoothing, as Rennie et al. 2003 (ICML) have it for complement naive Bayes.
SMOOTHING = 0.3
# Counts that naive Bayes' ratios begin with (Wang and Manning 2012, ACL P12-2018, Sec. 2.1).
RATIO_SMOOTHING = 1.0
# Beyond so many classes a rescaled copy of all texts for each one takes too long.
MOST_RESCALED = 50
LEAST = 1e-6


def _fit_linear(fold: Fold) -> npt.NDArray[np.floating]:
    rows, targets = fold.rows[fold.learned], fold.targets[fold.learned]
    if fold.is_regression:
        from sklearn.linear_model import Ridge

        model: Any = Ridge(alpha=1.0, solver="lsqr").fit(rows, targets)
        predicted: npt.NDArray[np.floating] = model.predict(fold.rows[fold.asked])
        return predicted
    model = _make_linear(len(fold.learned), fold.seed).fit(rows, targets)
    return place_classes(model.predict_proba(fold.rows[fold.asked]), model.classes_, fold)


def _make_linear(count: int, seed: int) -> Any:
    """Return logistic regression by stochastic gradient descent, one class against the others."""
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(
        loss="log_loss",
        alpha=PENALTY / count,
        max_iter=PASSES,
        tol=TOLERANCE,
        random_state=seed,
        n_jobs=-1,
    )


def _fit_bayes(fold: Fold) -> npt.NDArray[np.floating]:
    from sklearn.naive_bayes import ComplementNB

    model = ComplementNB(alpha=SMOOTHING).fit(fold.rows[fold.learned], fold.targets[fold.learned])
    return place_classes(model.predict_proba(fold.rows[fold.asked]), model.classes_, fold)


def _fit_rescaled(fold: Fold) -> npt.NDArray[np.floating]:
    """Linear over words that are rescaled by naive Bayes' ratios (Wang and Manning 2012)."""
    rows, others = fold.rows[fold.learned].tocsr(), fold.rows[fold.asked].tocsr()
    targets = fold.targets[fold.learned]
    present = (rows > 0).astype(np.float32)
    classes = np.unique(targets)
    # Of two classes one model tells both.
    asked_of = classes[1:] if len(classes) == 2 else classes
    found = []
    for label in asked_of:
        is_label = targets == label
        ratio = _log_ratio(present, is_label)
        model = _make_linear(len(targets), fold.seed).fit(_rescale(rows, ratio), is_label)
        found.append(model.predict_proba(_rescale(others, ratio))[:, 1])
    told = np.stack(found, axis=1)
    if len(classes) == 2:
        told = np.concatenate([1 - told, told], axis=1)
    return place_classes(told, classes, fold)


def _log_ratio(present: Any, is_label: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    counts = [
        np.asarray(present[chosen].sum(axis=0)).ravel() + RATIO_SMOOTHING
        for chosen in (is_label, ~is_label)
    ]
    ours, theirs = (count / count.sum() for count in counts)
    ratio: npt.NDArray[np.float32] = np.log(ours / theirs).astype(np.float32)
    return ratio


def _rescale(rows: Any, ratio: npt.NDArray[np.float32]) -> Any:
    """Return rows times the ratios, of length one again."""
    scaled = rows @ scipy.sparse.diags(ratio)
    lengths = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    return (scipy.sparse.diags(1.0 / np.maximum(lengths, 1e-12)) @ scaled).tocsr()


def place_classes(
    probabilities: npt.NDArray[np.floating], classes: npt.NDArray[Any], fold: Fold
) -> npt.NDArray[np.float64]:
    """Return logarithms of the probabilities of all classes.

    Args:
        probabilities: Of the classes that were learned, shape ``(B, L)``.
        classes: Which ones they are, shape ``(L,)``.
        fold: What was asked.

    Returns:
        Shape ``(B, K)``. A class that none of the learned examples has cannot be judged: it is
        taken for as probable as the likeliest one, so that nobody is suspected for having it.
    """
    total = np.maximum(probabilities.sum(axis=1, keepdims=True), LEAST)
    likely = np.clip(probabilities / total, LEAST, 1.0)
    placed = np.repeat(likely.max(axis=1, keepdims=True), fold.num_classes, axis=1)
    placed[:, classes.astype(np.intp)] = likely
    placed /= placed.sum(axis=1, keepdims=True)
    logs: npt.NDArray[np.float64] = np.log(placed)
    return logs


def _estimate_linear(size: Size) -> float:
    # Some 20 passes of 2 ns for each number that is not zero, one class against the others.
    models = size.classes if size.classes > 2 else 1
    return 0.05 + 20 * 2e-9 * size.examples * size.width * models


def _estimate_rescaled(size: Size) -> float:
    if size.classes > MOST_RESCALED:
        return float("inf")
    return 3 * _estimate_linear(size)


def _estimate_bayes(size: Size) -> float:
    return 0.05 + 30e-9 * size.examples * size.width


_TEXT: tuple[Kind, ...] = ("text",)
_CLASSES: tuple[Task, ...] = ("classification",)

register_candidate(
    Candidate(
        name="words_linear",
        title="Linear over words and pairs of words",
        kinds=_TEXT,
        reads="words",
        fit_predict=_fit_linear,
        estimate=_estimate_linear,
        network="ngram_linear",
    )
)
register_candidate(
    Candidate(
        name="words_characters_linear",
        title="Linear over words and runs of characters",
        kinds=_TEXT,
        reads="words and characters",
        fit_predict=_fit_linear,
        estimate=_estimate_linear,
    )
)
register_candidate(
    Candidate(
        name="characters_linear",
        title="Linear over runs of characters",
        kinds=_TEXT,
        reads="characters",
        fit_predict=_fit_linear,
        estimate=_estimate_linear,
    )
)
register_candidate(
    Candidate(
        name="words_rescaled",
        title="Linear over words rescaled by naive Bayes",
        kinds=_TEXT,
        tasks=_CLASSES,
        reads="words",
        fit_predict=_fit_rescaled,
        estimate=_estimate_rescaled,
    )
)
register_candidate(
    Candidate(
        name="words_bayes",
        title="Naive Bayes over words and pairs of words",
        kinds=_TEXT,
        tasks=_CLASSES,
        reads="words",
        fit_predict=_fit_bayes,
        estimate=_estimate_bayes,
    )
)
register_candidate(
    Candidate(
        name="characters_bayes",
        title="Naive Bayes over runs of characters",
        kinds=_TEXT,
        tasks=_CLASSES,
        reads="characters",
        fit_predict=_fit_bayes,
        estimate=_estimate_bayes,
    )
)
