"""A loss must give each example a number of its own, whatever stands beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import ConfigurationError, GradientError, TracInError

INPUTS = torch.randn(11, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(11) % 3
EXAMPLES = TensorDataset(INPUTS, LABELS)
WEIGHTS = torch.tensor([1.0, 2.0, 3.0])


class Network(nn.Module):
    """Two layers, and whatever is made of their outputs."""

    def __init__(self, give: Callable[[Tensor], Any] = lambda outputs: outputs) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        self.give = give

    def forward(self, inputs: Tensor) -> Any:
        return self.give(self.body(inputs))


def make_tracin(loss: Any, model: nn.Module | None = None, **options: Any) -> TracIn:
    model = model or Network()
    weights = copy.deepcopy(model.state_dict())
    checkpoints = [Checkpoint(weights, learning_rate=1.0)]
    return TracIn(model, checkpoints, loss, device="cpu", **{"batch_size": 8} | options)


def entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="none")


def counted(outputs: Tensor, labels: Tensor) -> Tensor:
    return entropy(outputs, labels) / torch.bincount(labels, minlength=3)[labels]


def weights_normalised(outputs: Tensor, labels: Tensor) -> Tensor:
    return entropy(outputs, labels) * WEIGHTS[labels] / WEIGHTS[labels].sum()


def standardised(outputs: Tensor, labels: Tensor) -> Tensor:
    losses = entropy(outputs, labels)
    return (losses - losses.mean()) / losses.std()


def contrastive(outputs: Tensor, labels: Tensor) -> Tensor:
    rows = F.normalize(outputs, dim=1)
    return F.cross_entropy(rows @ rows.T, torch.arange(len(rows)), reduction="none")


def spread(outputs: Tensor, labels: Tensor) -> Tensor:
    return entropy(outputs, labels) + 0.001 * outputs.var(0, correction=0).sum()


def mixed(outputs: Tensor, labels: Tensor) -> Tensor:
    return 0.7 * entropy(outputs, labels) + 0.3 * entropy(outputs, labels.flip(0))


def centred(outputs: Tensor, labels: Tensor) -> Tensor:
    members = F.one_hot(labels, 3).float()
    centres = (members.T @ outputs) / members.sum(0).clamp_min(1).unsqueeze(1)
    return (outputs - centres[labels]).square().sum(1)


def hardest(outputs: Tensor, labels: Tensor) -> Tensor:
    losses = entropy(outputs, labels)
    return torch.where(losses >= losses.median(), losses, torch.zeros_like(losses))


DEPENDENT = {
    "divided": lambda outputs, labels: entropy(outputs, labels) / len(labels),
    "mean": lambda outputs, labels: entropy(outputs, labels).mean().expand(len(labels)),
    "detached": lambda o, t: entropy(o, t) / entropy(o, t).detach().mean(),
    # As in a trial of three, there is nothing to be seen in batches of less than eight.
    "large": lambda o, t: entropy(o, t) / (len(t) if len(t) > 7 else 1),
    **{
        function.__name__: function
        for function in (
            *(counted, weights_normalised, standardised, contrastive, spread, mixed, centred),
            hardest,
        )
    },
}


# The deviation of a single loss is none, which torch says once in a process.
@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize("name", DEPENDENT)
def test_a_loss_that_depends_on_its_batch_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"loss of example \d+ .*reduction='none'"):
        make_tracin(DEPENDENT[name]).self_influence(EXAMPLES)


RUNS: dict[str, Callable[[TracIn], object]] = {
    "self-influence": lambda tracin: tracin.self_influence(EXAMPLES),
    "influence": lambda tracin: tracin.influence(EXAMPLES, EXAMPLES),
    "vectors": lambda tracin: tracin.vectors(EXAMPLES),
    "capture": lambda tracin: tracin.capture(EXAMPLES),
    "score": lambda tracin: tracin.capture(EXAMPLES, explain="score"),
}


@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ["divided", "large"])
def test_it_is_refused_whatever_is_asked_for(run: str, layers: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"in a batch of [38] examples and .* alone"):
        RUNS[run](make_tracin(DEPENDENT[name], layers=layers))


def test_both_values_are_named() -> None:
    alone = entropy(Network()(INPUTS[:1]), LABELS[:1]).item()
    with pytest.raises(ConfigurationError, match="in a batch of 3 examples and") as caught:
        make_tracin(DEPENDENT["divided"]).self_influence(EXAMPLES)
    named = [float(word) for word in str(caught.value).split() if word.startswith(("0.", "1."))]
    assert named == pytest.approx([alone / 3, alone], rel=1e-4)


def test_a_loss_that_changes_from_call_to_call_is_refused() -> None:
    calls: list[int] = []

    def growing(outputs: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        return entropy(outputs, labels) * len(calls)

    def noisy(outputs: Tensor, labels: Tensor) -> Tensor:
        return entropy(F.dropout(outputs, 0.5), labels)

    for loss in (growing, noisy):
        with pytest.raises(ConfigurationError, match="asked for again"):
            make_tracin(loss).self_influence(EXAMPLES)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda o, t: F.cross_entropy(o, t), r"a single number, shape \(\).*reduction='none'"),
        (lambda o, t: F.cross_entropy(o, t)[None], r"shape \(1,\) for 3 examples"),
        (lambda o, t: entropy(o, t)[:, None], r"shape \(3, 1\).*squeeze\(1\)"),
        (lambda o, t: (o - 1).square(), r"shape \(3, 3\).*sum over every axis but the first"),
        (lambda o, t: (o - 1).square().flatten(), r"shape \(9,\) for 3 examples.*view"),
        (lambda o, t: (entropy(o, t), o), "a tuple.*losses alone"),
        (lambda o, t: {"loss": entropy(o, t)}, "a dict.*losses alone"),
        (lambda o, t: F.cross_entropy(o, t).item(), "a float.*without .item"),
        (lambda o, t: entropy(o, t).detach().numpy(), "a ndarray.*numpy"),
        (lambda o, t: None, "a NoneType"),
        (lambda o, t: (o.argmax(1) != t).long(), "type int64.*not a count of mistakes"),
        (lambda o, t: (o.argmax(1) != t).float(), "without a gradient.*argmax"),
        (lambda o, t: entropy(o.detach(), t), "without a gradient"),
    ],
    ids=[
        *("scalar", "kept scalar", "column", "table", "flat table", "tuple", "dict", "float"),
        *("array", "nothing", "integers", "mistakes", "detached"),
    ],
)
def test_what_is_no_loss_of_each_example_is_refused(loss: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_tracin(loss).self_influence(EXAMPLES)


def test_a_loss_that_is_nan_is_named_with_its_example() -> None:
    def broken(outputs: Tensor, labels: Tensor) -> Tensor:
        return entropy(outputs, labels) + torch.where(labels == 2, torch.nan, 0.0)

    with pytest.raises(GradientError, match="loss of example 2 is nan, and the model's outputs"):
        make_tracin(broken).self_influence(EXAMPLES)


def stable_by_hand(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy; the largest logit of the whole batch cancels out of it."""
    shifted = outputs - outputs.max()
    return shifted.exp().sum(1).log() - shifted.gather(1, labels.unsqueeze(1)).squeeze(1)


INDEPENDENT = {
    "plain": entropy,
    "weighted": lambda o, t: F.cross_entropy(o, t, WEIGHTS.to(o.dtype), reduction="none"),
    "weights by label": lambda o, t: entropy(o, t) * WEIGHTS[t],
    "smoothed": lambda o, t: F.cross_entropy(o, t, label_smoothing=0.1, reduction="none"),
    "focal": lambda o, t: (1 - (-entropy(o, t)).exp()).square() * entropy(o, t),
    "hinge": lambda o, t: F.multi_margin_loss(o, t, reduction="none"),
    "by hand": stable_by_hand,
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_losses_of_single_examples_are_taken_as_they_are(name: str) -> None:
    model, loss = Network().double(), INDEPENDENT[name]
    examples = TensorDataset(INPUTS.double(), LABELS)
    expected = oracles.per_example_gradients(model, examples, loss)
    found = make_tracin(loss, model, batch_size=4).vectors(examples)
    torch.testing.assert_close(found, expected, **oracles.EXACT)


class Named(NamedTuple):
    logits: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class Scaled:
    logits: Tensor
    scale: Tensor


def read_logits(outputs: Any, labels: Tensor) -> Tensor:
    return entropy(outputs.logits, labels)


FORMS: dict[str, tuple[Callable[[Tensor], Any], Any]] = {
    "named tuple": (lambda o: Named(o, 2 * o), lambda o, t: entropy(o.logits + o.hidden, t)),
    "frozen": (lambda o: Scaled(o, torch.tensor(2.0)), lambda o, t: entropy(o.logits * o.scale, t)),
    "object": (lambda o: SimpleNamespace(logits=o), read_logits),
    "distribution": (
        lambda o: torch.distributions.Normal(o[:, 0], o[:, 1].exp()),
        lambda o, t: -o.log_prob(t.to(o.loc.dtype)),
    ),
    "heads": (lambda o: {"a": o, "b": o[:, 0]}, lambda o, t: entropy(o["a"], t) + o["b"].square()),
    "examples along another axis": (lambda o: (o, o.T), lambda o, t: entropy(o[1].T, t)),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_of_any_form_are_cut_into_examples(form: str) -> None:
    give, loss = FORMS[form]
    model = Network(give).double()
    examples = TensorDataset(INPUTS.double(), LABELS)
    expected = oracles.per_example_gradients(model, examples, loss)
    found = make_tracin(loss, model, batch_size=4).vectors(examples)
    torch.testing.assert_close(found, expected, **oracles.EXACT)
    with pytest.raises(ConfigurationError, match="alone"):
        make_tracin(lambda o, t: loss(o, t) / len(t), model).vectors(examples)


def test_a_loss_may_read_what_the_model_has_left_elsewhere() -> None:
    model = Network().double()
    hidden: list[Tensor] = [INPUTS]
    model.body[1].register_forward_hook(lambda module, args, output: hidden.append(output))

    def decorrelated(outputs: Tensor, labels: Tensor) -> Tensor:
        return entropy(outputs, labels) + hidden[-1].square().sum(1)

    def of_hidden_ones(outputs: Tensor, labels: Tensor) -> Tensor:
        return hidden[-1].square().sum(1)

    examples = TensorDataset(INPUTS.double(), LABELS)
    for loss in (decorrelated, of_hidden_ones):
        expected = oracles.per_example_gradients(model, examples, loss)
        found = make_tracin(loss, model).vectors(examples)
        torch.testing.assert_close(found, expected, **oracles.EXACT)


def test_another_output_that_mixes_the_examples_is_noticed() -> None:
    model = Network(lambda outputs: {"logits": outputs, "centred": outputs - outputs.mean(0)})
    with pytest.raises(ConfigurationError, match="with 1 of the others"):
        make_tracin(lambda o, t: entropy(o["centred"], t), model).self_influence(EXAMPLES)


def test_outputs_that_compare_the_examples_are_refused() -> None:
    model = Network(lambda outputs: outputs @ outputs.T)
    with pytest.raises(GradientError, match="compared with the others of its batch"):
        make_tracin(contrastive, model).self_influence(EXAMPLES)


def test_a_model_without_a_tensor_in_its_outputs_is_told() -> None:
    with pytest.raises(TracInError, match="returned str, in which no tensor was found"):
        make_tracin(entropy, Network(lambda outputs: "nothing")).self_influence(EXAMPLES)


def test_a_loss_without_labels_is_checked_too() -> None:
    unlabelled = [(row, None) for row in INPUTS]
    scores = make_tracin(lambda o, t: o.square().sum(1)).self_influence(unlabelled)
    assert scores.shape == (11,)
    assert bool((scores > 0).all())
    with pytest.raises(ConfigurationError, match="alone"):
        make_tracin(lambda o, t: o.square().sum(1) / len(o)).self_influence(unlabelled)


def test_a_loss_of_a_fixed_number_of_examples_is_told_why() -> None:
    def of_three(outputs: Tensor, labels: Tensor) -> Tensor:
        return entropy(outputs, labels).view(3, -1).flatten()

    with pytest.raises(ConfigurationError, match=r"not for 1 of them \(RuntimeError: shape '\[3"):
        make_tracin(of_three).self_influence(EXAMPLES)
