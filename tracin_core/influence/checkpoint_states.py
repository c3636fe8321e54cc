"""Find the weights in what a checkpoint file holds, wherever the training program put them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tracin_core.errors import CheckpointError

# Where training programs put the state dict.
NESTED_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module")

# What modules add to a state dict by get_extra_state(): of any kind, and no weight.
EXTRA_STATE = "_extra_state"


def find_state(content: Mapping[str, Any], title: str) -> dict[str, Tensor]:
    """Return the tensors by name, wherever the file keeps them.

    Args:
        content: What the file holds.
        title: How messages name the checkpoint.

    Returns:
        The state dict; where there are several under names of their own, such as a generator's
        and a discriminator's, all of them with these names as prefixes.

    Raises:
        CheckpointError: If there are none.
    """
    state = _collect(content)
    if not state:
        keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(
            f"Checkpoint {title} holds {keys} but no weights; expected a state dict of tensors "
            f"(NumPy arrays are not read), or one under {', '.join(NESTED_KEYS)}. Save it as "
            "torch.save(model.state_dict(), path), or move the file out of the folder."
        )
    return state


def holds_no_model(content: Mapping[str, Any]) -> bool:
    """Tell whether a file is an optimizer's or a schedule's, saved beside the weights."""
    return {"state", "param_groups"} <= content.keys() or {"last_epoch", "_last_lr"} <= (
        content.keys()
    )


def _collect(content: Mapping[str, Any]) -> dict[str, Tensor]:
    content = {k: v for k, v in content.items() if str(k).rpartition(".")[2] != EXTRA_STATE}
    for key in NESTED_KEYS:
        inner = content.get(key)
        # A network's options may stand under such a name, too.
        if isinstance(inner, Mapping) and (state := _collect(inner)):
            return state
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    parts = {
        f"{key}.{name}": value
        for key, inner in content.items()
        if isinstance(inner, Mapping) and all(isinstance(v, Tensor) for v in inner.values())
        for name, value in inner.items()
    }
    # Beside several state dicts, single numbers are records, such as the best accuracy so far.
    return parts | {name: value for name, value in tensors.items() if value.ndim or not parts}
