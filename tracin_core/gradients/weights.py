"""Run code with other weights in place of a model's own, which stay untouched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightSlots:
    """Every place in a model where a parameter or buffer hangs, found once.

    ``torch.func.functional_call`` does the same and looks for the places at every call, which
    costs as much as a small model's forward pass.

    Args:
        model: The model. Its structure must not change afterwards.
    """

    def __init__(self, model: nn.Module) -> None:
        names = {id(value): name for name, value in model.named_parameters()}
        names |= {id(value): name for name, value in model.named_buffers()}
        self._slots: list[tuple[dict[str, Any], str, str]] = []
        for module in model.modules():
            for table in (module._parameters, module._buffers):
                self._slots += [
                    (table, key, names[id(value)])
                    for key, value in table.items()
                    if value is not None
                ]
        # Recurrent layers keep a second list of their weights; it follows by itself when a
        # forward pass sees new ones, but must be given back too.
        self._recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]

    @contextmanager
    def hold(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Put ``weights`` in place while the context is open.

        The model's own tensors are set aside, not overwritten, and come back whatever happens.

        Args:
            weights: All parameters and buffers by name; a tied one, under its first name, goes
                to every place it is used.
        """
        own = [table[key] for table, key, _ in self._slots]
        lists = [dict(vars(module)) for module in self._recurrent]
        try:
            for table, key, name in self._slots:
                table[key] = weights[name]
            yield
        finally:
            for (table, key, _), value in zip(self._slots, own, strict=True):
                table[key] = value
            for module, attributes in zip(self._recurrent, lists, strict=True):
                vars(module).update(attributes)


@contextmanager
def evaluation_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put the model in evaluation mode; give back every module's mode and the random state.

    Gradients are off except where a pass turns them on. The fused attention of
    ``nn.TransformerEncoder`` is off too: it bypasses the layers, so hooks would see nothing. So
    is cuDNN for models with recurrent layers: its own go backward in training mode only, and
    ``torch.func`` cannot map them. And oneDNN, whose LSTM is one operation that shows no rule
    where its weights are read; examples would go one at a time.
    """
    modes = {module: module.training for module in model.modules()}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    devices = [device] if device.type == "cuda" else []
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn
    uses_cudnn, uses_mkldnn = cudnn.enabled, mkldnn.enabled
    recurs = any(isinstance(module, nn.RNNBase) for module in modes)
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            model.eval()
            torch.backends.mha.set_fastpath_enabled(False)
            cudnn.enabled = uses_cudnn and not recurs
            mkldnn.enabled = uses_mkldnn and not recurs
            yield
        finally:
            cudnn.enabled = uses_cudnn
            mkldnn.enabled = uses_mkldnn
            torch.backends.mha.set_fastpath_enabled(fast_path)
            for module, mode in modes.items():
                module.training = mode
