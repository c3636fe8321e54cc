"""Parameters may have learning rates of their own, given or read from a saved optimizer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.checkpoints import read_rate
from tracin_core.checkpoints.learning_rates import FEW_TENSORS, sum_tensors
from tracin_core.errors import CheckpointError

RATES = {"body": 0.01, "body.0.bias": 0.03, "head": 0.5}
BY_NAME = {
    "body.0.weight": 0.01,
    "body.0.bias": 0.03,
    "body.2.weight": 0.01,
    "body.2.bias": 0.01,
    "head.weight": 0.5,
    "head.bias": 0.5,
}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh())
        self.head = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def shift(model: nn.Module, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value + 0.2 * torch.randn(value.shape, generator=generator).double()
        for name, value in model.state_dict().items()
    }


def draw(count: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 6, generator=generator).double()
    return TensorDataset(inputs, torch.randint(3, (count,), generator=generator))


MODEL = Network().double()
CHECKPOINTS = [Checkpoint(shift(MODEL, 1), RATES), Checkpoint(shift(MODEL, 2), 0.2)]
TRAIN, TEST = draw(7, 3), draw(4, 4)


def tracin(checkpoints: Sequence[Checkpoint] = CHECKPOINTS, **options: Any) -> TracIn:
    return TracIn(MODEL, checkpoints, device="cpu", **{"batch_size": 3, **options})


def expected_influence(train: TensorDataset, test: TensorDataset, prefix: str = "") -> Tensor:
    """One parameter at a time, each times its own rate."""
    total = torch.zeros(len(train), len(test)).double()
    for checkpoint, rates in zip(CHECKPOINTS, [BY_NAME, dict.fromkeys(BY_NAME, 0.2)], strict=True):
        replica = copy.deepcopy(MODEL)
        replica.load_state_dict(checkpoint.weights)
        for name, rate in rates.items():
            if name.startswith(prefix):
                left = oracles.per_example_gradients(replica, train, cross_entropy, [name])
                right = oracles.per_example_gradients(replica, test, cross_entropy, [name])
                total += rate * left @ right.T
    return total


def test_the_longest_prefix_gives_a_parameter_its_rate() -> None:
    assert tracin().rates == [BY_NAME, 0.2]
    assert read_rate(Checkpoint({}, {"": 0.1, "head.bias": 0.1}), MODEL) == 0.1
    assert tracin(rates="ones").rates == [1.0, 1.0]


@pytest.mark.parametrize("layers", ["all", "last"])
def test_scores_agree_with_the_oracle(layers: str) -> None:
    prefix = "head" if layers == "last" else ""
    scored = tracin(layers=layers)
    expected = expected_influence(TRAIN, TEST, prefix)
    torch.testing.assert_close(scored.influence(TRAIN, TEST), expected, **oracles.EXACT)
    product = scored.vectors(TRAIN) @ scored.vectors(TEST).T
    torch.testing.assert_close(product, expected, **oracles.EXACT)
    own = expected_influence(TRAIN, TRAIN, prefix).diagonal()
    torch.testing.assert_close(scored.self_influence(TRAIN), own, **oracles.EXACT)


def test_projected_vectors_are_those_of_the_layers_each_with_its_rate() -> None:
    projection = Projection(dim=24, seed=1)
    parts = torch.zeros(len(TRAIN), 24).double()
    for layer in ("body.0", "body.2", "head"):
        for name in ("weight", "bias"):
            model = copy.deepcopy(MODEL).requires_grad_(False)
            model.get_submodule(layer).get_parameter(name).requires_grad_(True)
            rated = [
                Checkpoint(CHECKPOINTS[0].weights, BY_NAME[f"{layer}.{name}"]),
                Checkpoint(CHECKPOINTS[1].weights, 0.2),
            ]
            parts += TracIn(model, rated, device="cpu").vectors(TRAIN, projection)
    torch.testing.assert_close(tracin().vectors(TRAIN, projection), parts, **oracles.EXACT)
    captured = tracin().capture(TRAIN, projection=projection)
    torch.testing.assert_close(captured.vectors, parts, **oracles.EXACT)


def test_a_capture_keeps_plain_norms_and_rated_ones() -> None:
    capture = tracin().capture(TRAIN, last_layer_vectors=True)
    assert capture.rates.isnan().tolist() == [True, False]
    for layers, prefix in (("all", ""), ("last", "head")):
        own = expected_influence(TRAIN, TRAIN, prefix).diagonal()
        torch.testing.assert_close(capture.self_influence(layers), own, **oracles.EXACT)
    unrated = tracin(rates="ones").capture(TRAIN)
    torch.testing.assert_close(capture.squared_norms_all, unrated.squared_norms_all)
    assert unrated.rated_norms_all is None
    assert capture.last_vectors is not None
    product = capture.last_vectors @ capture.last_vectors.T
    torch.testing.assert_close(product, expected_influence(TRAIN, TRAIN, "head"), **oracles.EXACT)


def test_frozen_parameters_need_no_rate() -> None:
    model = copy.deepcopy(MODEL)
    model.body.requires_grad_(False)
    assert read_rate(Checkpoint({}, {"head": 0.5}), model) == 0.5


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.head.weight = self.table.weight


@pytest.mark.parametrize(
    ("model", "rates", "message"),
    [
        (MODEL, {"head": 0.1}, r"no learning rate for 'body.0.weight', 'body.0.bias', 'body.2"),
        (MODEL, {"hea": 0.1, "": 1.0}, r"learning rate for 'hea', which the model has not"),
        (MODEL, {"": 0.1, "head": -1.0}, r"the learning rate -1.0 for 'head'; expected a finite"),
        (Tied(), {"table": 0.1, "head": 0.2}, r"several learning rates for table.weight"),
    ],
)
def test_rates_that_leave_a_doubt_are_refused(
    model: nn.Module, rates: dict[str, float], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_rate(Checkpoint({}, rates), model)


def test_a_tied_weight_may_be_rated_by_any_of_its_names() -> None:
    assert read_rate(Checkpoint({}, {"head": 0.2, "": 0.1}), Tied()) == 0.2


def save_optimizer(groups: list[dict[str, Any]], kind: Any = torch.optim.AdamW) -> dict[str, Any]:
    """The state of a real optimizer after a step on copies of the parameters."""
    optimizer = kind(groups)
    for group in optimizer.param_groups:
        for value in group["params"]:
            value.grad = torch.ones_like(value)
    optimizer.step()
    return optimizer.state_dict()


def split(model: nn.Module, *, named: bool = False) -> list[dict[str, Any]]:
    parts = [(model.body, "body.", 0.01), (model.head, "head.", 0.5)]
    return [
        {
            "params": [(prefix + n, p) for n, p in part.named_parameters()]
            if named
            else list(part.parameters()),
            "lr": rate,
        }
        for part, prefix, rate in parts
    ]


BODY_AND_HEAD = {name: 0.5 if name.startswith("head") else 0.01 for name in BY_NAME}


def with_momentum(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, momentum=0.9)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.RMSprop, with_momentum])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_rates_of_groups_are_read_where_the_shapes_leave_no_doubt(
    kind: Any, is_reversed: bool, tmp_path: Path
) -> None:
    model = Network().double()
    groups = split(model)[::-1] if is_reversed else split(model)
    saved = save_optimizer(groups, kind)
    contents: list[dict[str, Any]] = [
        {"model": model.state_dict(), "optimizer": saved},
        {
            "state_dict": {f"net.{k}": v for k, v in model.state_dict().items()},
            "optimizer_states": [saved],
            "global_step": 1,
        },
    ]
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        assert read_rate(Checkpoint(path), model) == BODY_AND_HEAD
    rates = {"body": 0.01, "head": 0.5}
    read = tracin([Checkpoint(path)]).self_influence(TRAIN)
    given = tracin([Checkpoint(path, rates)]).self_influence(TRAIN)
    torch.testing.assert_close(read, given, rtol=0, atol=0)


@pytest.mark.parametrize("prefix", ["", "net."])
def test_names_in_the_optimizer_decide(prefix: str) -> None:
    model = Network()
    groups = split(model, named=True)[::-1]
    for group in groups:
        group["params"] = [(prefix + name, value) for name, value in group["params"]]
    saved = save_optimizer(groups, torch.optim.SGD)
    content = {"model": model.state_dict(), "optimizer": saved}
    assert read_rate(Checkpoint(content), model) == BODY_AND_HEAD


def test_a_rate_for_each_shape_needs_no_order() -> None:
    model = Network()
    biases = [value for value in model.parameters() if value.dim() == 1]
    weights = [value for value in model.parameters() if value.dim() > 1]
    groups = [{"params": biases, "lr": 0.2}, {"params": weights[::-1], "lr": 0.1}]
    found = read_rate(Checkpoint({"model": {}, "optimizer": save_optimizer(groups)}), model)
    assert found == {name: 0.2 if name.endswith("bias") else 0.1 for name in BY_NAME}


def test_a_trainers_groups_are_read_beside_its_weights(tmp_path: Path) -> None:
    model = Network()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    torch.save(save_optimizer(split(model)), tmp_path / "optimizer.pt")
    (tmp_path / "trainer_state.json").write_text('{"global_step": 1, "log_history": []}')
    assert read_rate(Checkpoint(tmp_path), model) == BODY_AND_HEAD


def test_frozen_parameters_may_be_missing_in_the_optimizer() -> None:
    model = Network()
    model.body[0].requires_grad_(False)
    groups = [
        {"params": model.body[2].parameters(), "lr": 0.01},
        {"params": model.head.parameters(), "lr": 0.5},
    ]
    found = read_rate(Checkpoint({"model": {}, "optimizer": save_optimizer(groups)}), model)
    assert found == {name: rate for name, rate in BODY_AND_HEAD.items() if "body.0" not in name}


def doubtful() -> dict[str, dict[str, Any]]:
    model = Network()
    twins = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    twin_groups = [{"params": list(twins[i].parameters()), "lr": 0.1 * (i + 1)} for i in (1, 0)]
    fewer = split(model)
    fewer[0]["params"] = fewer[0]["params"][:-1]
    return {
        "plain SGD keeps no shapes": {
            "model": model,
            "saved": save_optimizer(split(model), torch.optim.SGD),
        },
        "layers of one shape": {"model": twins, "saved": save_optimizer(twin_groups)},
        "a parameter too few": {"model": model, "saved": save_optimizer(fewer)},
    }


@pytest.mark.parametrize("name", doubtful())
def test_groups_that_leave_a_doubt_are_asked_about(name: str) -> None:
    case = doubtful()[name]
    content = {"model": case["model"].state_dict(), "optimizer": case["saved"]}
    with pytest.raises(CheckpointError, match=r"different parameter groups.*learning_rate=\{\""):
        read_rate(Checkpoint(content), case["model"])
    rated = Checkpoint(content, {name: 0.1 for name, _ in case["model"].named_parameters()})
    assert read_rate(rated, case["model"]) == 0.1


@pytest.mark.parametrize("count", [1, 2, FEW_TENSORS, FEW_TENSORS + 1, FEW_TENSORS + 2, 30])
def test_few_and_many_tensors_are_all_added(count: int) -> None:
    numbers = 2.0 ** torch.arange(count).double()
    tensors = [torch.tensor([number, -number]) for number in numbers]
    total = numbers.sum()
    assert torch.equal(sum_tensors(iter(tensors)), torch.stack([total, -total]))
