"""Load a person's own network by running their function. Imports torch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from relabel.models.user.code import (
    explain_own_code_errors,
    list_functions,
    prepend_import_folder,
    run_file,
)
from relabel.models.user.config import (
    Consent,
    OwnModelConfig,
    hash_source,
    read_source,
    require_consent,
)
from tracin_core.errors import ConfigurationError
from tracin_core.own_model import OwnModel

LOSSES = ("cross_entropy", "mse", "binary_cross_entropy")


def load_own_model(config: OwnModelConfig, *, run_my_code: Consent) -> OwnModel:
    """Run a person's function and return the network with what belongs to it.

    Args:
        config: The file, as it was when it was agreed to, and the function.
        run_my_code: Whether the person has agreed to run it, or the digest they agreed to.

    Returns:
        What the function made, with the loss filled in, and outputs in the project's order of
        classes.

    Raises:
        ConfigurationError: If it was not agreed to, the file is missing or has changed since, the
            function is missing or raises, or what it returns is no network.
    """
    require_consent(config, agreed=run_my_code)
    file = Path(config.file)
    source = read_source(file)
    if hash_source(source) != config.sha256:
        raise ConfigurationError(
            f"The model's file {file} has changed since this project used it (it was "
            f"{config.sha256[:8]}, it is {hash_source(source)[:8]}). Put the file back as it "
            "was; or score the project again with --model to use it as it is now."
        )
    # As for built-in networks: the same weights each time, and nobody's random state moved.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = run_file(file, source)
        function = _find_function(module, config, source)
        arguments = _choose_arguments(function, config)
        with (
            prepend_import_folder(file.parent),
            explain_own_code_errors(file, f"The function {config.function}"),
        ):
            made = function(**arguments)
    return _complete(made, config)


def _find_function(module: ModuleType, config: OwnModelConfig, source: bytes) -> Callable[..., Any]:
    found = getattr(module, config.function, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    known = ", ".join(list_functions(source)) or "none"
    what = "no function" if found is None else f"{_name_type(found)}, no function,"
    raise ConfigurationError(
        f"The file {config.file} has {what} called {config.function}; it defines: {known}. Name "
        "the function that returns the network, as in --model my_model.py:build."
    )


def _choose_arguments(function: Callable[..., Any], config: OwnModelConfig) -> dict[str, Any]:
    """Return those of the arguments we know that the function names."""
    known = {
        "classes": config.classes,
        "num_classes": config.num_outputs,
        "kind": config.kind,
        "task": config.task,
    }
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # a function that is not written in Python
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return known
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    unknown = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_POSITIONAL
        and not (parameter.kind in by_name and parameter.name in known)
    ]
    if unknown:
        raise ConfigurationError(
            f"The function {config.title} asks for {', '.join(unknown)}; it is called with those "
            f"of {', '.join(known)} that it names. Give the others a default value."
        )
    names = {parameter.name for parameter in parameters if parameter.kind in by_name}
    return {name: value for name, value in known.items() if name in names}


def _complete(made: Any, config: OwnModelConfig) -> OwnModel:
    if isinstance(made, nn.Module):
        made = OwnModel(made)
    if not isinstance(made, OwnModel) or not isinstance(made.model, nn.Module):
        inner = made.model if isinstance(made, OwnModel) else made
        raise ConfigurationError(
            f"The function {config.title} returned {_name_type(inner)}; expected a network, a "
            "torch.nn.Module, or an OwnModel with one. End it with: return "
            "tracin_core.OwnModel(network, transform=...)"
        )
    for name in ("transform", "collate"):
        value = getattr(made, name)
        if value is not None and not callable(value):
            raise ConfigurationError(
                f"The function {config.title} returned {name}={_name_type(value)}; expected a "
                f"function. Pass a function that takes an example, or leave {name} out."
            )
    known = {name for name, _ in made.model.named_modules()}
    known |= {name for name, _ in made.model.named_parameters()}
    unknown = [name for name in made.last_names if name not in known]
    if unknown:
        raise ConfigurationError(
            f"The function {config.title} returned last_layer={unknown[0]!r}, which is no part of "
            "the network; expected names as in model.named_modules(). Mend the name, or leave "
            "last_layer out, and the last layer is found."
        )
    if not (math.isfinite(made.target_mean) and 0 < made.target_std < math.inf):
        raise ConfigurationError(
            f"The function {config.title} returned target_mean={made.target_mean} and "
            f"target_std={made.target_std}; expected finite numbers, the second above 0. Pass "
            "what your training subtracted from the targets and divided them by."
        )
    _match_classes(made, config)
    return replace(made, loss=_choose_loss(made, config))


def _choose_loss(made: OwnModel, config: OwnModelConfig) -> Any:
    if made.loss is None:
        return "mse" if config.task == "regression" else "cross_entropy"
    if not callable(made.loss) and made.loss not in LOSSES:
        raise ConfigurationError(
            f"The function {config.title} returned loss={made.loss!r}; expected one of "
            f"{', '.join(LOSSES)}, or a function (outputs, targets) that returns one loss for "
            "each example. Pass one of these."
        )
    fits = made.loss == "mse" if config.task == "regression" else made.loss != "mse"
    if not callable(made.loss) and not fits:
        raise ConfigurationError(
            f"The function {config.title} returned loss={made.loss!r}, which does not fit a "
            f"{config.task} project. Leave it out, or import the data with the "
            f"{'label' if config.task == 'regression' else 'number'} as the target."
        )
    return made.loss


def _match_classes(made: OwnModel, config: OwnModelConfig) -> None:
    """Reorder the outputs to the project's classes where the network has another order."""
    named = made.classes if made.classes is not None else _read_label_names(made.model)
    if config.task == "regression" or named is None:
        return
    theirs = [str(name) for name in named]
    if sorted(theirs) != sorted(config.classes):
        if made.classes is None:  # such as LABEL_0, which says nothing
            return
        raise ConfigurationError(
            f"The function {config.title} returned the classes {_shorten(theirs)}; the project "
            f"has {_shorten(list(config.classes))}. Name the project's classes, in the order of "
            "the network's outputs."
        )
    if theirs != list(config.classes):
        order = torch.tensor([theirs.index(name) for name in config.classes])
        made.model.register_forward_hook(lambda _model, _inputs, outputs: _reorder(outputs, order))


def _read_label_names(model: nn.Module) -> list[str] | None:
    """Return the names that a ``transformers`` configuration gives its outputs."""
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, Mapping) or set(names) != set(range(len(names))):
        return None
    return [str(names[index]) for index in range(len(names))]


def _reorder(outputs: Any, order: Tensor) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.index_select(1, order.to(outputs.device))
    if isinstance(outputs, tuple | list):
        return (_reorder(outputs[0], order), *outputs[1:])
    if isinstance(outputs, dict):
        outputs["logits"] = _reorder(outputs["logits"], order)
    else:
        outputs.logits = _reorder(outputs.logits, order)
    return outputs


def _name_type(value: Any) -> str:
    name = type(value).__name__
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    return "None" if value is None else f"{article} {name}"


def _shorten(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
