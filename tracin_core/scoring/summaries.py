"""From signals per checkpoint to one number an example: what the queue ranks by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tracin_core.runs import Signals


def summarise_signals(
    signals: Signals, learning_rates: Sequence[float | None]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return every ranking of the train examples, high for suspects.

    TracInCP (Pruthi et al. 2020, arXiv:2002.08484v3, Sec. 3.2) weights each checkpoint with its
    learning rate. On real label noise the last layer's self-influence ranked better with the
    rates ignored, so that is what the queue uses unless told otherwise.

    Args:
        signals: Of the train split, arrays of shape ``(C, N)``.
        learning_rates: Step size at each checkpoint, shape ``(C,)``; None where it is not known,
            and then there is no ranking with the rates.

    Returns:
        By signal name, shape ``(N,)`` each: squared gradient norms summed over checkpoints
        (``self_influence``: last layer; ``self_influence_all``: all layers, where they were
        scored; ``self_influence_recorded``: last layer, weighted with the rates), loss and negative
        logit margin averaged over them; for regression, in place of the margin, the mean
        absolute residual in the target's unit (``mean_residual``).
    """
    last = signals.self_influence_last.astype(np.float64)
    rates = [rate for rate in learning_rates if rate is not None]
    known = len(rates) == len(learning_rates)
    every = signals.self_influence_all
    scores = {
        "self_influence": last.sum(axis=0),
        **({} if every is None else {"self_influence_all": every.astype(np.float64).sum(axis=0)}),
        **({"self_influence_recorded": np.asarray(rates) @ last} if known else {}),
        "mean_loss": signals.loss.astype(np.float64).mean(axis=0),
    }
    if signals.residual is None:
        return scores | {"mean_margin": -signals.margin.astype(np.float64).mean(axis=0)}
    return scores | {"mean_residual": np.abs(signals.residual.astype(np.float64)).mean(axis=0)}
