"""A rule of a user's own: one file to write, used everywhere, and refused where it is wrong."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from relabel.workspace import REPOSITORY_ROOT
from tests import oracles
from tracin_core import (
    Checkpoint,
    ConfigurationError,
    GradientError,
    Projection,
    TracIn,
    UnsupportedUseError,
    check_gradient_rule,
    gradient_rule,
)
from tracin_core.gradients.rules import registry

EXAMPLE = REPOSITORY_ROOT / "docs" / "examples" / "custom_layer.py"

# A layer with its rule, as one file that nothing else knows of.
TOY = '''
    """A map through a middle whose parts are squared."""

    import torch
    from torch import nn

    from tracin_core import gradient_rule


    class SquaredMiddle(nn.Module):
        def __init__(self, inputs, middle, outputs):
            super().__init__()
            self.inner = nn.Parameter(torch.randn(middle, inputs) / inputs)
            self.outer = nn.Parameter(torch.randn(outputs, middle))
            self.shift = nn.Parameter(torch.randn(outputs))

        def forward(self, values):
            return (values @ self.inner.T).square() @ self.outer.T + self.shift


    @gradient_rule(SquaredMiddle, parameters=["inner", "outer", "shift"])
    def squared_middle_gradients(layer, arguments, output_gradients):
        (values,) = arguments
        middle = values @ layer.inner.T
        middle_gradients = 2 * middle * (output_gradients @ layer.outer)
        return {
            "inner": torch.einsum("bm,bi->bmi", middle_gradients, values),
            "outer": torch.einsum("bo,bm->bom", output_gradients, middle.square()),
            "shift": output_gradients,
        }
'''


@pytest.fixture(autouse=True)
def rules_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone when it ends."""
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))


def load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toy(tmp_path: Path) -> type[nn.Module]:
    path = tmp_path / "toy_layer.py"
    path.write_text(textwrap.dedent(TOY))
    layer: type[nn.Module] = load_file(path).SquaredMiddle
    return layer


def make_sets() -> tuple[TensorDataset, TensorDataset]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(9, 5, generator=generator, dtype=torch.float64)
    labels = torch.arange(9) % 3
    return TensorDataset(inputs[:6], labels[:6]), TensorDataset(inputs[6:], labels[6:])


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def score(model: nn.Module, **options: Any) -> TracIn:
    weights = Checkpoint(model.double().state_dict(), learning_rate=0.5)
    return TracIn(model, [weights], device="cpu", batch_size=4, **options)


def test_a_layer_with_its_rule_is_one_file_and_seen_everywhere(toy: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), toy(6, 4, 3))
    (train, test), tracin = make_sets(), score(model)
    expected, wanted = (
        oracles.per_example_gradients(model, list(each), cross_entropy) for each in (train, test)
    )
    # Coverage, before any example is seen and after.
    own = ["2.inner", "2.outer", "2.shift"]
    assert [tracin.coverage[name].reason for name in own] == ["SquaredMiddle"] * 3
    coverage = tracin.examine(train)
    assert coverage.confirmed
    assert {coverage[name].method for name in own} == {"rule"}
    assert {coverage[name].reason for name in own} == {"SquaredMiddle"}
    # Every score.
    torch.testing.assert_close(
        tracin.self_influence(train), 0.5 * expected.square().sum(1), **oracles.EXACT
    )
    influence = 0.5 * expected @ wanted.T
    torch.testing.assert_close(tracin.influence(train, test), influence, **oracles.EXACT)
    torch.testing.assert_close(tracin.vectors(train), expected * 0.5**0.5, **oracles.EXACT)
    # Projected: the same map for whole gradients, whoever computed them.
    projection = Projection(dim=4096)
    found = tracin.vectors(train, projection) @ tracin.vectors(test, projection).T
    sizes = 0.5 * expected.norm(dim=1)[:, None] * wanted.norm(dim=1)
    assert ((found - influence).abs() < 5 * projection.expected_error * sizes).all()
    # The last layer, found and named.
    last = score(model, layers="last")
    found = last.self_influence(train)
    size = sum(value.numel() for value in model[2].parameters())
    assert last.last_layer is not None
    assert "2" in last.last_layer.modules
    parameters = last.last_layer.parameters
    assert set(parameters) <= set(own)
    of_last = oracles.per_example_gradients(model, list(train), cross_entropy, parameters)
    torch.testing.assert_close(found, 0.5 * of_last.square().sum(1), **oracles.EXACT)
    named = score(model, layers="last", last_layer="2").self_influence(train)
    torch.testing.assert_close(named, 0.5 * expected[:, -size:].square().sum(1), **oracles.EXACT)
    check_gradient_rule(model[2], train.tensors[0][:, :1].expand(-1, 6))


def test_the_example_of_the_guide_is_exact() -> None:
    example = load_file(EXAMPLE)
    tracin, train, capture = example.score()
    assert {tracin.coverage[name].reason for name in ("0.down", "0.up")} == {"LowRankLinear"}
    assert {entry.method for entry in tracin.coverage} == {"rule"}
    examples = [(inputs.double(), target) for inputs, target in train]
    expected = oracles.per_example_gradients(tracin.model.double(), examples, example.focal_loss)
    torch.testing.assert_close(
        capture.self_influence("all").double(), 0.1 * expected.square().sum(1), **oracles.SINGLE
    )
    assert capture.vectors.shape == (60, 64)


class Scaled(nn.Module):
    """A weight for each feature."""

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2, size))

    def forward(self, values: Tensor) -> Tensor:
        return self.scale * values


def make_scaled() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Scaled(), nn.Linear(5, 3)).double()


def test_a_wrong_rule_is_refused_with_its_name_and_scores_are_right() -> None:
    @gradient_rule(Scaled, parameters=["scale"])
    def doubled(layer: Any, arguments: Any, deltas: Tensor) -> dict[str, Tensor]:
        return {"scale": 2 * arguments[0] * deltas}

    model, (train, _) = make_scaled(), make_sets()
    tracin = score(model)
    with pytest.warns(RuntimeWarning, match=r"doubled for Scaled gives other gradients of '0\.sc"):
        found = tracin.self_influence(train)
    expected = oracles.per_example_gradients(model, list(train), cross_entropy)
    torch.testing.assert_close(found, 0.5 * expected.square().sum(1), **oracles.EXACT)
    reason = tracin.coverage["0.scale"].reason
    assert reason.startswith("read by Mul; the rule")
    assert "doubled and autograd disagree" in reason
    with pytest.raises(GradientError, match=r"doubled is wrong for 'scale' of Scaled: for exam"):
        check_gradient_rule(model[0], train.tensors[0])


def test_a_rule_that_takes_a_neighbours_gradient_is_refused() -> None:
    @gradient_rule(Scaled, parameters=["scale"])
    def rolled(layer: Any, arguments: Any, deltas: Tensor) -> dict[str, Tensor]:
        return {"scale": (arguments[0] * deltas).roll(1, 0)}

    (train, _), tracin = make_sets(), score(make_scaled())
    with pytest.warns(RuntimeWarning, match="rolled"):
        assert "rolled and autograd disagree" in tracin.examine(train)["0.scale"].reason


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda product: {"scale": product.sum(0)}, r"returned shape \(5,\) for 'scale'"),
        (lambda product: {"scale": product[:, :4]}, r"returned shape \(\d, 4\) for 'scale'"),
        (lambda product: {"weight": product}, "returned nothing for 'scale'"),
        (lambda product: {"scale": product.tolist()}, "returned a list for 'scale'"),
        (lambda product: product, "returned a Tensor; expected a dict by parameter name"),
        (lambda product: {"scale": product @ product}, r"own_answer failed on layer '0'"),
    ],
    ids=["summed", "shape", "name", "list", "no dict", "failure"],
)
def test_a_rule_that_returns_something_else_is_an_error(answer: Any, message: str) -> None:
    @gradient_rule(Scaled, parameters=["scale"])
    def own_answer(layer: Any, arguments: Any, deltas: Tensor) -> Any:
        return answer(arguments[0] * deltas)

    (train, _), tracin = make_sets(), score(make_scaled())
    with pytest.raises(GradientError, match=message):
        tracin.self_influence(train)


def test_a_call_that_a_rule_leaves_alone_takes_the_fallback_without_a_warning() -> None:
    @gradient_rule(Scaled, parameters=["scale"])
    def picky(layer: Any, arguments: Any, deltas: Tensor) -> dict[str, Tensor]:
        raise UnsupportedUseError("it does not like these")

    model, (train, _) = make_scaled(), make_sets()
    tracin = score(model)
    found = tracin.self_influence(train)
    expected = oracles.per_example_gradients(model, list(train), cross_entropy)
    torch.testing.assert_close(found, 0.5 * expected.square().sum(1), **oracles.EXACT)
    assert tracin.coverage["0.scale"].reason != "Scaled"


class Tilted(nn.Linear):
    """A linear layer with a forward of its own."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


def test_a_derived_class_may_have_a_rule_of_its_own() -> None:
    assert "a forward of its own" in str(registry.find_rule(Tilted(5, 3)))

    @gradient_rule(Tilted)
    def tilted(layer: Any, arguments: Any, deltas: Tensor) -> dict[str, Tensor]:
        weight = 2 * torch.einsum("bo,bi->boi", deltas, arguments[0])
        return {"weight": weight, "bias": 2 * deltas}

    model, (train, _) = Tilted(5, 3).double(), make_sets()
    tracin = score(model)
    expected = oracles.per_example_gradients(model, list(train), cross_entropy)
    torch.testing.assert_close(tracin.vectors(train), expected * 0.5**0.5, **oracles.EXACT)
    assert {entry.reason for entry in tracin.coverage} == {"Tilted"}
    # The layer that it is derived from keeps the rule it had.
    rule = registry.find_rule(nn.Linear(5, 3))
    assert isinstance(rule, registry.Rule)
    assert rule.is_built_in


def test_parameters_that_a_rule_does_not_know_are_left_to_the_fallback() -> None:
    @gradient_rule(Scaled, parameters="scale")
    def scaled(layer: Any, arguments: Any, deltas: Tensor) -> dict[str, Tensor]:
        return {"scale": arguments[0] * deltas}

    layer = Scaled()
    assert isinstance(registry.find_rule(layer), registry.Rule)
    layer.other = nn.Parameter(torch.ones(1))
    assert registry.find_rule(layer) == "its parameters are other, scale, not scale"
    with pytest.raises(GradientError, match="Found no gradient rule for Scaled"):
        check_gradient_rule(layer, torch.ones(2, 5))


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda: gradient_rule(), "Found 0 layer types"),
        (lambda: gradient_rule(Scaled, parameters=()), "and 0 parameters"),
        (lambda: gradient_rule(Scaled())(len), "expected a class of layers"),  # type: ignore[arg-type]
        (lambda: gradient_rule(int)(lambda *_: {}), "expected a class of layers"),  # type: ignore[type-var]
        (lambda: gradient_rule(nn.Linear)(lambda *_: {}), "linear_gradients already"),
    ],
    ids=["no type", "no parameter", "layer", "another class", "twice"],
)
def test_a_registration_that_cannot_work_is_refused(register: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        register()


def test_a_cell_that_is_run_again_replaces_its_rule() -> None:
    rules = []
    for factor in (2.0, 1.0):

        @gradient_rule(Scaled, parameters=["scale"])
        def scaled(
            layer: Any, arguments: Any, deltas: Tensor, factor: float = factor
        ) -> dict[str, Tensor]:
            return {"scale": factor * arguments[0] * deltas}

        rules.append(registry.find_rule(Scaled()))
    assert rules[0] != rules[1]
    check_gradient_rule(Scaled(), torch.randn(3, 5))


def test_every_rule_of_the_library_agrees_with_autograd_alone() -> None:
    """The public check and the rules of this library judge each other."""
    integers = torch.tensor([[1, 1, 2], [0, 3, 0]])
    cases: dict[type[nn.Module], tuple[nn.Module, Tensor]] = {
        nn.Linear: (nn.Linear(5, 3), torch.randn(2, 5)),
        nn.Conv1d: (nn.Conv1d(3, 4, 3), torch.randn(2, 3, 9)),
        nn.Conv2d: (nn.Conv2d(3, 4, 3), torch.randn(2, 3, 6, 5)),
        nn.Conv3d: (nn.Conv3d(2, 3, 2), torch.randn(2, 2, 4, 5, 3)),
        nn.ConvTranspose1d: (nn.ConvTranspose1d(3, 4, 3), torch.randn(2, 3, 9)),
        nn.ConvTranspose2d: (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2), torch.randn(2, 4, 6, 5)),
        nn.ConvTranspose3d: (nn.ConvTranspose3d(2, 3, 2), torch.randn(2, 2, 4, 5, 3)),
        nn.PReLU: (nn.PReLU(3), torch.randn(2, 3, 4)),
        nn.Embedding: (nn.Embedding(6, 3), integers),
        nn.EmbeddingBag: (nn.EmbeddingBag(6, 3), integers),
        nn.LayerNorm: (nn.LayerNorm(5), torch.randn(2, 5)),
        nn.RMSNorm: (nn.RMSNorm(5), torch.randn(2, 3, 5)),
        nn.GroupNorm: (nn.GroupNorm(2, 6), torch.randn(2, 6, 3)),
        nn.BatchNorm1d: (nn.BatchNorm1d(5), torch.randn(2, 5)),
        nn.BatchNorm2d: (nn.BatchNorm2d(3), torch.randn(2, 3, 4, 2)),
        nn.BatchNorm3d: (nn.BatchNorm3d(3), torch.randn(2, 3, 2, 2, 2)),
        nn.InstanceNorm1d: (nn.InstanceNorm1d(3, affine=True), torch.randn(2, 3, 4)),
        nn.InstanceNorm2d: (nn.InstanceNorm2d(3, affine=True), torch.randn(2, 3, 4, 2)),
        nn.InstanceNorm3d: (nn.InstanceNorm3d(3, affine=True), torch.randn(2, 3, 4, 2, 2)),
    }
    ours = {kind for kind, rule in registry._RULES.items() if rule.is_built_in}
    # A new rule comes with a case; layers that return several things have tests of their own.
    assert ours == set(cases) | {nn.LSTM, nn.GRU, nn.RNN}
    for layer, inputs in cases.values():
        check_gradient_rule(layer, inputs)


BILINEAR = '''
    """Per-example gradients of Bilinear layers."""

    import torch
    from torch import nn

    from tracin_core.gradients.rules.registry import gradient_rule


    @gradient_rule(nn.Bilinear)
    def bilinear_gradients(layer, arguments, output_gradients):
        first, second = arguments
        weight = torch.einsum("bo,bi,bj->boij", output_gradients, first, second)
        return {"weight": weight, "bias": output_gradients}
'''
USE_BILINEAR = """
import torch
from torch import nn
from tracin_core import Checkpoint, TracIn, check_gradient_rule
layer = nn.Bilinear(3, 4, 2)
check_gradient_rule(layer, torch.randn(5, 3), torch.randn(5, 4))
tracin = TracIn(layer, Checkpoint(layer.state_dict(), learning_rate=1.0), device="cpu")
examples = [((torch.randn(3), torch.randn(4)), i % 2) for i in range(6)]
print([(entry.method, entry.reason) for entry in tracin.examine(examples)])
"""


def test_a_rule_of_the_library_is_one_new_file_in_its_folder(tmp_path: Path) -> None:
    shutil.copytree(
        REPOSITORY_ROOT / "tracin_core",
        tmp_path / "tracin_core",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    new = tmp_path / "tracin_core" / "gradients" / "rules" / "bilinear.py"
    new.write_text(textwrap.dedent(BILINEAR))
    done = subprocess.run(
        [sys.executable, "-c", USE_BILINEAR],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([("rule", "Bilinear")] * 2)


class Stretched(nn.Module):
    """Each input times a weight of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, values: Tensor) -> Tensor:
        return values * self.weight


def doubled(layer: Any, arguments: Any, deltas: Tensor) -> dict[str, Tensor]:
    return {"weight": arguments[0] * deltas.mul_(2)}


def doubled_inputs(layer: Any, arguments: Any, deltas: Tensor) -> dict[str, Tensor]:
    return {"weight": arguments[0].mul_(2) * deltas}


@pytest.mark.parametrize("rule", [doubled, doubled_inputs])
def test_a_rule_that_writes_to_what_it_is_given_fails_its_check(rule):
    gradient_rule(Stretched)(rule)
    inputs = torch.randn(4, 5, dtype=torch.float64)
    before = inputs.clone()
    with pytest.raises(GradientError, match=r"wrong for 'weight'|in place"):
        check_gradient_rule(Stretched(5), inputs)
    assert torch.equal(inputs, before)


@pytest.mark.parametrize(
    ("inputs", "found"),
    [(torch.zeros(3, 5), "are zero for all"), (torch.zeros(0, 5), "gives no examples")],
)
def test_a_check_that_proves_nothing_is_no_success(inputs, found):
    gradient_rule(Stretched)(lambda layer, arguments, deltas: {"weight": arguments[0] * deltas * 7})
    with pytest.raises(GradientError, match=found):
        check_gradient_rule(Stretched(5), inputs)


def test_whatever_a_rule_raises_its_name_is_said():
    gradient_rule(Stretched)(lambda layer, arguments, deltas: {"weight": {}["missing"]})
    with pytest.raises(GradientError, match="KeyError"):
        check_gradient_rule(Stretched(5), torch.randn(4, 5))
    model = nn.Sequential(nn.Linear(5, 6), Stretched(6), nn.Linear(6, 3))
    with pytest.raises(GradientError, match="failed on layer '1'"):
        score(model).capture(make_sets()[0])


def test_a_wrong_rule_is_not_trusted_because_its_trial_was_of_zeros():
    gradient_rule(Stretched)(lambda layer, arguments, deltas: {"weight": arguments[0] * deltas * 7})
    torch.manual_seed(0)
    model = nn.Sequential(Stretched(5), nn.Linear(5, 3))
    inputs = torch.randn(9, 5, dtype=torch.float64)
    inputs[:3] = 0
    data = TensorDataset(inputs, torch.arange(9) % 3)
    tracin = score(model)
    found = tracin.capture(data).self_influence("all")
    gradients = oracles.per_example_gradients(model, list(data), cross_entropy)
    expected = 0.5 * gradients.square().sum(1)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    assert "proves nothing" in tracin.coverage["0.weight"].reason
