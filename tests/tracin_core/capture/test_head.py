"""The last layer of a classifier from a forward pass: the same numbers, or the general way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.capture.batching import read_batches
from tracin_core.errors import GradientError
from tracin_core.losses import cross_entropy, differentiate_cross_entropy


class Scaled(nn.Module):
    """A classifier whose logits are not what its last layer returned."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs) / 2


def make_examples(count: int = 7) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(3, (count,), generator=generator))


def make_tracin(model: nn.Module, batch_size: int = 2) -> TracIn:
    model.double()
    checkpoint = Checkpoint(model.state_dict(), learning_rate=0.5)
    return TracIn(model, [checkpoint], layers="last", device="cpu", batch_size=batch_size)


@pytest.mark.parametrize(
    ("model", "is_head"),
    [
        (nn.Linear(4, 3), True),
        (nn.Linear(4, 3, bias=False), True),
        (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), True),
        (Scaled(), False),
        (nn.Sequential(nn.Linear(4, 3), nn.Softplus()), False),
    ],
    ids=["linear", "without bias", "two layers", "scaled afterwards", "activated afterwards"],
)
def test_last_layer_matches_one_example_at_a_time(model: nn.Module, is_head: bool) -> None:
    examples, tracin = make_examples(), make_tracin(model)
    names = [name for name, _ in model.named_parameters()][-2 if model_has_bias(model) else -1 :]
    rows = [
        oracles.gradients_of_one(model, (x, y.item()), cross_entropy, names) for x, y in examples
    ]
    expected = torch.stack(rows)
    torch.testing.assert_close(
        tracin.self_influence(examples), 0.5 * expected.square().sum(1), **oracles.EXACT
    )
    torch.testing.assert_close(
        tracin.influence(examples, examples), 0.5 * expected @ expected.T, **oracles.EXACT
    )
    assert (next(iter(tracin._plans.values())).head is not None) is is_head


def model_has_bias(model: nn.Module) -> bool:
    return any(name.endswith("bias") for name, _ in model.named_parameters())


def test_batches_are_joined_and_cut_without_a_trace() -> None:
    model, examples = nn.Linear(4, 3), make_examples(9)
    scores = [make_tracin(model, size).self_influence(examples) for size in (1, 2, 4, 9, 20)]
    for other in scores[1:]:
        torch.testing.assert_close(other, scores[0], **oracles.EXACT)


def test_capture_of_the_last_layer_is_that_of_all_layers() -> None:
    model, examples = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), make_examples()
    options = {"projection": Projection(16), "last_layer_vectors": True}
    last = make_tracin(model).capture(examples, **options)
    checkpoint = [Checkpoint(model.state_dict(), learning_rate=0.5)]
    every = TracIn(model, checkpoint, device="cpu").capture(examples, **options)
    for name in ("squared_norms_last", "losses", "margins", "predicted", "last_vectors"):
        torch.testing.assert_close(getattr(last, name), getattr(every, name), **oracles.EXACT)
    tensors = [value for value in vars(every).values() if value is not None]
    assert not any(value.requires_grad for value in tensors)


@pytest.mark.parametrize("others", [0, 20], ids=["few classes", "many classes"])
def test_gradients_of_confident_predictions_keep_their_precision(others: int) -> None:
    logits = torch.tensor([[30.0, 0.0, -2.0], [0.0, 90.0, 0.0], [5.0, 5.0, -80.0]])
    logits = torch.cat([logits, torch.full((3, others), 3.5)], 1)
    labels = torch.tensor([0, 0, 1])
    exact = logits.double().requires_grad_()
    (expected,) = torch.autograd.grad(cross_entropy(exact, labels).sum(), exact)
    found = differentiate_cross_entropy(logits, labels)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_no_example_has_no_last_layer_score() -> None:
    assert make_tracin(nn.Linear(4, 3)).self_influence(make_examples(0)).shape == (0,)
    assert not list(read_batches(make_examples(0), 4))


def test_larger_parts_give_the_same_scores():
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    examples = make_examples(23)
    scores = [make_tracin(chain, size).self_influence(examples) for size in (2, 23)]
    torch.testing.assert_close(scores[0], scores[1])


class Shared(nn.Module):
    """Examples share a capacity, or the largest of all numbers, before the head."""

    def __init__(self, *, by_largest: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.by_largest = nn.Linear(4, 3), by_largest

    def forward(self, inputs: Tensor) -> Tensor:
        if self.by_largest:
            return self.head(inputs / inputs.abs().amax().clamp_min(2.0))
        return self.head(inputs * (torch.arange(len(inputs)) < 5)[:, None])


@pytest.mark.parametrize("by_largest", [False, True], ids=["capacity", "largest of the batch"])
def test_outputs_that_other_examples_change_are_refused(*, by_largest: bool) -> None:
    inputs, targets = make_examples(8).tensors
    inputs = inputs.clamp(-1, 1)
    inputs[4] = 5.0
    tracin = make_tracin(Shared(by_largest=by_largest), 8)
    with pytest.raises(GradientError, match="of a batch of 8 is another one than in half"):
        tracin.self_influence(TensorDataset(inputs, targets))
