"""Representer points: an l2-regularised last layer whose outputs are sums over train examples.

Yeh et al. 2018 (arXiv:1811.09720), Theorem 3.1; the TracIn paper's (arXiv:2002.08484v3) appendix
A.2, eq. (4). With the mean loss and ``decay |W|_F^2`` a stationary W satisfies::

    W a' = sum_n alpha_n (a_n . a'),    alpha_n = -(dl/dphi)(n) / (2 decay N)

so every pre-activation is exactly a sum of one number a train example. The paper's eq. (4) writes
the derivative at z'; it is that of the train example z, as in Yeh et al., or nothing would sum up.
The bias is a weight of a feature that is one, and decays like all others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tracin_core.curvature.features import Features
from tracin_core.curvature.frozen import choose_smooth_loss
from tracin_core.curvature.head import append_one
from tracin_core.errors import ConfigurationError
from tracin_core.losses import Loss

MAX_STEPS = 2000


@dataclass(frozen=True)
class RepresenterPoints:
    """A fitted last layer as a sum over its N train examples.

    Attributes:
        features: Of the train examples, with a one for the bias, shape ``(N, I)``, float64.
        alphas: Each example's values by class, shape ``(N, K)``, in units of the outputs.
        weight: The fitted layer, shape ``(K, I)``.
        gradient_norm: Norm of the objective's gradient at it, relative to that at W = 0.
        has_bias: Whether features end with a one.
        decay: lambda.
    """

    features: Tensor
    alphas: Tensor
    weight: Tensor
    gradient_norm: float
    has_bias: bool
    decay: float

    def extend(self, inputs: Tensor) -> Tensor:
        """Return features of other examples as those of the train ones, shape ``(M, I)``."""
        return append_one(inputs.to(self.features.dtype), self.has_bias)

    def weigh(self, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
        """Return the values by class of some train examples, shape ``(B, K)``, as ``alphas``.

        Args:
            inputs: Their features, shape ``(B, I)``.
            targets: Their targets.
            loss: As in the fit.
        """
        slopes = differentiate_outputs(self.extend(inputs) @ self.weight.t(), targets, loss)
        return -slopes / (2 * self.decay * len(self.features))


def fit_representer(
    features: Features, loss: Loss, decay: float, *, limit: float = 1e-6
) -> RepresenterPoints:
    """Return the representer points of a last layer, fitted with L-BFGS in float64.

    Args:
        features: Of N train examples; the last layer's weight is where the fit begins.
        loss: A name or a callable; its gradient at the outputs is taken.
        decay: lambda of ``decay |W|^2``, added to the **mean** loss.
        limit: Largest gradient norm, relative to that at W = 0, that counts as stationary.

    Raises:
        ConfigurationError: If there is no Linear last layer, or the fit is not stationary.
    """
    if not features.weight.numel() or features.targets is None:
        raise ConfigurationError(
            "Found a last layer that is no Linear one; expected one, whose outputs are sums over "
            "its inputs. Choose another method, or pass last_layer= with a Linear layer."
        )
    inputs = append_one(features.pooled.double(), features.bias is not None)
    start = [features.weight.double()]
    start += [] if features.bias is None else [features.bias.double()[:, None]]
    targets, function = features.targets, choose_smooth_loss(loss)

    def compute(weight: Tensor) -> Tensor:
        return function(inputs @ weight.t(), targets).mean() + decay * weight.square().sum()

    weight = torch.cat(start, 1).requires_grad_()
    with torch.enable_grad():
        zero = torch.zeros_like(weight).requires_grad_()
        (slope,) = torch.autograd.grad(compute(zero), zero)
        scale = max(float(slope.norm()), 1e-300)
        optimizer = torch.optim.LBFGS(
            [weight],
            max_iter=MAX_STEPS,
            max_eval=4 * MAX_STEPS,
            tolerance_grad=limit * scale / max(1.0, math.sqrt(weight.numel())) / 10,
            tolerance_change=0.0,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def close() -> Tensor:
            optimizer.zero_grad()
            value = compute(weight)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(close)  # type: ignore[no-untyped-call]
        (slope,) = torch.autograd.grad(compute(weight), weight)
        norm = float(slope.norm()) / scale
    if not norm <= limit:
        raise ConfigurationError(
            f"The last layer was fitted to a relative gradient norm of {norm:.2g}; expected at "
            f"most {limit:g}, because representer values are exact at a stationary point only. "
            f"Choose a larger decay than {decay:g}, which makes the fit easier."
        )
    fitted = weight.detach()
    slopes = differentiate_outputs(inputs @ fitted.t(), targets, loss)
    return RepresenterPoints(
        features=inputs,
        alphas=-slopes / (2 * decay * len(inputs)),
        weight=fitted,
        gradient_norm=norm,
        has_bias=features.bias is not None,
        decay=decay,
    )


def differentiate_outputs(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return the derivative of each example's own loss at its outputs, shape ``(N, K)``."""
    with torch.enable_grad():
        at = outputs.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(choose_smooth_loss(loss)(at, targets).sum(), at)
    return slopes


def choose_classes(outputs: Tensor, targets: Tensor | None, explained: str) -> Tensor:
    """Return the class of each example whose pre-activation is explained, shape ``(M,)``.

    Args:
        outputs: Shape ``(M, K)``.
        targets: Class indices or probabilities; what else there is means the only output.
        explained: The "predicted" class, or the "given" one where it is known.
    """
    if explained == "given" and targets is not None:
        if targets.shape == outputs.shape:
            return targets.argmax(1)
        if targets.numel() == len(outputs) and not targets.is_floating_point():
            return targets.reshape(-1).long()
    return outputs.argmax(1)
