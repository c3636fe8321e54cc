"""Which models the engine takes: a module whose weights can be exchanged and have gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from tracin_core.errors import ConfigurationError

QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def open_model(model: Any) -> nn.Module:
    """Return the module that a model is, without the wrapper of ``torch.compile``.

    Args:
        model: What the caller has passed.

    Raises:
        ConfigurationError: If it is no module, a program without one, or not ready.
    """
    if not isinstance(model, nn.Module):
        raise ConfigurationError(
            f"Found a model of type {type(model).__name__}; expected a torch.nn.Module. Pass the "
            "module that was trained; of an exported program, the one that it was made from."
        )
    if type(model).__name__ == "OptimizedModule" and isinstance(model._orig_mod, nn.Module):
        inner: nn.Module = model._orig_mod
        model = inner
    for name, module in model.named_modules():
        what = _find_kind(module)
        if what is not None:
            place = f"Layer {name!r}" if name else "The model"
            raise ConfigurationError(
                f"{place} is {what}; expected modules whose weights can be exchanged and that "
                "say what each layer was given. Pass the torch.nn.Module that it was made from: "
                "checkpoints are read into it by the names of their weights."
            )
    waiting = [name for name, value in model.named_parameters() if is_lazy(value)]
    if waiting:
        raise ConfigurationError(
            f"The parameter {waiting[0]!r} has no shape yet, as those of lazy layers; expected a "
            "model that has seen inputs. Call model(inputs) once with a batch before."
        )
    opened: nn.Module = model
    return opened


def refuse_complex(model: nn.Module, names: Iterable[str]) -> None:
    """Refuse complex parameters among those whose gradients are wanted.

    Raises:
        ConfigurationError: If there is one.
    """
    weights = dict(model.named_parameters())
    found = [name for name in names if weights[name].is_complex()]
    if found:
        raise ConfigurationError(
            f"The parameter {found[0]!r} is complex ({weights[found[0]].dtype}); expected real "
            "ones, because influences are products of real gradients. Keep it in the model as a "
            "real parameter and read it with torch.view_as_complex(self.NAME), which has the "
            "same gradients (load it with torch.view_as_real); or choose layers without it."
        )


def _find_kind(module: nn.Module) -> str | None:
    if isinstance(module, torch.fx.GraphModule) and "train" in vars(module):
        return "an exported program (torch.export)"
    if type(module).__module__.startswith(QUANTISED):
        return f"quantised ({type(module).__name__}), and its weights have no gradients"
    return None
