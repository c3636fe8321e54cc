"""Fit the names in a checkpoint to those of a model: prefixes, wrappers, tied weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tracin_core.errors import CheckpointError

# What training programs wrap the model in.
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "network.")
# What they wrap a part of it in (compile, FSDP, activation checkpoints, DataParallel), which then
# stands in the middle of names.
INNER_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"}
# How a copy is called that averages the weights over the training. Gradients were not taken there.
AVERAGES = {"ema", "swa", "avg", "average", "averaged", "shadow"}
# Tables of positions, which every model of a kind has alike: in older files, or in newer ones only.
POSITIONS = ("position_ids", "relative_position_index", "relative_coords_table")
# Batches that a normalization has seen: files from before torch 0.4.1 lack it, training alone
# uses it.
COUNTER = "num_batches_tracked"
# What the model's own will do for where a file lacks it.
CONSTANTS = (COUNTER, *POSITIONS)


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
    first_names = _find_first_names(model)
    # Beside weights, modules may save an extra state.
    expected = {name: values[name] for name in values if name in first_names}
    needed = {first_names[name] for name in expected if name in first_names}
    aliases = {n: {m for m in expected if first_names.get(m) == n} for n in needed}
    fitted = _drop_unsaved(_match_prefix(state, expected, aliases, title), model, expected)
    constants = {name: values[name] for name in needed if name.endswith(CONSTANTS)}
    fitted = constants | fitted
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
    """Return the state with the prefix of a wrapper (DataParallel, Lightning) removed or added."""

    def holds_all(names: set[str]) -> bool:
        needed = (others for first, others in aliases.items() if not first.endswith(CONSTANTS))
        return all(not names.isdisjoint(others) for others in needed)

    if not aliases or holds_all(set(state)):
        return dict(state)
    inner = {prefix: _strip_prefix(state, prefix) for prefix in _find_prefixes(state, aliases)}
    fitting = {prefix: held for prefix, held in inner.items() if holds_all(set(held))}
    if fitting:
        return fitting[_choose_prefix(fitting, expected, title)]
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in expected):
            wrapped = {prefix + name: value for name, value in state.items()}
            if holds_all(set(wrapped)):
                return wrapped
    bare = _drop_inner_wrappers(state, expected)
    if bare.keys() != state.keys():
        return _match_prefix(bare, expected, aliases, title)
    # No prefix fits wholly; the usual one that stands everywhere makes the message readable.
    common = next((p for p in PREFIXES if all(name.startswith(p) for name in state)), "")
    return _strip_prefix(state, common)


def _drop_unsaved(
    state: Mapping[str, Tensor], model: nn.Module, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the state without buffers that the model has alike and does not save any more."""
    own = {name: value for name, value in model.named_buffers() if name not in expected}
    return {
        name: value
        for name, value in state.items()
        if name not in own
        or own[name].shape != value.shape
        or not torch.allclose(own[name].cpu().double(), value.cpu().double(), equal_nan=True)
    }


def _choose_prefix(
    fitting: Mapping[str, Mapping[str, Tensor]], expected: Mapping[str, Tensor], title: str
) -> str:
    """Return the prefix under which the model itself stands: of several, the likeliest."""
    usual = [prefix for prefix in fitting if _is_usual(prefix)]
    trained = [prefix for prefix in fitting if AVERAGES.isdisjoint(re.split(r"[._]", prefix))]
    meant = usual or trained or list(fitting)
    # A generator and a discriminator often have the same names.
    shaped = [
        prefix
        for prefix in meant
        if all(v.shape == expected[n].shape for n, v in fitting[prefix].items() if n in expected)
    ]
    meant = shaped or meant
    if len(meant) > 1:
        raise CheckpointError(
            f"Checkpoint {title} holds the model more than once, under "
            f"{', '.join(repr(p) for p in meant[:4])}; expected it once. Save the state dict of "
            "the one you mean into a file of its own: its weights, with names that do not begin "
            f"with {meant[0]!r}."
        )
    return meant[0]


def _drop_inner_wrappers(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return the state without wrappers of parts of the model, where the model has none."""
    wrappers = INNER_WRAPPERS - {part for name in expected for part in name.split(".")}
    bare = {}
    for key, value in state.items():
        first, *others = key.split(".")
        bare[".".join([first, *(part for part in others if part not in wrappers)])] = value
    # Where two names become one, more than wrappers would be lost.
    return bare if len(bare) == len(state) else state


def _find_prefixes(state: Mapping[str, Tensor], aliases: Mapping[str, set[str]]) -> list[str]:
    """Return what stands before one of the model's names, the shortest first."""
    names = next(iter(aliases.values()))
    found = {key.removesuffix(name) for key in state for name in names if key.endswith(f".{name}")}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def _strip_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
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
    missing = [f"{name} is missing" for name in expected if name not in state]
    extra = [f"{name} is not part of the model" for name in state if name not in expected]
    shared = [(name, state[name], ours) for name, ours in expected.items() if name in state]
    shapes = [
        f"{name} has shape {tuple(saved.shape)}, the model {tuple(ours.shape)}"
        for name, saved, ours in shared
        if saved.shape != ours.shape
    ]
    types = [
        f"{name} holds {saved.dtype}, the model {ours.dtype}"
        for name, saved, ours in shared
        if ours.is_floating_point() and not saved.is_floating_point()
    ]
    problems = missing + extra + shapes + types
    if not problems:
        return
    shown = "; ".join(problems[:4]) + ("; ..." if len(problems) > 4 else "")
    if types or any(name.endswith("zero_point") for name in state):
        way_out = (
            "Quantised weights have no gradients: pass the checkpoint from before the quantising."
        )
    elif len(extra) == len(problems):
        way_out = (
            "Build the model with all the parts that it was trained with; if these play no part "
            "in its outputs, save the file again without them."
        )
    else:
        way_out = "Build the model with the options it was trained with."
    raise CheckpointError(
        f"Checkpoint {title} does not fit the model: {shown}. Expected the same names and shapes "
        f"as model.state_dict(). {way_out}"
    )
