"""Run code with other weights in place of a model's own, which stay untouched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracin_core.gradients.module_states import ModuleStates, list_attributes

# Whose own train() is known to touch no weights: of every model there, and of a wrapper.
PLAIN_SWITCHES = {"transformers.modeling_utils", "torch.nn.parallel.distributed"}


class WeightSlots:
    """Every place in a model where a parameter or buffer hangs, found once.

    ``torch.func.functional_call`` does the same and looks for the places at every call, which
    costs as much as a small model's forward pass.

    Args:
        model: The model. Where its structure changes afterwards, the places are found again.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.find_again()

    def find_again(self) -> None:
        """Look for the places anew."""
        model = self._model
        names = {id(value): name for name, value in model.named_parameters()}
        names |= {id(value): name for name, value in model.named_buffers()}
        self._slots: list[tuple[Any, Any, str]] = []
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
        # A plain list or dictionary of parameters, beside the tables, would go on holding the own.
        for module in model.modules():
            if not isinstance(module, nn.RNNBase):
                self._slots += _find_second_places(module, names)

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


def _find_second_places(module: nn.Module, names: Mapping[int, str]) -> list[tuple[Any, Any, str]]:
    found: list[tuple[Any, Any, str]] = []
    for value in list_attributes(module).values():
        if isinstance(value, list | dict) and value:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            found += [
                (value, key, names[id(item)])
                for key, item in items
                if isinstance(item, Tensor) and id(item) in names
            ]
    return found


def find_switching(model: nn.Module) -> list[nn.Module]:
    """Return the modules that do something of their own when the mode is switched.

    They may keep results of their weights from then on, or add one weight to another.
    """
    return [module for module in model.modules() if _switches(module, module is model)]


def _switches(module: nn.Module, is_whole: bool) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return False
    if "train" in vars(module) or (is_whole and "eval" in vars(module)):
        return True
    kind = type(module)
    # A parent switches its children by train(), so an eval() of theirs is never called.
    written = kind.train is not nn.Module.train and kind.train.__module__ not in PLAIN_SWITCHES
    return written or (is_whole and kind.eval is not nn.Module.eval)


def put_copies(model: nn.Module) -> None:
    """Put copies of a model's parameters and buffers in place of its own."""
    copies: dict[int, Any] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for key, value in table.items():
                if value is not None and id(value) not in copies:
                    copies[id(value)] = _copy(value)
                if value is not None:
                    table[key] = copies[id(value)]


def _copy(value: Tensor) -> Tensor:
    copied = value.detach().clone()
    return nn.Parameter(copied, value.requires_grad) if isinstance(value, nn.Parameter) else copied


def is_compiled(model: nn.Module) -> bool:
    """Whether a model, or a part of it, runs as ``torch.compile`` has made it."""
    return any(
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def is_scripted(model: nn.Module) -> bool:
    """Whether a model, or a part of it, is a TorchScript program."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())


@contextmanager
def evaluation_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put the model in evaluation mode; give it and the random state back as they were.

    Back come every module's mode, what modules keep beside their weights, and where they merge
    or keep weights at the switch, all tensors: it then works on copies.

    Gradients are off except where a pass turns them on. The fused attention of
    ``nn.TransformerEncoder`` is off too: it bypasses the layers, so hooks would see nothing. So
    is cuDNN for models with recurrent layers: its own go backward in training mode only, and
    ``torch.func`` cannot map them. And oneDNN, whose LSTM is one operation that shows no rule
    where its weights are read; examples would go one at a time.
    """
    modes = {module: module.training for module in model.modules()}
    switching = find_switching(model)
    states = ModuleStates(model, switching)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    devices = [device] if device.type == "cuda" else []
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn
    uses_cudnn, uses_mkldnn = cudnn.enabled, mkldnn.enabled
    recurs = any(isinstance(module, nn.RNNBase) for module in modes)
    # Within torch's own context for it, parametrised weights would be kept across checkpoints.
    keeps: Any = parametrize
    keeping = keeps._cache_enabled
    # What torch.compile has made of a layer passes hooks by: it runs as it was written.
    stance = torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()
    # TorchScript's second and third pass join layers' operations, and their gradients with them.
    jit: Any = torch.jit
    plain = jit.optimized_execution(False) if is_scripted(model) else nullcontext()
    with stance, plain, torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            keeps._cache_enabled = 0
            if switching:
                put_copies(model)
            model.eval()
            torch.backends.mha.set_fastpath_enabled(False)
            cudnn.enabled = uses_cudnn and not recurs
            mkldnn.enabled = uses_mkldnn and not recurs
            yield
        finally:
            keeps._cache_enabled = keeping
            cudnn.enabled = uses_cudnn
            mkldnn.enabled = uses_mkldnn
            torch.backends.mha.set_fastpath_enabled(fast_path)
            try:
                for module in switching:
                    module.train(modes[module])
            finally:
                states.restore()
                for module, mode in modes.items():
                    module.training = mode
