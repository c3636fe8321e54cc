"""Plain PyTorch does the same work: every checkpoint, every batch, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.floors import FORWARD, TRAINING, float32, make_floors, run_forward, run_training
from benchmarks.self_influence import list_rows
from tracin_core import Checkpoint


class Noting(nn.Module):
    """Notes the weights and inputs of every pass, and whether it could be gone back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.passes: list[tuple[float, int, bool]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs)
        first = float(self.layer.bias.detach()[0])
        self.passes.append((first, len(inputs), outputs.requires_grad))
        return outputs


def make_checkpoints(model: nn.Module) -> list[Checkpoint]:
    """Two that are told apart by the first bias, 1 and 2."""
    found = []
    for number in (1.0, 2.0):
        weights = copy.deepcopy(model.state_dict())
        weights["layer.bias"][0] = number
        found.append(Checkpoint(weights, learning_rate=0.1))
    return found


def make_batches() -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 3, generator=generator), torch.arange(size) % 2) for size in (4, 4, 3)
    ]


def test_every_batch_goes_forward_at_every_checkpoint() -> None:
    model = Noting()
    run_forward(model, make_checkpoints(model), [inputs for inputs, _ in make_batches()])
    assert model.passes == [(float(c), size, False) for c in (1, 2) for size in (4, 4, 3)]


def test_every_batch_goes_backward_at_every_checkpoint() -> None:
    model = Noting()
    checkpoints, batches = make_checkpoints(model), make_batches()
    run_training(model, checkpoints, batches)
    assert model.passes == [(float(c), size, True) for c in (1, 2) for size in (4, 4, 3)]
    # What is left are the gradients of the last batch at the last checkpoint, and of no other.
    found = [value.grad for value in model.parameters()]
    model.load_state_dict(checkpoints[-1].weights)
    inputs, labels = batches[-1]
    loss = F.cross_entropy(model(inputs), labels)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(found, list(expected))


def test_a_training_step_takes_no_step() -> None:
    model = Noting()
    checkpoints = make_checkpoints(model)
    run_training(model, checkpoints, make_batches())
    for name, value in model.state_dict().items():
        assert torch.equal(value, checkpoints[-1].weights[name])


def test_on_a_cpu_there_are_two_floors_and_each_does_its_work() -> None:
    model = Noting()
    large = [(torch.randn(11, 3), torch.arange(11) % 2)]
    floors = make_floors(model, make_checkpoints(model), make_batches(), large)
    assert list(floors) == [FORWARD, TRAINING]
    for name, run in floors.items():
        model.passes.clear()
        run()
        assert [size for _, size, _ in model.passes] == [4, 4, 3, 4, 4, 3]
        assert {graph for *_, graph in model.passes} == {name == TRAINING}


def test_a_convolutional_network_also_trains_with_its_channels_last() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(36, 2))
    checkpoint = Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=0.1)
    seen: list[bool] = []
    model[0].register_forward_hook(
        lambda *call: seen.append(call[2].is_contiguous(memory_format=torch.channels_last))
    )
    batches = [(torch.randn(3, 2, 5, 5), torch.arange(3) % 2)]
    for run in make_floors(model, [checkpoint], batches, batches).values():
        run()
    assert seen == [False, False, True]
    assert model[0].weight.is_contiguous()


def test_thread_counts_stand_beside_each_other() -> None:
    seconds = {
        1: {FORWARD: 1.0, TRAINING: 4.0, "ours": 2.0},
        2: {FORWARD: 1.0, TRAINING: 2.0, "ours": 2.0},
    }
    head, line, *rows = list_rows(seconds, {"ours": 1e-7})
    assert head.count("|") == line.count("|") == rows[0].count("|")
    assert rows[-1] == "| ours | 2,000 ms | 2.00 | 0.50 | 2,000 ms | 2.00 | 1.00 | 1.0e-07 |"


@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_a_precision_holds_for_its_block_and_no_longer(precision: str) -> None:
    kinds = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    inside: list[str] = []

    def fail() -> None:
        with float32(precision):
            inside.extend(kind.fp32_precision for kind in kinds)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [precision] * 2
    assert [kind.fp32_precision for kind in kinds] == before
