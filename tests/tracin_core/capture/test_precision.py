"""Half precision is asked for, bounded in its error, and never comes by itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.capture.batching import Batch, read_batches
from tracin_core.capture.transfer import send_batches
from tracin_core.errors import ConfigurationError, GradientError

# bfloat16 keeps 8 bits: a number is off by up to 0.4%, and a score, relative to the product of
# the gradients' norms, by a few times that where errors of several layers meet.
TYPICAL, LARGEST = 0.01, 0.03


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(50, 16), nn.LSTM(16, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.layer(self.words(words))[0].mean(1))


def build(name: str) -> tuple[nn.Module, TensorDataset]:
    torch.manual_seed(0)
    labels = torch.randint(3, (24,))
    if name == "recurrent":
        return Recurrent().double(), TensorDataset(torch.randint(50, (24, 7)), labels)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 16),
        nn.LayerNorm(16),
        nn.Tanh(),
        nn.Linear(16, 3),
    )
    return model.double(), TensorDataset(torch.randn(24, 1, 6, 6).double(), labels)


def narrow(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def in_single(model: nn.Module, **options: Any) -> TracIn:
    single = copy.deepcopy(model).float()
    checkpoint = Checkpoint(copy.deepcopy(single.state_dict()), learning_rate=0.5)
    return TracIn(single, [checkpoint], device="cpu", **options)


@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize("name", ["convolutional", "recurrent"])
def test_scores_in_half_precision_stay_near_the_oracle(name: str, layers: str) -> None:
    model, examples = build(name)
    last = ["7.weight", "7.bias"] if name == "convolutional" else ["head.weight", "head.bias"]
    checkpoint = Checkpoint(model.state_dict(), learning_rate=0.5)
    expected = oracles.influence(
        model, [checkpoint], examples, examples, cross_entropy, last if layers == "last" else None
    )
    norms = expected.diagonal().sqrt()
    tracin = in_single(model, layers=layers, precision="bfloat16", batch_size=10)
    half = TensorDataset(*map(narrow, examples.tensors))
    scores = tracin.influence(half, half)
    vectors = tracin.vectors(half)
    captured = tracin.capture(half, projection=Projection(64))
    assert {scores.dtype, vectors.dtype, captured.losses.dtype} == {torch.float32}
    for found in (scores, vectors @ vectors.T):
        errors = (found.double() - expected) / torch.outer(norms, norms)
        assert 1e-5 < errors.square().mean().sqrt() < TYPICAL  # half precision it is
        assert errors.abs().max() < LARGEST
    for own in (tracin.self_influence(half), captured.self_influence(layers)):
        torch.testing.assert_close(own.double(), expected.diagonal(), rtol=LARGEST, atol=0)


def test_an_autocast_around_the_call_changes_nothing() -> None:
    model, examples = build("convolutional")
    single = TensorDataset(*map(narrow, examples.tensors))
    expected = in_single(model).self_influence(single)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(in_single(model).self_influence(single), expected)


class Watching(nn.Module):
    """Notes what precision its convolutions and matrix products would have on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(4, 3), set[str]()

    def forward(self, inputs: Tensor) -> Tensor:
        backends = torch.backends
        self.seen |= {backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision}
        return self.layer(inputs)


def test_no_pass_uses_tf32_and_the_callers_choice_comes_back() -> None:
    model = Watching()
    before = torch.backends.cudnn.conv.fp32_precision
    assert before == "tf32"  # PyTorch's own default, which is why this matters
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    tracin.influence(TensorDataset(torch.randn(5, 4), torch.arange(5) % 3), [(torch.ones(4), 0)])
    assert model.seen == {"ieee"}
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_an_unknown_precision_is_refused() -> None:
    model, _ = build("recurrent")
    with pytest.raises(ConfigurationError, match="precision='float16'; expected"):
        in_single(model, precision="float16")


class LeavesAutocast(nn.Module):
    """Computes features in half precision; the head is outside of the block."""

    def __init__(self, *, converts: bool) -> None:
        super().__init__()
        self.converts = converts
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            features = self.body(inputs).relu()
        return self.head(features.float() if self.converts else features)


def test_a_model_that_leaves_autocast_before_its_head_is_told_how_to_go_on() -> None:
    examples = TensorDataset(torch.randn(4, 4), torch.arange(4) % 3)
    with pytest.raises(GradientError, match=r"autocast block inside.*self\.head\(features\.float"):
        in_single(LeavesAutocast(converts=False)).self_influence(examples)
    assert in_single(LeavesAutocast(converts=True)).self_influence(examples).shape == (4,)


def test_batches_come_in_order_checked_and_unchanged_on_the_processor() -> None:
    _, examples = build("convolutional")
    checked: list[int] = []

    def check(batch: Batch) -> None:
        checked.append(batch.start)

    sent = send_batches(read_batches(examples, 7), torch.device("cpu"), check)
    first = next(sent)
    assert checked == [0]  # no batch is read before it is asked for
    assert first.inputs.data_ptr() == examples.tensors[0].data_ptr()
    starts = [first, *sent]
    assert [batch.start for batch in starts] == checked == [0, 7, 14, 21]
    assert torch.equal(torch.cat([batch.inputs for batch in starts]), examples.tensors[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_sent_ahead_arrive_whole_on_a_gpu() -> None:
    _, examples = build("convolutional")
    device = torch.device("cuda", 0)
    sent = list(send_batches(read_batches(examples, 7), device, lambda batch: None))
    assert all(batch.inputs.device == device for batch in sent)
    found = torch.cat([batch.inputs for batch in sent]).cpu()
    assert torch.equal(found, examples.tensors[0])
