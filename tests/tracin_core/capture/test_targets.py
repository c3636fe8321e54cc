"""Targets of every kind: computed exactly as torch would, or refused with the value named."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import GradientError

INPUTS = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(9) % 3
SHARES = torch.rand(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def build(outputs: int = 3, *after: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs)]
    return nn.Sequential(*body, *after).double()


def make_tracin(model: nn.Module, loss: Any = "cross_entropy", **options: Any) -> TracIn:
    checkpoints = [Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1.0)]
    return TracIn(model, checkpoints, loss, device="cpu", **{"batch_size": 4} | options)


def entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def binary(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return losses.mean(1)


# Targets, and what torch's own loss takes for them.
CLASS_TARGETS: dict[str, tuple[Tensor, Tensor]] = {
    "column": (LABELS.unsqueeze(1), LABELS),
    "uint8": (LABELS.to(torch.uint8), LABELS),
    "uint16": (LABELS.to(torch.uint16), LABELS),
    "int32": (LABELS.int(), LABELS),
    "whole floats": (LABELS.float(), LABELS),
    "one-hot integers": (F.one_hot(LABELS, 3), LABELS),
    "one-hot booleans": (F.one_hot(LABELS, 3).bool(), LABELS),
    "shares": (SHARES / SHARES.sum(1, keepdim=True), SHARES / SHARES.sum(1, keepdim=True)),
    "shares of no sum": (SHARES, SHARES),
}


@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize("kind", CLASS_TARGETS)
def test_class_targets_are_read_as_torch_reads_them(kind: str, layers: Any) -> None:
    given, meant = CLASS_TARGETS[kind]
    model = build()
    truth = TensorDataset(INPUTS, meant)
    names = ("2.weight", "2.bias") if layers == "last" else None
    expected = oracles.per_example_gradients(model, truth, entropy, names)
    tracin = make_tracin(model, layers=layers)
    torch.testing.assert_close(
        tracin.vectors(TensorDataset(INPUTS, given)), expected, **oracles.EXACT
    )


def test_booleans_are_two_classes() -> None:
    model = build(2)
    expected = oracles.per_example_gradients(model, TensorDataset(INPUTS, LABELS // 2), entropy)
    found = make_tracin(model).vectors(TensorDataset(INPUTS, LABELS == 2))
    torch.testing.assert_close(found, expected, **oracles.EXACT)


def test_one_hot_labels_have_margins_like_indices() -> None:
    tracin = make_tracin(build())
    plain = tracin.capture(TensorDataset(INPUTS, LABELS))
    found = tracin.capture(TensorDataset(INPUTS, F.one_hot(LABELS, 3)))
    torch.testing.assert_close(found.margins, plain.margins)
    torch.testing.assert_close(found.given_probability, plain.given_probability)


def put(value: float, place: int = 7, kind: torch.dtype = torch.int64) -> Tensor:
    targets = LABELS.clone().to(kind)
    targets[place] = value
    return targets


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "fraction": ("cross_entropy", put(0.7, kind=torch.float64), r"Example 7 has the target 0.7.*"),
    "nan": ("cross_entropy", put(torch.nan, kind=torch.float64), "Example 7 has the target nan"),
    "out of range": ("cross_entropy", put(3), "Example 7 has the label 3; .* from 0"),
    "float out of range": (
        "cross_entropy",
        put(5, kind=torch.float64),
        "Example 7 has the label 5; expected 0 to 2",
    ),
    "ignored": ("cross_entropy", put(-100), "Example 7 has the label -100.*ignore_index=-100"),
    "two ones": (
        "cross_entropy",
        F.one_hot(LABELS, 3) + F.one_hot(LABELS[:1] + 1, 3),
        r"Example 0 has the targets \[1, 1, 0\].*binary_cross_entropy",
    ),
    "other width": ("cross_entropy", torch.zeros(9, 5), r"shape \(\d, 5\).*probabilities \(B, 3\)"),
    "minus one": (
        "binary_cross_entropy",
        2 * F.one_hot(LABELS, 3) - 1,
        "Example 0 has the target -1; .*Put 0 and 1",
    ),
    "turned": ("mse", torch.zeros(9, 3, 2), r"\(\d, 2, 3\); the loss 'mse' expected"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_targets_that_would_be_read_as_something_else_are_refused(kind: str) -> None:
    loss, targets, message = REFUSED[kind]
    model = build(6, nn.Unflatten(1, (2, 3))) if kind == "turned" else build()
    for run in ("self_influence", "vectors", "capture"):
        with pytest.raises(GradientError, match=message):
            getattr(make_tracin(model, loss), run)(TensorDataset(INPUTS, targets))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "Example 0 has no target"),
        ("cat", "Example 0 has the target 'cat'.*classes numbered from 0"),
        ({"label": torch.tensor(1)}, "The targets are a dict"),
        ((torch.tensor(1), torch.tensor(2)), "The targets are a"),
    ],
    ids=["none", "name", "dict", "tuple"],
)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "binary_cross_entropy"])
def test_a_loss_of_ours_wants_a_tensor_of_targets(loss: Any, target: Any, message: str) -> None:
    examples = [(row, target) for row in INPUTS]
    with pytest.raises(GradientError, match=message):
        make_tracin(build(), loss).self_influence(examples)


def test_unlabelled_test_examples_are_explained_by_their_score_alone() -> None:
    train, unlabelled = TensorDataset(INPUTS, LABELS), [(row, None) for row in INPUTS[:2]]
    tracin = make_tracin(build())
    with pytest.raises(GradientError, match=r"Example 0 has no target.*explain=.score"):
        tracin.influence(train, unlabelled)
    scores = tracin.influence(train, unlabelled, explain="score")
    # Targets that are there are not read for a score, whatever they are.
    strange = TensorDataset(INPUTS[:2], torch.tensor([70, 80]))
    torch.testing.assert_close(tracin.influence(train, strange, explain="score"), scores)


def test_a_loss_that_finds_no_target_is_told_of_the_score() -> None:
    unlabelled = [(row, None) for row in INPUTS]
    with pytest.raises(GradientError, match="have no targets, and the loss raised TypeError"):
        make_tracin(build(), entropy).self_influence(unlabelled)


def test_single_examples_without_a_target_are_named_or_left_out() -> None:
    examples = [(row, None if i == 6 else i % 3) for i, row in enumerate(INPUTS)]
    for loss in ("cross_entropy", entropy):
        tracin = make_tracin(build(), loss)
        with pytest.raises(GradientError, match="Example 6 has no target, and others"):
            tracin.self_influence(examples)
        found = tracin.capture(examples, explain="score")
        plain = tracin.capture(TensorDataset(INPUTS, LABELS), explain="score")
        for name in ("losses", "margins", "given_probability"):
            values, expected = getattr(found, name), getattr(plain, name).clone()
            expected[0, 6] = torch.nan
            torch.testing.assert_close(values, expected, equal_nan=True)
        torch.testing.assert_close(found.squared_norms_all, plain.squared_norms_all)


def test_numbers_of_numpy_are_targets() -> None:
    model = build()
    expected = make_tracin(model).self_influence(TensorDataset(INPUTS, LABELS))
    examples = [(row.numpy(), np.int64(i % 3)) for i, row in enumerate(INPUTS)]
    torch.testing.assert_close(make_tracin(model).self_influence(examples), expected)


# What a capture says beside the loss, where a loss is one's own.


def gaussian(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.gaussian_nll_loss(outputs[:, 0], targets, outputs[:, 1].exp(), reduction="none")


def test_numbers_are_not_taken_for_classes() -> None:
    model, targets = build(2), 20 + 60 * SHARES[:, 0]
    capture = make_tracin(model, gaussian).capture(TensorDataset(INPUTS, targets))
    outputs = model(INPUTS).detach()
    torch.testing.assert_close(capture.predicted[0], outputs[:, 0])
    torch.testing.assert_close(capture.probabilities, outputs)
    torch.testing.assert_close(capture.losses[0], gaussian(outputs, targets))
    assert bool(capture.margins.isnan().all())
    assert bool(capture.given_probability.isnan().all())


def test_ignored_labels_have_no_margin_and_the_others_theirs() -> None:
    def ignoring(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, ignore_index=-100, reduction="none")

    model = build()
    found = make_tracin(model, ignoring).capture(TensorDataset(INPUTS, put(-100)))
    plain = make_tracin(model).capture(TensorDataset(INPUTS, LABELS))
    assert found.margins[0].isnan().nonzero().flatten().tolist() == [7]
    kept = [*range(7), 8]
    torch.testing.assert_close(found.margins[:, kept], plain.margins[:, kept])
    torch.testing.assert_close(found.given_probability[:, kept], plain.given_probability[:, kept])
    assert torch.equal(found.predicted, plain.predicted)
    assert float(found.squared_norms_all[0, 7]) == 0.0


def ordinal(outputs: Tensor, targets: Tensor) -> Tensor:
    steps = torch.arange(outputs.shape[1]) < targets.unsqueeze(1)
    return binary(outputs, steps.to(outputs.dtype))


def tokens(outputs: Tensor, targets: Tensor) -> Tensor:
    return entropy(outputs.transpose(1, 2), targets).sum(1)


UNKNOWN: dict[str, tuple[nn.Module, Any, Any]] = {
    "several labels": (build(), binary, F.one_hot(LABELS, 3).double()),
    "ordinal": (build(), ordinal, torch.arange(9) % 4),
    "counts": (build(), lambda o, t: (o.sum(1) - t).abs(), torch.arange(9) * 5),
    "tokens": (build(6, nn.Unflatten(1, (2, 3))), tokens, LABELS.unsqueeze(1).expand(9, 2)),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_outputs_that_are_no_classes_predict_none(kind: str) -> None:
    model, loss, targets = UNKNOWN[kind]
    examples = TensorDataset(INPUTS, targets)
    tracin = make_tracin(model, loss)
    capture = tracin.capture(examples)
    for values in (capture.predicted, capture.margins, capture.given_probability):
        assert bool(values.isnan().all())
    expected = oracles.per_example_gradients(model, examples, loss)
    torch.testing.assert_close(tracin.vectors(examples), expected, **oracles.EXACT)


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = build(6)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        outputs = self.body(inputs)
        return {"boxes": outputs[:, :4], "labels": outputs[:, 4:]}


def test_outputs_in_parts_need_no_logits() -> None:
    def detection(outputs: Any, targets: Any) -> Tensor:
        boxes = (outputs["boxes"] - targets["box"]).square().sum(1)
        return boxes + entropy(outputs["labels"], targets["label"])

    examples = [(row, {"box": row, "label": i % 2}) for i, row in enumerate(INPUTS)]
    model = Detector()
    capture = make_tracin(model, detection).capture(examples)
    expected = oracles.per_example_gradients(model, examples, detection).square().sum(1)
    torch.testing.assert_close(capture.self_influence(), expected)
    assert bool(capture.predicted.isnan().all())


def test_probabilities_of_the_models_own_are_taken_as_they_are() -> None:
    def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.nll_loss(outputs.log(), targets, reduction="none")

    examples = TensorDataset(INPUTS, LABELS)
    found = make_tracin(build(3, nn.Softmax(1)), likelihood).capture(examples)
    plain = make_tracin(build()).capture(examples)
    for name in ("predicted", "margins", "given_probability", "probabilities", "losses"):
        torch.testing.assert_close(getattr(found, name), getattr(plain, name))


def test_a_sigmoid_before_a_loss_of_logits_is_said() -> None:
    examples = TensorDataset(INPUTS, (LABELS > 0).double())
    model = build(1, nn.Sigmoid(), nn.Flatten(0))
    with pytest.warns(RuntimeWarning, match="between 0 and 1; .* Leave the sigmoid out"):
        make_tracin(model, "binary_cross_entropy").self_influence(examples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lucky = build(1, nn.Hardtanh(0.1, 0.9))
        make_tracin(lucky, "binary_cross_entropy").self_influence(examples)
        own = make_tracin(model, lambda o, t: F.binary_cross_entropy(o, t, reduction="none"))
        own.self_influence(examples)
        make_tracin(build(3, nn.LogSoftmax(1))).self_influence(TensorDataset(INPUTS, LABELS))
