"""Small networks, data and checkpoints that the re-stated cases are about."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn

FEATURES, HIDDEN, OUTPUTS = 5, 4, 3


class Joined(nn.Module):
    """Two tanh layers, behind a layer that joins several inputs where there are several."""

    def __init__(self, inputs: int = 1) -> None:
        super().__init__()
        self.pre = nn.Linear(FEATURES * inputs, FEATURES) if inputs > 1 else None
        self.linear1 = nn.Linear(FEATURES, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, *inputs: Tensor) -> Tensor:
        """``(B, 5)`` each to ``(B, 3)``."""
        x = inputs[0] if self.pre is None else self.pre(torch.cat(inputs, 1))
        return torch.tanh(self.linear2(torch.tanh(self.linear1(x))))


def joined_data(count: int, inputs: int) -> list[tuple[Any, Tensor]]:
    """Return random examples with random numbers as targets."""
    parts = [torch.randn(count, FEATURES, dtype=torch.float64) for _ in range(inputs)]
    targets = torch.randn(count, OUTPUTS, dtype=torch.float64)
    rows = list(zip(*parts, strict=True)) if inputs > 1 else list(parts[0])
    return list(zip(rows, targets, strict=True))


def make_checkpoints(
    model: nn.Module, rates: Sequence[float], spread: float = 0.3
) -> list[Checkpoint]:
    """Return checkpoints at random places around the model's weights."""
    made = []
    for rate in rates:
        other = copy.deepcopy(model)
        with torch.no_grad():
            for value in other.parameters():
                value.add_(spread * torch.randn_like(value))
        made.append(Checkpoint(other.state_dict(), learning_rate=rate))
    return made


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error averaged over the outputs of each example."""
    return (outputs - targets).square().flatten(1).mean(1)


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Cross-entropy of each example."""
    logits = outputs if isinstance(outputs, Tensor) else outputs.logits
    return F.cross_entropy(logits, targets, reduction="none")


def own_gradients(
    model: nn.Module,
    weights: Any,
    examples: Sequence[Any],
    loss: Callable[[Any, Any], Tensor],
    names: Sequence[str] | None = None,
) -> Tensor:
    """Return each example's gradient by its own backward pass, ``(N, P)``."""
    replica = copy.deepcopy(model)
    replica.load_state_dict(weights)
    rows = [examples[i] for i in range(len(examples))]
    return oracles.per_example_gradients(replica, rows, loss, names)


def make_tracin(model: nn.Module, checkpoints: Sequence[Checkpoint], **options: Any) -> TracIn:
    """Return the engine on the CPU."""
    return TracIn(model, checkpoints, device="cpu", **options)


class Repeated(nn.Module):
    """One layer in three places between others."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(10, 16)
        self.shared = nn.Linear(16, 16)
        self.other = nn.Linear(16, 16)
        self.leave = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 10)`` to ``(B, 1)``."""
        x = torch.relu(self.enter(x))
        x = torch.relu(self.shared(torch.relu(self.shared(x))))
        return self.leave(torch.relu(self.shared(torch.relu(self.other(x)))))


class Recomputed(nn.Module):
    """A network whose middle is computed again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(10, 16)
        self.middle = nn.Sequential(nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.leave = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 10)`` to ``(B, 1)``."""
        return self.leave(checkpoint(self.middle, self.enter(x), use_reentrant=False))


def perceptron() -> nn.Module:
    """Three linear layers to one number."""
    return nn.Sequential(
        nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)
    )


def convolutions(*, norm: bool = False, inplace: bool = False) -> nn.Module:
    """Two convolutions, with BatchNorm or with activations in place, to five classes."""
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3), nn.ReLU(inplace)]
    layers += [nn.BatchNorm2d(4)] if norm else []
    layers += [nn.Conv2d(4, 8, 3), nn.ReLU(inplace)]
    layers += [nn.BatchNorm2d(8)] if norm else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 4 * 4, 5))


def tiny_transformer(kind: str) -> nn.Module:
    """A classifier of transformers of one layer, by the name of its family."""
    import transformers

    size = {
        "vocab_size": 40,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 20,
        "pad_token_id": 0,
        "num_labels": 3,
    }
    config = getattr(transformers, f"{kind}Config")(**size)
    model: nn.Module = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    return model


# By name: how to make one, and whether its targets are numbers.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "perceptron": (perceptron, True),
    "repeated layer": (Repeated, True),
    "recomputed": (Recomputed, True),
    "convolutions": (convolutions, False),
    "convolutions, BatchNorm": (lambda: convolutions(norm=True), False),
    "convolutions, in place": (lambda: convolutions(inplace=True), False),
    "BERT": (lambda: tiny_transformer("Bert"), False),
    "RoBERTa": (lambda: tiny_transformer("Roberta"), False),
    "GPT-2": (lambda: tiny_transformer("GPT2"), False),
}


def make_network(name: str, count: int) -> tuple[nn.Module, list[tuple[Any, Tensor]], str, Any]:
    """Return a network in float64, examples, our loss and the oracle's."""
    build, is_regression = NETWORKS[name]
    model = build().double()
    with torch.no_grad():
        for name_, value in model.named_buffers():
            if name_.endswith("running_mean"):
                value.copy_(0.3 * torch.randn_like(value))
            if name_.endswith("running_var"):
                value.copy_(0.5 + torch.rand_like(value))
    if is_regression:
        x = torch.randn(count, 10, dtype=torch.float64)
        y = torch.randn(count, 1, dtype=torch.float64)
        return model, list(zip(x, y, strict=True)), "mse", mse
    if "convolutions" in name:
        x = torch.randn(count, 3, 8, 8, dtype=torch.float64)
        labels = torch.randint(5, (count,))
        return model, list(zip(x, labels, strict=True)), "cross_entropy", cross_entropy
    lengths = torch.randint(2, 9, (count, 1))
    mask = (torch.arange(8) < lengths).long()
    ids = torch.randint(3, 40, (count, 8)) * mask
    rows = [{"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)]
    labels = torch.randint(3, (count,))
    return model, list(zip(rows, labels, strict=True)), "cross_entropy", cross_entropy


def regression_on_a_line(features: int) -> tuple[nn.Module, list[Checkpoint], TensorDataset]:
    """Return ``y = w x`` without a bias, five checkpoints, and the numbers 1 to 16 twice.

    Each example has one number in all its features, and the same number as its target.
    """
    model = nn.Linear(features, 1, bias=False).double()
    made = []
    for weight in (0.44, 0.17, 0.51, 0.37, 0.93):
        nn.init.constant_(model.weight, weight / features)
        made.append(Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1.0))
    numbers = torch.arange(1, 17, dtype=torch.float64).unsqueeze(1)
    return model, made, TensorDataset(numbers.repeat(1, features), numbers)
