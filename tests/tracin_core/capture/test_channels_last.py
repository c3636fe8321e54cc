"""Convolutions with their channels last: the same scores, and no model that it would break."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import EXACT, per_example_gradients
from tracin_core import Checkpoint, Projection, TracIn

CONVOLUTIONS = {
    "few positions": lambda: nn.Conv2d(6, 8, 3, stride=3),
    "many positions": lambda: nn.Conv2d(6, 4, 3, padding=1),
    "dilated, reflected": lambda: nn.Conv2d(6, 5, 2, dilation=2, padding=1, padding_mode="reflect"),
    "one pixel": lambda: nn.Conv2d(6, 4, 1, bias=False),
}


class Viewing(nn.Module):
    """A network with a view that torch refuses where channels lie last."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(64, 3)
        self.always = always

    def forward(self, pictures: Tensor) -> Tensor:
        maps = torch.tanh(self.second(torch.tanh(self.first(pictures))))
        if self.always or bool((pictures > 10).any()):
            return self.head(maps.view(len(maps), -1))
        return self.head(maps.flatten(1))


def make_examples(channels: int, count: int = 9) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, channels, 8, 8, dtype=torch.float64), torch.arange(count) % 3


def check_scores(model: nn.Module, examples: tuple[Tensor, Tensor], tracin: TracIn) -> None:
    """Compare scores, alone and beside projections, with one backward pass for each example."""
    rows = list(zip(*examples, strict=True))
    gradients = per_example_gradients(model, rows, nn.functional.cross_entropy)
    truth = gradients.square().sum(1)
    torch.testing.assert_close(tracin.self_influence(examples), truth, **EXACT)
    captured = tracin.capture(examples, projection=Projection(dim=16))
    torch.testing.assert_close(captured.self_influence(), truth, **EXACT)


def watch_layout(layer: nn.Conv2d) -> list[bool]:
    """Return a list that every call of the layer adds to: whether its weight lies channels last."""
    seen: list[bool] = []
    layer.register_forward_hook(
        lambda module, *_: seen.append(
            module.weight.is_contiguous(memory_format=torch.channels_last)
        )
    )
    return seen


def open_tracin(model: nn.Module) -> TracIn:
    checkpoint = Checkpoint(model.state_dict(), learning_rate=1.0)
    return TracIn(model, [checkpoint], batch_size=4)


@pytest.mark.parametrize("make", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_scores_match_one_example_at_a_time(make):
    torch.manual_seed(1)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), make(), nn.Tanh(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.LazyLinear(3))
    model(torch.zeros(1, 2, 8, 8))
    model.double().eval()
    seen = watch_layout(model[0])
    check_scores(model, make_examples(2), open_tracin(model))
    assert not seen[0]  # the oracle's own calls came first
    assert seen[-1]
    assert model[0].weight.is_contiguous()


def test_vectors_do_not_depend_on_the_layout(monkeypatch):
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Conv2d(6, 8, 3), nn.Flatten())
    model = nn.Sequential(*model, nn.Linear(128, 3)).double().eval()
    examples = make_examples(2)
    found = open_tracin(model).vectors(examples, Projection(dim=16))
    monkeypatch.setattr("tracin_core.capture.channels_last.find_kernels", lambda _: frozenset())
    plain = open_tracin(model).vectors(examples, Projection(dim=16))
    torch.testing.assert_close(found, plain, **EXACT)


@pytest.mark.parametrize("always", [True, False], ids=["on every batch", "on some batch"])
def test_a_refused_view_leaves_the_layout_as_it_was(always):
    torch.manual_seed(1)
    model = Viewing(always=always).double().eval()
    pictures, labels = make_examples(2)
    pictures[6, 0, 0, 0] = 11.0  # not in the first batch, on which plans are tried
    seen = watch_layout(model.first)
    check_scores(model, (pictures, labels), open_tracin(model))
    assert any(seen)
    assert not seen[-1]
