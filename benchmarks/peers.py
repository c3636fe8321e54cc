"""TracIn in captum and dattri, called as their documentation says; left out where absent."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.networks import LEARNING_RATE
from tracin_core import Checkpoint

Run = Callable[[TensorDataset], Tensor]

# captum's default mode differentiates each example through the graph of its whole batch, so its
# best batch is small and differs between networks; of 32, 64 and 256 this is the fastest of the
# other mode on both small networks.
SAMPLE_WISE_BATCH = 64

CAPTUM_MODES = ("captum TracInCP", "captum TracInCP, sample_wise_grads_per_batch")
DATTRI = "dattri TracInAttributor, unprojected"


def find_peers(
    model: nn.Module, checkpoints: list[Checkpoint], batch_size: int, captum_batch: int
) -> tuple[dict[str, Run], dict[str, Run], list[str]]:
    """Return the peers' self-influence over all layers and over the last, and who is missing."""
    every: dict[str, Run] = {}
    last: dict[str, Run] = {}
    missing = [name for name in ("captum", "dattri") if importlib.util.find_spec(name) is None]
    if "captum" not in missing:
        every[CAPTUM_MODES[0]] = make_captum(model, checkpoints, captum_batch, wise=False)
        every[CAPTUM_MODES[1]] = make_captum(model, checkpoints, batch_size, wise=True)
        last["captum TracInCPFast"] = make_captum_fast(model, checkpoints, batch_size)
    if "dattri" not in missing:
        every[DATTRI] = make_dattri(model, checkpoints, batch_size)
    return every, last, missing


def load(model: nn.Module, checkpoint: Checkpoint) -> float:
    """Put a checkpoint in place, as captum's loaders do; return its learning rate."""
    model.load_state_dict(checkpoint.weights)
    return LEARNING_RATE


def open_captum(
    model: nn.Module,
    checkpoints: list[Checkpoint],
    examples: TensorDataset,
    batch_size: int,
    *,
    wise: bool,
) -> Any:
    """Return captum's TracInCP in one of its two modes."""
    from captum.influence import TracInCP

    return TracInCP(
        model,
        examples,
        checkpoints,
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum" if wise else "none"),
        batch_size=batch_size,
        sample_wise_grads_per_batch=wise,
    )


def make_captum(
    model: nn.Module, checkpoints: list[Checkpoint], batch_size: int, *, wise: bool
) -> Run:
    """Return self-influence by captum's TracInCP in one of its two modes."""

    def run(examples: TensorDataset) -> Tensor:
        tracin = open_captum(model, checkpoints, examples, batch_size, wise=wise)
        scores: Tensor = tracin.self_influence()
        return scores

    return run


def make_captum_fast(model: nn.Module, checkpoints: list[Checkpoint], batch_size: int) -> Run:
    """Return captum's TracInCPFast, which takes the last layer's weight without its bias."""
    from captum.influence import TracInCPFast

    def run(examples: TensorDataset) -> Tensor:
        tracin = TracInCPFast(
            model,
            list(model.children())[-1],
            examples,
            checkpoints,
            checkpoints_load_func=load,
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            batch_size=batch_size,
        )
        scores: Tensor = tracin.self_influence()
        return scores

    return run


def make_dattri(model: nn.Module, checkpoints: list[Checkpoint], batch_size: int) -> Run:
    """Return dattri's TracIn with exact gradients."""
    from dattri.algorithm.tracin import TracInAttributor

    task = make_task(model, checkpoints)
    device = next(model.parameters()).device
    rates = torch.full((len(checkpoints),), LEARNING_RATE, device=device)

    def run(examples: TensorDataset) -> Tensor:
        attributor = TracInAttributor(task, rates, normalized_grad=False, device=str(device))
        # Its constructor takes None for "project to 512".
        attributor.projector_kwargs = None
        scores: Tensor = attributor.self_attribute(DataLoader(examples, batch_size=batch_size))
        return scores

    return run


def make_task(model: nn.Module, checkpoints: list[Checkpoint]) -> Any:
    """Return what dattri attributes: the loss of one example, and the checkpoints."""
    from dattri.task import AttributionTask

    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        inputs, label = data
        outputs = torch.func.functional_call(model, parameters, (inputs.unsqueeze(0),))
        return F.cross_entropy(outputs, label.unsqueeze(0))

    return AttributionTask(loss, model, [checkpoint.weights for checkpoint in checkpoints])
