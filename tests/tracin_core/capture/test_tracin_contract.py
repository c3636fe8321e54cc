"""What TracIn accepts, refuses, and leaves as it was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from tests import oracles
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.errors import CheckpointError, ConfigurationError, GradientError

IMAGES = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(7) % 3
EXAMPLES = TensorDataset(IMAGES, LABELS)


def build_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.ReLU(), nn.Linear(5, 3)
    )


def make_tracin(model: nn.Module | None = None, **options: Any) -> TracIn:
    model = model or build_network()
    weights = copy.deepcopy(model.state_dict())
    return TracIn(model, [Checkpoint(weights, learning_rate=1.0)], device="cpu", **options)


class Failing(nn.Module):
    """Fails on the second batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build_network()
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 5:
            raise ValueError("no more")
        return self.inner(inputs)


def describe_state(model: nn.Module) -> dict[str, Any]:
    return {
        "weights": {key: (id(value), value.clone()) for key, value in model.named_parameters()},
        "buffers": {key: (id(value), value.clone()) for key, value in model.named_buffers()},
        "modes": [module.training for module in model.modules()],
        "requires": [value.requires_grad for value in model.parameters()],
        "gradients": [value.grad for value in model.parameters()],
        "hooks": [len(module._forward_hooks) for module in model.modules()],
        "random": torch.get_rng_state(),
        "gradients on": torch.is_grad_enabled(),
        "fast attention": torch.backends.mha.get_fastpath_enabled(),
    }


def assert_same_state(before: Any, after: Any) -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            assert_same_state(before[key], after[key])
    elif isinstance(before, tuple | list):
        for left, right in zip(before, after, strict=True):
            assert_same_state(left, right)
    elif isinstance(before, Tensor):
        assert torch.equal(before, after)
    else:
        assert before == after


def test_the_model_is_left_as_it_was() -> None:
    model = build_network().train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    tracin = make_tracin(model)
    before = describe_state(model)
    tracin.self_influence(EXAMPLES)
    tracin.influence(EXAMPLES, EXAMPLES)
    tracin.vectors(EXAMPLES, Projection(dim=8))
    tracin.capture(EXAMPLES)
    assert_same_state(before, describe_state(model))


def test_the_model_is_left_as_it_was_after_an_exception() -> None:
    model = Failing().train()
    tracin = make_tracin(model, batch_size=2)
    before = describe_state(model)
    with pytest.raises(ValueError, match="no more") as caught:
        tracin.self_influence(EXAMPLES)
    assert_same_state(before, describe_state(model))
    assert caught.value is not None


def test_a_recurrent_model_is_left_as_it_was() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 3, batch_first=True)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.lstm(inputs.unsqueeze(1))[0][:, 0]

    model = Last()
    flat = list(model.lstm._flat_weights)
    make_tracin(model).self_influence(EXAMPLES)
    assert all(a is b for a, b in zip(flat, model.lstm._flat_weights, strict=True))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> Any:
        return {"logits": self.left(left) + scale * self.right(right), "extra": left}


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_inputs_may_be_tuples_and_dicts(form: str) -> None:
    model = Pair().double()
    left, right = IMAGES.double(), IMAGES.double().flip(0)
    parts = [
        (left[i], right[i]) if form == "tuple" else {"right": right[i], "left": left[i]}
        for i in range(7)
    ]
    examples = list(zip(parts, LABELS.tolist(), strict=True))

    def loss(outputs: Any, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs["logits"], targets, reduction="none")

    expected = oracles.per_example_gradients(model, examples, loss)
    for chosen in ("cross_entropy", loss):
        tracin = make_tracin(model, loss=chosen, batch_size=3)
        torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)


def test_an_ordered_loader_gives_what_its_dataset_gives() -> None:
    tracin = make_tracin()
    loader = DataLoader(EXAMPLES, batch_size=2)
    torch.testing.assert_close(tracin.self_influence(loader), tracin.self_influence(list(EXAMPLES)))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(EXAMPLES)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (DataLoader(EXAMPLES, shuffle=True), "shuffle=False"),
        (DataLoader(EXAMPLES, batch_size=2, drop_last=True), "drop_last=False"),
        (Stream(), "map-style dataset"),
        ([IMAGES[0], IMAGES[1]], r"expected \(input, target\)"),
    ],
    ids=["shuffling", "dropping", "stream", "no targets"],
)
def test_examples_without_an_order_are_refused(examples: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_tracin().self_influence(examples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "2.nothing"}, "Found no layer"),
        ({"layers": ["2"]}, "no trainable parameter"),
        ({"loss": "hinge"}, "Found loss 'hinge'"),
        ({"rates": "twos"}, "Found rates"),
        ({"batch_size": 0}, "Found batch_size"),
        ({"loss": lambda outputs, targets: outputs.sum()}, r"shape \(B,\)"),
    ],
    # Names, not values: a function's address differs between the processes of a parallel run.
    ids=["layer", "layer without parameters", "loss name", "rates", "batch size", "loss shape"],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_tracin(**options).self_influence(EXAMPLES)


def test_unknown_devices_are_refused() -> None:
    model = build_network()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        TracIn(model, [Checkpoint(model.state_dict(), 1.0)], device="abacus")


def test_no_checkpoints_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one Checkpoint"):
        TracIn(build_network(), [])


def test_a_wholly_frozen_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="requires_grad"):
        make_tracin(build_network().requires_grad_(False))


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_example_is_named_with_its_checkpoint(broken: float) -> None:
    images = IMAGES.clone()
    images[5, 1] = broken
    examples = TensorDataset(images, LABELS)
    tracin = make_tracin(batch_size=2)
    for run in (
        tracin.self_influence,
        tracin.capture,
        lambda e: tracin.vectors(e, Projection(dim=8)),
        lambda e: tracin.influence(EXAMPLES, e),
        lambda e: tracin.influence(e, EXAMPLES),
    ):
        with pytest.raises(GradientError, match="example 5 at checkpoint 0"):
            run(examples)


def test_broken_weights_are_named() -> None:
    model = build_network()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    weights["0.weight"][0, 0] = torch.nan
    good = Checkpoint(model.state_dict(), learning_rate=1.0)
    tracin = TracIn(model, [good, Checkpoint(weights, 1.0, step=40)], device="cpu")
    with pytest.raises(CheckpointError, match=r"Checkpoint 1 \(step 40\) holds NaN in 0.weight"):
        tracin.self_influence(EXAMPLES)


def test_one_checkpoint_needs_no_list() -> None:
    model = build_network()
    checkpoint = Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1.0)
    found = TracIn(model, checkpoint, device="cpu").self_influence(EXAMPLES)
    assert torch.equal(found, make_tracin(model).self_influence(EXAMPLES))


def test_labels_out_of_range_are_reported() -> None:
    with pytest.raises(GradientError, match="label"):
        make_tracin().self_influence(TensorDataset(IMAGES, LABELS + 9))


def test_no_examples_give_no_scores() -> None:
    empty = TensorDataset(IMAGES[:0], LABELS[:0])
    tracin = make_tracin()
    assert tracin.self_influence(empty).shape == (0,)
    assert tracin.influence(EXAMPLES, empty).shape == (7, 0)
    assert tracin.vectors(empty, Projection(dim=8)).shape == (0, 8)
    assert tracin.capture(empty).losses.shape == (1, 0)


def test_one_example_is_enough() -> None:
    single = TensorDataset(IMAGES[:1], LABELS[:1])
    torch.testing.assert_close(
        make_tracin().self_influence(single), make_tracin().self_influence(EXAMPLES)[:1]
    )


def test_coverage_is_promised_before_and_confirmed_after() -> None:
    tracin = make_tracin()
    assert not tracin.coverage.confirmed
    assert tracin.examine(EXAMPLES).confirmed
    assert tracin.coverage["1.weight"].reason == "BatchNorm1d"


class HeadFirst(nn.Module):
    """The head is registered first, and an auxiliary head runs last but reaches nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(5, 3), nn.Linear(4, 5)
        self.auxiliary = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.body(inputs)
        outputs = self.head(hidden)
        self.auxiliary(hidden)
        return outputs


def test_the_last_layer_is_the_last_to_make_the_outputs() -> None:
    tracin = make_tracin(HeadFirst(), layers="last")
    assert tracin.examine(EXAMPLES).covered == ("head.weight", "head.bias")


def test_nested_and_prefixed_checkpoints_are_read(tmp_path: Path) -> None:
    model = build_network()
    expected = make_tracin(model).self_influence(EXAMPLES)
    state = model.state_dict()
    contents = {
        "plain": state,
        "nested": {"state_dict": state, "learning_rate": 1.0, "epoch": 3},
        "model": {"model": {f"module.{key}": value for key, value in state.items()}},
        "lightning": {"state_dict": {f"model.{key}": value for key, value in state.items()}},
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.pt"
        torch.save(content, path)
        rate = None if name == "nested" else 1.0
        tracin = TracIn(model, [Checkpoint(path, learning_rate=rate)], device="cpu")
        torch.testing.assert_close(tracin.self_influence(EXAMPLES), expected)


class Payload:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_checkpoints_never_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Payload()}, "evil.pt")
    tracin = TracIn(build_network(), [Checkpoint("evil.pt", 1.0)], device="cpu")
    with pytest.raises(CheckpointError, match="read safely"):
        tracin.self_influence(EXAMPLES)
    assert not Path("executed").exists()


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = build_network()
    state = dict(model.state_dict())
    missing = {key: value for key, value in state.items() if key != "4.bias"}
    shaped = {**state, "4.bias": torch.zeros(9)}
    extra = {**state, "9.bias": torch.zeros(1)}
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 not a file")
    (tmp_path / "broken.pt").write_bytes(b"not a file")
    cases = {
        "4.bias is missing": missing,
        r"4.bias has shape \(9,\), the model \(3,\)": shaped,
        "9.bias is not part": extra,
        "no weights": {"note": "empty"},
        "does not exist": tmp_path / "nowhere.pt",
        "cannot be read": tmp_path / "broken.pt",
        "is not whole": tmp_path / "cut.pt",
    }
    for message, weights in cases.items():
        tracin = TracIn(model, [Checkpoint(weights, 1.0)], device="cpu")
        with pytest.raises(CheckpointError, match=message):
            tracin.self_influence(EXAMPLES)


@pytest.mark.parametrize(("rate", "message"), [(None, "no learning rate"), (-1.0, "finite")])
def test_missing_learning_rates_are_asked_for(rate: float | None, message: str) -> None:
    model = build_network()
    with pytest.raises(CheckpointError, match=message):
        TracIn(model, [Checkpoint(model.state_dict(), rate)], device="cpu")


def test_probabilities_that_are_taken_for_logits_are_said():
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))
    examples = TensorDataset(torch.randn(5, 4), torch.arange(5) % 3)
    checkpoints = [Checkpoint(model.state_dict(), learning_rate=0.1)]
    with pytest.warns(RuntimeWarning, match="returns probabilities .* Leave the softmax out"):
        TracIn(model, checkpoints, device="cpu").self_influence(examples)

    def of_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
        return -outputs.gather(1, targets.unsqueeze(1)).squeeze(1).log()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TracIn(model, checkpoints, of_probabilities, device="cpu").self_influence(examples)
