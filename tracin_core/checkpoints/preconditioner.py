"""What an adaptive optimizer divides each parameter's gradient by, read from a checkpoint.

A step of Adam is ``rate * m / (sqrt(v) + eps)``, both corrected for their bias (Kingma and Ba 2015,
arXiv:1412.6980, algorithm 1); RMSprop and Adagrad have the same form with averages of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.checkpoints import Checkpoint, read_content_of
from tracin_core.checkpoints.formats import read_torch
from tracin_core.checkpoints.learning_rates import OPTIMIZER_KEYS
from tracin_core.errors import CheckpointError

# The average of squared gradients by optimizer: Adam and its kind, RMSprop, Adagrad.
SQUARES = ("exp_avg_sq", "square_avg", "sum")


def read_preconditioner(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """Return ``1 / (sqrt(v) + eps)`` of each trainable parameter, in its shape.

    Args:
        checkpoint: With the optimizer's state in it, or beside it as a Trainer's ``optimizer.pt``.
        model: Whose parameters they are.

    Raises:
        CheckpointError: If there is no state, it is no adaptive optimizer's, or whose numbers are
            whose is in doubt.
    """
    optimizer = _find_optimizer(checkpoint)
    wanted = {name: value.shape for name, value in model.named_parameters() if value.requires_grad}
    kept = _name_states(optimizer, model, checkpoint.title)
    found = {}
    for name, shape in wanted.items():
        group, state = kept.get(name, ({}, {}))
        key = next((key for key in SQUARES if isinstance(state.get(key), Tensor)), None)
        if key is None or state[key].shape != shape:
            raise CheckpointError(
                f"Checkpoint {checkpoint.title} keeps no squared gradients for {name}; expected "
                f"the state of Adam, RMSprop or Adagrad with {' or '.join(SQUARES)} of shape "
                f"{tuple(shape)}. Choose the method tracincp, which needs none."
            )
        found[name] = _invert(state, key, group)
    return found


def _invert(state: Mapping[str, Any], key: str, group: Mapping[str, Any]) -> Tensor:
    squares: Tensor = state[key].double()
    betas = group.get("betas")
    step = float(state.get("step", 0))
    if key == "exp_avg_sq" and betas is not None and step > 0:
        squares = squares / (1 - float(betas[1]) ** step)
    if key == "square_avg" and isinstance(state.get("grad_avg"), Tensor):
        squares = squares - state["grad_avg"].double().square()  # centred RMSprop
    return (squares.clamp_min(0).sqrt() + float(group.get("eps", 1e-8))).reciprocal()


def _find_optimizer(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the state dict of the checkpoint's only optimizer."""
    content = read_content_of(checkpoint)
    found: Any = next((content[k] for k in OPTIMIZER_KEYS if content.get(k)), None)
    if found is None and isinstance(checkpoint.weights, str | Path):
        path = Path(checkpoint.weights)
        beside = (path if path.is_dir() else path.parent) / "optimizer.pt"
        found = read_torch(beside) if beside.is_file() else None
    if isinstance(found, list | tuple) and len(found) == 1:
        (found,) = found
    if not isinstance(found, Mapping) or not {"state", "param_groups"} <= set(found):
        raise CheckpointError(
            f"Checkpoint {checkpoint.title} has no optimizer's state; expected one under "
            f"{', '.join(OPTIMIZER_KEYS[:4])}. Save optimizer.state_dict() beside the weights, or "
            "choose the method tracincp, which needs none."
        )
    return found


def _name_states(
    optimizer: Mapping[str, Any], model: nn.Module, title: str
) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return each parameter's group and state by name: by names where there are, else in order."""
    groups, state = optimizer["param_groups"], optimizer["state"]
    entries = [(group, number) for group in groups for number in group["params"]]
    named = [name for group in groups for name in group.get("param_names", ())]
    everything = list(model.named_parameters())
    trainable = [(name, value) for name, value in everything if value.requires_grad]
    names: Sequence[str] | None = named if len(named) == len(entries) else None
    if names is None and len(groups) == 1:
        for parameters in (trainable, everything):
            shapes = [value.shape for _, value in parameters]
            if _fit([state.get(number, {}) for _, number in entries], shapes):
                names = [name for name, _ in parameters]
                break
    if names is None:
        raise CheckpointError(
            f"Checkpoint {title} has an optimizer of {len(groups)} groups and {len(entries)} "
            f"parameters; the model has {len(everything)}, and whose state is whose is in doubt. "
            "Save an optimizer that was made from model.named_parameters()."
        )
    return {
        name: (group, state.get(number, {}))
        for name, (group, number) in zip(names, entries, strict=True)
    }


def _fit(states: Sequence[Mapping[str, Any]], shapes: Sequence[torch.Size]) -> bool:
    if len(states) != len(shapes):
        return False
    kept = [next((s[k] for k in SQUARES if isinstance(s.get(k), Tensor)), None) for s in states]
    return all(k is None or k.shape == s for k, s in zip(kept, shapes, strict=True))
