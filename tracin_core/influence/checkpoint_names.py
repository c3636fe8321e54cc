"""Fit the names in a checkpoint to those of a model: nesting, prefixes, tied weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.errors import CheckpointError

# Where training programs put the state dict, and what they wrap the model in.
NESTED_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module")
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "network.")


def find_state(content: Mapping[str, Any], title: str) -> dict[str, Tensor]:
    """Return the tensors by name, wherever the file keeps them.

    Args:
        content: What the file holds.
        title: How messages name the checkpoint.

    Raises:
        CheckpointError: If there are none.
    """
    for key in NESTED_KEYS:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            return find_state(inner, title)
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(
            f"Checkpoint {title} holds {keys} but no weights; expected a state dict, "
            f"or one under {', '.join(NESTED_KEYS)}. Pass the state dict itself."
        )
    return state


def fit_to_model(state: Mapping[str, Tensor], model: nn.Module, title: str) -> dict[str, Tensor]:
    """Return the model's parameters and saved buffers, tied weights under their first name.

    Args:
        state: Tensors by name, all perhaps with a prefix that the model lacks, or without one
            that it has; what else a training module kept beside the model is left out. A tied
            weight may be there once.
        model: The model they must fit.
        title: How messages name the checkpoint.

    Raises:
        CheckpointError: If a name or shape does not fit, or tied weights differ.
    """
    values = model.state_dict()
    expected = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    first_names = _find_first_names(model)
    needed = {first_names[name] for name in expected if name in first_names}
    aliases = {n: {m for m in expected if first_names.get(m) == n} for n in needed}
    fitted = _match_prefix(state, expected, aliases, title)
    for first, names in aliases.items():
        held = [name for name in names if name in fitted]
        _check_tied(fitted, held, title)
        fitted.update({name: fitted[held[0]] for name in names if held})
        if held:
            fitted.setdefault(first, fitted[held[0]])
    _check_fit(fitted, expected, title)
    return {name: fitted[name].detach() for name in expected if name in needed}


def _find_first_names(model: nn.Module) -> dict[str, str]:
    """Return, for every name of a parameter or buffer, the first of the same tensor's names."""
    own: list[tuple[str, Tensor]] = [*model.named_parameters(remove_duplicate=False)]
    own += [*model.named_buffers(remove_duplicate=False)]
    first: dict[int, str] = {}
    for name, value in own:
        first.setdefault(id(value), name)
    return {name: first[id(value)] for name, value in own}


def _match_prefix(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    aliases: Mapping[str, set[str]],
    title: str,
) -> dict[str, Tensor]:
    """Take off, or put on, what wrappers (DataParallel, Lightning, compile) put before names."""

    def holds_all(names: set[str]) -> bool:
        return all(not names.isdisjoint(others) for others in aliases.values())

    if not aliases or holds_all(set(state)):
        return dict(state)
    inner = {prefix: _take_off(state, prefix) for prefix in _find_prefixes(state, aliases)}
    fitting = [prefix for prefix, held in inner.items() if holds_all(set(held))]
    usual = [prefix for prefix in fitting if _is_usual(prefix)]
    if len(usual or fitting) > 1:
        raise CheckpointError(
            f"Checkpoint {title} holds the model more than once, under "
            f"{', '.join(repr(p) for p in fitting[:4])}; expected it once. Pass the state dict "
            "of the one you mean: {name.removeprefix(p): value for each name with prefix p}."
        )
    if fitting:
        return inner[(usual or fitting)[0]]
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in expected):
            wrapped = {prefix + name: value for name, value in state.items()}
            if holds_all(set(wrapped)):
                return wrapped
    # No prefix fits wholly; the usual one that stands everywhere makes the message readable.
    common = next((p for p in PREFIXES if all(name.startswith(p) for name in state)), "")
    return _take_off(state, common)


def _find_prefixes(state: Mapping[str, Tensor], aliases: Mapping[str, set[str]]) -> list[str]:
    """Return what stands before one of the model's names, the shortest first."""
    names = next(iter(aliases.values()))
    found = {key.removesuffix(name) for key in state for name in names if key.endswith(f".{name}")}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def _take_off(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}


def _is_usual(prefix: str) -> bool:
    while prefix:
        known = next((p for p in PREFIXES if prefix.startswith(p)), None)
        if known is None:
            return False
        prefix = prefix.removeprefix(known)
    return True


def _check_tied(state: Mapping[str, Tensor], names: list[str], title: str) -> None:
    for name in names[1:]:
        if not torch.equal(state[name], state[names[0]]):
            raise CheckpointError(
                f"Checkpoint {title} has different values for {names[0]} and {name}, which are "
                "one weight in the model; expected the same. Build the model without tying "
                "them, as it was trained."
            )


def _check_fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], title: str) -> None:
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not part of the model" for name in state if name not in expected]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, the model {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        shown = "; ".join(problems[:4]) + ("; ..." if len(problems) > 4 else "")
        raise CheckpointError(
            f"Checkpoint {title} does not fit the model: {shown}. Expected the same "
            "names and shapes as model.state_dict(). Build the model with the options it was "
            "trained with."
        )
