"""Which parameters a choice of layers means."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from torch import nn

from tracin_core.errors import ConfigurationError

LayerChoice = str | Sequence[str]


def check_layers(model: nn.Module, layers: LayerChoice) -> None:
    """See that a choice of layers names modules of the model with something to train.

    Args:
        model: The model.
        layers: "all", "last", or names as in ``model.named_modules()``.

    Raises:
        ConfigurationError: If a name is unknown, or nothing chosen is trainable.
    """
    known = dict(model.named_modules())
    for name in [] if layers in ("all", "last") else _as_names(layers):
        if name not in known:
            near = get_close_matches(name, known, n=3) or list(known)[1:6]
            raise ConfigurationError(
                f"Found no layer {name!r} in the model; expected 'all', 'last' or names as in "
                f"model.named_modules(), such as {', '.join(near)}. Mend the name."
            )
    if layers != "last" and not find_parameters(model, layers):
        raise ConfigurationError(
            f"Found no trainable parameter in layers={layers!r}; expected at least one with "
            "requires_grad=True. Choose other layers, or call requires_grad_(True) on the "
            "parameters that were trained."
        )


def find_parameters(model: nn.Module, layers: LayerChoice) -> tuple[str, ...]:
    """Return the names of the trainable parameters in the chosen layers, in the model's order.

    Args:
        model: The model.
        layers: "all", or names of modules; a module stands for all that is inside it.
    """
    trainable = {id(v): name for name, v in model.named_parameters() if v.requires_grad}
    if layers == "all":
        return tuple(trainable.values())
    modules = dict(model.named_modules())
    inside = {id(v) for name in _as_names(layers) for v in modules[name].parameters()}
    return tuple(name for key, name in trainable.items() if key in inside)


def find_own_parameters(model: nn.Module, layer: str) -> tuple[str, ...]:
    """Return the trainable parameters that one module holds itself, not its children."""
    trainable = {id(v): name for name, v in model.named_parameters() if v.requires_grad}
    own = model.get_submodule(layer).parameters(recurse=False)
    return tuple(trainable[id(v)] for v in own if id(v) in trainable)


def _as_names(layers: LayerChoice) -> list[str]:
    return [layers] if isinstance(layers, str) else list(layers)
