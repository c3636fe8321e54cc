"""Run code with other weights in place of a model's own, which stay untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

T = TypeVar("T")


class _Stage(nn.Module):
    """Holds the model, so that a whole computation runs inside one ``functional_call``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[], Any]) -> Any:
        return function()


def run_with_weights(
    model: nn.Module, weights: Mapping[str, Tensor], function: Callable[[], T]
) -> T:
    """Call ``function`` while the model holds ``weights``.

    The model's own tensors are set aside, not overwritten, and come back whatever happens.

    Args:
        model: The model.
        weights: Parameters and buffers by name; a tied weight under its first name only.
        function: Takes nothing.

    Returns:
        What the function returned.
    """
    named = {f"model.{name}": value for name, value in weights.items()}
    result: T = functional_call(_Stage(model), named, (function,))
    return result


@contextmanager
def evaluation_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put the model in evaluation mode; give back every module's mode and the random state.

    Gradients are off except where a pass turns them on. The fused attention of
    ``nn.TransformerEncoder`` is off too: it bypasses the layers, so hooks would see nothing.
    """
    modes = {module: module.training for module in model.modules()}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            model.eval()
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
            for module, mode in modes.items():
                module.training = mode
