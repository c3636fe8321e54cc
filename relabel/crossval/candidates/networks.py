"""Built-in networks, trained once for each fold: slow, and asked where that is affordable."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from relabel.crossval.candidates.words import place_classes
from relabel.crossval.registry import Candidate, Fold, Size, register_candidate


def _ask(fold: Fold, *, name: str) -> npt.NDArray[np.floating]:
    found: npt.NDArray[np.floating] = fold.network.ask(name, fold)
    if fold.is_regression:
        return found
    likely = np.exp(found - found.max(axis=1, keepdims=True))
    classes = np.unique(fold.targets[fold.learned])
    return place_classes(likely[:, classes], classes, fold)


def _estimate_cnn(size: Size) -> float:
    # Two convolutions with 32 and 64 filters, 16 epochs.
    return 0.5 + 16 * size.examples * (2e-5 + 1.2e-7 * size.width)


def _estimate_mlp(size: Size) -> float:
    return 0.5 + 20 * size.examples * (1.2e-5 + 2e-9 * 128 * size.width)


register_candidate(
    Candidate(
        name="small_cnn",
        title="Small convolutional network",
        kinds=("image",),
        reads="inputs",
        fit_predict=partial(_ask, name="small_cnn"),
        estimate=_estimate_cnn,
        network="small_cnn",
    )
)
register_candidate(
    Candidate(
        name="mlp",
        title="Multilayer perceptron",
        kinds=("table",),
        reads="inputs",
        fit_predict=partial(_ask, name="mlp"),
        estimate=_estimate_mlp,
        network="mlp",
    )
)
