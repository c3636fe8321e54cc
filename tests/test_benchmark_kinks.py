"""Examples whose activation changes sign in float32 are found, and no others."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmarks.kinks import find_kinked
from tracin_core import Checkpoint

# Its square is 1 + 2^-11 + 2^-24, and the last term is less than float32 can tell.
NEAR_ONE = 1 + 2**-12
KINK, LARGER, SMALLER = NEAR_ONE, 2.0, 0.5
INPUTS = torch.tensor([[LARGER], [KINK], [SMALLER], [KINK]])
EXPECTED = torch.tensor([False, True, False, True])


def make_network(first: nn.Module, *, inplace: bool = False) -> nn.Sequential:
    """A network whose ReLU is given ``first(x) NEAR_ONE - (1 + 2^-11)``, rounded before the sum."""
    scale, shift = nn.Linear(1, 1, bias=False), nn.Linear(1, 1)
    with torch.no_grad():
        scale.weight.fill_(NEAR_ONE)
        shift.weight.fill_(1.0)
        shift.bias.fill_(-(1 + 2**-11))
    return nn.Sequential(first, scale, shift, nn.ReLU(inplace), nn.Linear(1, 2)).eval()


def save(model: nn.Module) -> Checkpoint:
    return Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=0.1)


def shifted(model: nn.Sequential) -> Checkpoint:
    """The same network with all activations far from zero."""
    other = copy.deepcopy(model)
    nn.init.constant_(other[2].bias, 10.0)
    return save(other)


def test_the_network_has_a_kink_where_it_is_said_to_be() -> None:
    before = make_network(nn.Identity())[:3]
    single = before(INPUTS)
    double = copy.deepcopy(before).double()(INPUTS.double())
    assert torch.equal((single > 0).squeeze(1), torch.tensor([True, False, False, False]))
    assert torch.equal((double > 0).squeeze(1), torch.tensor([True, True, False, True]))


def test_an_activation_of_another_sign_is_found() -> None:
    for inplace in (False, True):
        model = make_network(nn.Identity(), inplace=inplace)
        assert torch.equal(find_kinked(model, [save(model)], INPUTS), EXPECTED)


def test_one_checkpoint_of_several_is_enough() -> None:
    model = make_network(nn.Identity())
    kinked, smooth = save(model), shifted(model)
    none = torch.zeros(4, dtype=torch.bool)
    assert torch.equal(find_kinked(model, [smooth], INPUTS), none)
    for checkpoints in ([kinked, smooth], [smooth, kinked]):
        assert torch.equal(find_kinked(model, checkpoints, INPUTS), EXPECTED)


def test_numbers_of_rows_stay_whole_numbers() -> None:
    table = nn.Embedding(3, 1)
    with torch.no_grad():
        table.weight.copy_(torch.tensor([[LARGER], [KINK], [SMALLER]]))
    model = make_network(table)
    rows = torch.tensor([0, 1, 2, 1])
    assert torch.equal(find_kinked(model, [save(model)], rows), EXPECTED)


def test_any_of_many_activations_counts() -> None:
    """One position in one channel is enough; activations of several sizes are compared."""

    class Spread(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.reshape(-1, 2, 3, 1)

    model = make_network(Spread())
    values = torch.full((3, 6), LARGER)
    values[1, 4] = KINK
    found = find_kinked(model, [save(model)], values)
    assert torch.equal(found, torch.tensor([False, True, False]))


def test_the_model_is_left_as_it_was() -> None:
    model = make_network(nn.Identity())
    before = copy.deepcopy(model.state_dict())
    find_kinked(model, [shifted(model)], INPUTS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_network_without_kinks_has_none() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 2)).eval()
    assert not find_kinked(model, [save(model)], INPUTS).any()
