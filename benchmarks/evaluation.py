"""Evaluation mode for an oracle: what modules keep in evaluation is computed anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Evaluate = Callable[[nn.Module], None]


def changes_on_eval(module: nn.Module) -> bool:
    """Whether a module does something of its own on ``train()`` and ``eval()``.

    Such modules keep weights for evaluation: gathered biases, merged or normalised weights.
    """
    return type(module).train is not nn.Module.train or type(module).eval is not nn.Module.eval


def evaluate(model: nn.Module) -> None:
    """Forget what was kept, and evaluate."""
    model.train()
    model.eval()


def evaluate_as_trained(model: nn.Module) -> None:
    """Evaluate, but run modules that keep weights in evaluation as they are trained.

    What they keep would be without a gradient, or of the weights before.
    """
    model.train()
    for module in model.modules():
        module.training = changes_on_eval(module)


def choose_evaluation(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> Evaluate:
    """Return the way to evaluate that has every gradient; leaves the model evaluating.

    Args:
        model: Any.
        run: Returns its outputs for some examples.

    Returns:
        ``evaluate_as_trained``, unless a module that overrides ``train()`` then gives other
        outputs, as one that masks its input at random in training does.
    """
    found = []
    for way in (evaluate, evaluate_as_trained):
        way(model)
        with torch.no_grad():
            found.append(run(model))
    evaluate(model)
    same = torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-6)
    return evaluate_as_trained if same else evaluate
