"""The parameters that a choice of layers stands for: "all", "last", names or modules."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from torch import nn

from tracin_core.errors import ConfigurationError
from tracin_core.gradients.last_layer import LastLayer

# Names, or the modules themselves.
LayerSelection = str | Sequence[str | nn.Module] | nn.Module


def resolve_layers(model: nn.Module, layers: LayerSelection) -> str | tuple[str, ...]:
    """Return a choice of layers by names, and check that something in it is trainable.

    Args:
        model: The model.
        layers: "all", "last", or names as in ``model.named_modules()`` or
            ``model.named_parameters()``, or modules of the model.

    Raises:
        ConfigurationError: If a name or module is unknown, or nothing chosen is trainable.
    """
    if isinstance(layers, str) and layers in ("all", "last"):
        chosen: str | tuple[str, ...] = layers
    else:
        given = [layers] if isinstance(layers, str | nn.Module) else list(layers)
        chosen = tuple(_find_name(model, layer) for layer in given)
    if chosen != "last" and not find_parameters(model, chosen):
        raise ConfigurationError(
            f"Found no trainable parameter in layers={chosen!r}; expected at least one with "
            "requires_grad=True. Choose other layers, or call requires_grad_(True) on the "
            "parameters that were trained."
        )
    return chosen


def resolve_last_layer(model: nn.Module, layers: LayerSelection) -> LastLayer:
    """Return the layers that a person says are the last.

    Raises:
        ConfigurationError: As ``resolve_layers``; also for "all" and "last", which name none.
    """
    if layers in ("all", "last"):
        raise ConfigurationError(
            f"Found last_layer={layers!r}; expected names as in model.named_modules(), or nothing "
            "to have it found. Name the layer whose outputs the model returns."
        )
    names = tuple(resolve_layers(model, layers))
    return LastLayer(find_parameters(model, names), names)


def is_part(model: nn.Module, name: str) -> bool:
    """Return whether a name is one of the model's parameters or modules, not the model's own."""
    parameters = (known for known, _ in model.named_parameters(remove_duplicate=False))
    modules = (known for known, _ in model.named_modules(remove_duplicate=False))
    return bool(name) and (name in modules or name in parameters)


def find_parameters(model: nn.Module, layers: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the trainable parameters in the chosen layers, in the model's order.

    Args:
        model: The model.
        layers: "all", or names of modules or parameters; a module stands for all inside it.
    """
    trainable = {id(v): name for name, v in model.named_parameters() if v.requires_grad}
    if layers == "all":
        return tuple(trainable.values())
    modules = dict(model.named_modules(remove_duplicate=False))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    inside: set[int] = set()
    for name in [layers] if isinstance(layers, str) else layers:
        own = modules[name].parameters() if name in modules else [parameters[name]]
        inside |= {id(value) for value in own}
    return tuple(name for key, name in trainable.items() if key in inside)


def _find_name(model: nn.Module, layer: str | nn.Module) -> str:
    known: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        name = next((name for name, module in known.items() if module is layer), None)
        if name is None:
            raise ConfigurationError(
                f"Found a {type(layer).__name__} in layers that is no part of the model; expected "
                "'all', 'last', or modules of this model or their names, as in "
                "model.named_modules(). Take the module from the model that you pass."
            )
        return name
    parameters = dict(model.named_parameters(remove_duplicate=False))
    wanted = str(layer).removeprefix("_orig_mod.")  # as torch.compile calls what it wraps
    if wanted in known or wanted in parameters:
        return wanted
    names = [*known, *parameters]
    near = get_close_matches(wanted, names, n=3) or [name for name in names if name][:5]
    raise ConfigurationError(
        f"Found no layer {wanted!r} in the model; expected 'all', 'last' or names as in "
        f"model.named_modules(), such as {', '.join(near)}. Mend the name."
    )
