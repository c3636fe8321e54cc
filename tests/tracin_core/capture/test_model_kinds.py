"""Models that are more than plain modules, and checkpoints that are less than plain weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn, find_checkpoints
from tracin_core.errors import CheckpointError, ConfigurationError
from tracin_core.losses import cross_entropy

INPUTS = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
EXAMPLES = TensorDataset(INPUTS, torch.arange(7) % 3)


def build() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def score(model: nn.Module, state: Any, **options: Any) -> Tensor:
    checkpoint = Checkpoint(state, learning_rate=1.0)
    return TracIn(model, [checkpoint], device="cpu", batch_size=3, **options).self_influence(
        EXAMPLES
    )


def expect(model: nn.Module, names: tuple[str, ...] | None = None) -> Tensor:
    rows = [oracles.gradients_of_one(model, (x, y), cross_entropy, names) for x, y in EXAMPLES]
    return torch.stack(rows).square().sum(1)


def compile_it(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def compile_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def compile_a_part(model: nn.Sequential) -> nn.Module:
    return nn.Sequential(compile_it(model[:2]), model[2])


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize(
    "make",
    [
        torch.jit.script,
        lambda model: torch.jit.trace(model, INPUTS[:2]),
        lambda model: nn.Sequential(torch.jit.script(model[:2]), model[2]),
        compile_it,
        compile_in_place,
        compile_a_part,
        torch.fx.symbolic_trace,
        nn.DataParallel,
    ],
    ids=["script", "trace", "part of it script", "compile", "compile in place",
         "part of it compiled", "fx", "DataParallel"],
)  # fmt: skip
def test_programs_made_of_a_model_are_scored_as_it(make: Any, layers: str) -> None:
    plain, model = build(), make(build())
    state = copy.deepcopy(model.state_dict())
    names = ("2.weight", "2.bias") if layers == "last" else None
    expected = expect(plain, names)
    torch.testing.assert_close(score(model, state, layers=layers), expected, **oracles.SINGLE)


def test_layers_of_a_compiled_model_are_named_as_in_what_it_wraps() -> None:
    plain, model = build(), compile_it(build())
    expected = expect(plain, ("2.weight", "2.bias"))
    for name in ("2", "_orig_mod.2"):
        found = score(model, plain.state_dict(), layers=[name])
        torch.testing.assert_close(found, expected, **oracles.SINGLE)


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(3, 2, dtype=torch.cfloat))
        self.head = nn.Linear(2, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head((torch.fft.rfft(inputs) @ self.mixing).abs())


def test_complex_parameters_are_refused_where_their_gradients_are_wanted() -> None:
    model = Complex()
    with pytest.raises(ConfigurationError, match=r"'mixing' is complex .*view_as_complex"):
        score(model, model.state_dict())
    found = score(model, model.state_dict(), layers="last")
    torch.testing.assert_close(
        found, expect(model, ("head.weight", "head.bias")), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.LazyLinear(3)), "has no shape yet"),
        (object(), "model of type object"),
    ],
    ids=["lazy", "no module"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_models_that_are_not_ready_are_refused(model: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TracIn(model, Checkpoint({}, 1.0), device="cpu")


class Extra(nn.Module):
    """Saves something beside its weights."""

    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.inner, self.extra = build(), extra

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs)

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


@pytest.mark.parametrize(
    "extra",
    [{"version": 2}, torch.ones(3), {"scale": torch.ones(2)}, "words", None, b"bytes"],
    ids=["plain values", "tensor", "tensors", "text", "nothing", "bytes"],
)
def test_an_extra_state_changes_no_score(extra: Any, tmp_path: Path) -> None:
    expected = score(build(), build().state_dict())
    model = Extra(extra)
    assert torch.equal(score(model, copy.deepcopy(model.state_dict())), expected)
    torch.save({"model": model.state_dict(), "lr": 1.0}, tmp_path / "1.pt")
    (found,) = find_checkpoints(tmp_path)
    assert torch.equal(score(Extra(torch.zeros(1)), found.weights), expected)


class Positions(nn.Module):
    def __init__(self, saved: bool) -> None:
        super().__init__()
        self.inner = build()
        self.register_buffer("position_ids", torch.arange(4)[None], persistent=saved)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs)


@pytest.mark.parametrize("in_model", [False, True])
@pytest.mark.parametrize("in_file", [False, True])
def test_tables_of_positions_may_be_saved_or_not(in_model: bool, in_file: bool) -> None:
    state = Positions(in_file).state_dict()
    found = score(Positions(in_model), {f"module.{name}": value for name, value in state.items()})
    assert torch.equal(found, score(build(), build().state_dict()))


def test_another_table_of_positions_is_refused() -> None:
    state = Positions(True).state_dict()
    state["position_ids"] = state["position_ids"] + 1
    with pytest.raises(CheckpointError, match="position_ids is not part of the model"):
        score(Positions(False), state)


def test_a_checkpoint_without_numbers_is_refused() -> None:
    with torch.device("meta"):
        empty = build()
    with pytest.raises(CheckpointError, match=r"holds no numbers in 0\.weight"):
        score(build(), empty.state_dict())
    assert torch.equal(score(empty, build().state_dict()), score(build(), build().state_dict()))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_in_another_number_type_are_read(kind: torch.dtype) -> None:
    state = {name: value.to(kind) for name, value in build().state_dict().items()}
    model = build()
    model.load_state_dict(state)
    torch.testing.assert_close(score(build(), state), expect(model), **oracles.SINGLE)


def test_a_module_is_a_checkpoint_of_its_weights() -> None:
    assert torch.equal(score(build(), build()), score(build(), build().state_dict()))


def test_a_file_s_dictionaries_keep_their_own_methods(tmp_path: Path) -> None:
    state = build().state_dict()
    vars(state).update(values=1, get=2, keys=3)
    torch.save({"model": state, "lr": 1.0}, tmp_path / "a.pt")
    (found,) = find_checkpoints(tmp_path)
    assert torch.equal(score(build(), found.weights), score(build(), build().state_dict()))


def test_a_file_that_is_inside_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, Any] = {"lr": 1.0}
    content["model"] = content
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt holds a dict inside itself"):
        find_checkpoints(tmp_path)
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    torch.save({"model": build().state_dict(), "deep": deep}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt holds a list .* more than 100 others"):
        find_checkpoints(tmp_path)
