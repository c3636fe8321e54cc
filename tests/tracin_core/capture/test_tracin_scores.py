"""Scores, vectors and captures agree with the oracle and with one another."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.errors import ConfigurationError

# Bound from the projection's size: the error of an estimated dot product, relative to the
# product of the norms, has standard deviation sqrt(2 / D); over some hundred pairs the largest
# stays under 4.5 of them, and their root mean square within a tenth of it.
SKETCH = Projection(dim=512).expected_error


def build_network(classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 24),
        nn.Tanh(),
        nn.Linear(24, classes),
    ).double()


def build_checkpoints(model: nn.Module, count: int = 2) -> list[Checkpoint]:
    generator = torch.Generator().manual_seed(1)
    return [
        Checkpoint(
            {
                name: value + 0.1 * torch.randn(value.shape, generator=generator).double()
                for name, value in model.state_dict().items()
            },
            learning_rate=0.1 * (index + 1),
            step=index,
        )
        for index in range(count)
    ]


def build_examples(count: int, classes: int = 4) -> TensorDataset:
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(count, 1, 8, 8, generator=generator).double()
    return TensorDataset(images, torch.randint(classes, (count,), generator=generator))


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


MODEL = build_network()
CHECKPOINTS = build_checkpoints(MODEL)
TRAIN, TEST = build_examples(7), TensorDataset(*(t.flip(0)[:3] for t in build_examples(9).tensors))


def make_tracin(**options: object) -> TracIn:
    return TracIn(MODEL, CHECKPOINTS, device="cpu", **{"batch_size": 3, **options})  # type: ignore[arg-type]


def test_influence_agrees_with_the_oracle() -> None:
    expected = oracles.influence(MODEL, CHECKPOINTS, TRAIN, TEST, cross_entropy)
    torch.testing.assert_close(make_tracin().influence(TRAIN, TEST), expected, **oracles.EXACT)


def test_self_influence_is_the_diagonal() -> None:
    expected = oracles.influence(MODEL, CHECKPOINTS, TRAIN, TRAIN, cross_entropy).diagonal()
    torch.testing.assert_close(make_tracin().self_influence(TRAIN), expected, **oracles.EXACT)


def test_rates_may_be_ignored() -> None:
    ones = [Checkpoint(c.weights, learning_rate=1.0) for c in CHECKPOINTS]
    unrated = [Checkpoint(c.weights) for c in CHECKPOINTS]
    ignoring = TracIn(MODEL, unrated, device="cpu", rates="ones")
    expected = TracIn(MODEL, ones, device="cpu").influence(TRAIN, TEST)
    torch.testing.assert_close(ignoring.influence(TRAIN, TEST), expected, **oracles.EXACT)


@pytest.mark.parametrize("layers", ["last", "0", ["4"], ["0", "6"], ("6", "4")])
def test_chosen_layers_are_the_ones_scored(layers: str | list[str]) -> None:
    names = {"last": ["6"], "0": ["0"]}.get(layers, layers) if isinstance(layers, str) else layers
    parameters = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    expected = oracles.influence(MODEL, CHECKPOINTS, TRAIN, TEST, cross_entropy, parameters)
    tracin = make_tracin(layers=layers)
    torch.testing.assert_close(tracin.influence(TRAIN, TEST), expected, **oracles.EXACT)
    assert set(tracin.coverage.covered) == set(parameters)


def test_exact_vectors_multiply_to_influence() -> None:
    tracin = make_tracin()
    product = tracin.vectors(TRAIN) @ tracin.vectors(TEST).T
    torch.testing.assert_close(product, tracin.influence(TRAIN, TEST), **oracles.EXACT)


def test_score_vectors_explain_the_predicted_classs_logit() -> None:
    unlabelled = [(image, None) for image, _ in TEST]
    expected = oracles.influence(
        MODEL, CHECKPOINTS, TRAIN, TEST, cross_entropy, test_loss=lambda o, t: -o.amax(1)
    )
    tracin = make_tracin()
    found = tracin.influence(TRAIN, unlabelled, explain="score")
    torch.testing.assert_close(found, expected, **oracles.EXACT)
    vectors = tracin.vectors(unlabelled, explain="score")
    torch.testing.assert_close(tracin.vectors(TRAIN) @ vectors.T, expected, **oracles.EXACT)


def test_a_proponent_of_a_score_raises_it() -> None:
    model = nn.Linear(2, 2).double()
    image = torch.tensor([1.0, 2.0]).double()
    with torch.no_grad():
        label = int(model(image).argmax())
    checkpoint = Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=1e-3)
    tracin = TracIn(model, [checkpoint], device="cpu")
    score = tracin.influence([(image, label)], [(image, None)], explain="score")
    before = model(image)[label]
    cross_entropy(model(image[None]), torch.tensor([label])).sum().backward()
    with torch.no_grad():
        for value in model.parameters():
            value -= 1e-3 * value.grad
    gained = (model(image)[label] - before).item()
    assert gained > 0
    assert score.item() == pytest.approx(gained, rel=1e-6)


def test_influence_predicts_the_drop_in_loss_of_one_small_step() -> None:
    rate = 1e-6
    model = copy.deepcopy(MODEL)
    checkpoint = Checkpoint(copy.deepcopy(model.state_dict()), learning_rate=rate)
    predicted = TracIn(model, [checkpoint], device="cpu").influence(TRAIN, TEST)[2]
    images, labels = TEST.tensors
    before = cross_entropy(model(images), labels).detach()
    cross_entropy(model(TRAIN[2][0][None]), TRAIN[2][1][None]).sum().backward()
    with torch.no_grad():
        for value in model.parameters():
            value -= rate * value.grad
    drop = before - cross_entropy(model(images), labels).detach()
    torch.testing.assert_close(predicted, drop, rtol=1e-3, atol=1e-12)


def test_linear_regression_has_a_closed_form() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1).double()
    inputs, targets = torch.randn(6, 3).double(), torch.randn(6).double()
    checkpoint = Checkpoint(model.state_dict(), learning_rate=0.3)
    tracin = TracIn(model, [checkpoint], loss="mse", device="cpu")
    # (y - w x - b)^2 has the gradient -2 r [x; 1], so influence is 4 rate r r' (x . x' + 1).
    residuals = (targets - model(inputs).squeeze(1)).detach()
    expected = 0.3 * 4 * torch.outer(residuals, residuals) * (inputs @ inputs.T + 1)
    examples = TensorDataset(inputs, targets)
    torch.testing.assert_close(tracin.influence(examples, examples), expected, **oracles.EXACT)


def test_score_vectors_of_a_binary_model_explain_the_class_it_predicts() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1).double()
    inputs, targets = torch.randn(12, 3).double(), torch.arange(12) % 2
    signs = model(inputs).detach().sign()
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}
    checkpoint = Checkpoint(model.state_dict(), learning_rate=0.5)
    tracin = TracIn(model, [checkpoint], loss="binary_cross_entropy", device="cpu")
    errors = (model(inputs).detach().sigmoid() - targets.unsqueeze(1)).double()
    rows = torch.cat([inputs, torch.ones(12, 1).double()], 1)
    # A step of training on one example moves the logit of another by minus the rate times this.
    expected = 0.5 * (errors * rows) @ (-signs * rows).T
    unlabelled = [(row, None) for row in inputs]
    found = tracin.influence(TensorDataset(inputs, targets), unlabelled, explain="score")
    torch.testing.assert_close(found, expected, **oracles.EXACT)


def test_binary_cross_entropy_agrees_with_two_classes() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1).double()
    inputs, targets = torch.randn(6, 3).double(), torch.tensor([0, 1, 1, 0, 1, 0])
    checkpoint = Checkpoint(model.state_dict(), learning_rate=1.0)
    tracin = TracIn(model, [checkpoint], loss="binary_cross_entropy", device="cpu")
    errors = (model(inputs).sigmoid().squeeze(1) - targets).detach()
    expected = torch.outer(errors, errors) * (inputs @ inputs.T + 1)
    examples = TensorDataset(inputs, targets)
    torch.testing.assert_close(tracin.influence(examples, examples), expected, **oracles.EXACT)
    capture = tracin.capture(examples)
    logits = model(inputs).detach().squeeze(1)
    torch.testing.assert_close(capture.margins[0], logits * (2 * targets - 1))
    torch.testing.assert_close(capture.probabilities[:, 1], logits.sigmoid())


def test_capture_gives_everything_from_one_pass() -> None:
    tracin, projection = make_tracin(), Projection(dim=64)
    done: list[tuple[int, int]] = []
    capture = tracin.capture(
        TRAIN,
        projection=projection,
        last_layer_vectors=True,
        on_progress=lambda *numbers: done.append(numbers),
    )
    last = make_tracin(layers="last")
    torch.testing.assert_close(capture.self_influence("all"), tracin.self_influence(TRAIN))
    torch.testing.assert_close(capture.self_influence("last"), last.self_influence(TRAIN))
    torch.testing.assert_close(capture.vectors, tracin.vectors(TRAIN, projection))
    torch.testing.assert_close(capture.last_vectors, last.vectors(TRAIN))
    product = capture.last_vectors @ last.vectors(TEST).T
    torch.testing.assert_close(product, last.influence(TRAIN, TEST), **oracles.EXACT)
    assert done[-1] == (14, 14)
    images, labels = TRAIN.tensors
    for index, checkpoint in enumerate(CHECKPOINTS):
        model = copy.deepcopy(MODEL)
        model.load_state_dict(checkpoint.weights)
        logits = model(images).detach()
        own = logits.gather(1, labels[:, None]).squeeze(1)
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        torch.testing.assert_close(capture.losses[index], cross_entropy(logits, labels))
        torch.testing.assert_close(capture.margins[index], own - other)
        assert torch.equal(capture.predicted[index], logits.argmax(1))
        given = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
        torch.testing.assert_close(capture.given_probability[index], given)
    torch.testing.assert_close(capture.probabilities, logits.softmax(1))


def test_capture_without_labels_has_predictions_and_no_losses() -> None:
    capture = make_tracin().capture([(image, None) for image, _ in TEST], explain="score")
    assert capture.losses.isnan().all()
    assert capture.margins.isnan().all()
    assert not capture.probabilities.isnan().any()


def test_wide_last_layers_are_projected() -> None:
    torch.manual_seed(0)
    model = nn.Linear(1000, 9)
    checkpoint = Checkpoint(model.state_dict(), learning_rate=1.0)
    examples = TensorDataset(torch.randn(4, 1000), torch.arange(4))
    capture = TracIn(model, [checkpoint], device="cpu").capture(examples, last_layer_vectors=True)
    assert capture.last_vectors is not None
    assert capture.last_vectors.shape == (4, 512)


def test_the_caller_says_whether_last_layer_vectors_are_projected() -> None:
    tracin, projection = make_tracin(), Projection(dim=24, seed=3)
    captured = [
        tracin.capture(TRAIN, projection=Projection(dim=64), last_layer_vectors=wanted)
        for wanted in ("exact", projection)
    ]
    last = make_tracin(layers="last")
    torch.testing.assert_close(captured[0].last_vectors, last.vectors(TRAIN))
    torch.testing.assert_close(captured[1].last_vectors, last.vectors(TRAIN, projection))
    assert captured[1].vectors is not None
    assert captured[1].vectors.shape[1] == 64
    with pytest.raises(ConfigurationError, match="last_layer_vectors='whole'"):
        tracin.capture(TRAIN, last_layer_vectors="whole")  # type: ignore[arg-type]


def test_projected_vectors_estimate_influence() -> None:
    train, test = build_examples(40), build_examples(12)
    tracin = make_tracin(batch_size=64)
    exact = tracin.influence(train, test)
    norms = torch.outer(tracin.self_influence(train), tracin.self_influence(test)).sqrt()
    errors = []
    for seed in range(3):
        projection = Projection(dim=512, seed=seed)
        vectors = tracin.vectors(train, projection)
        assert vectors.shape == (40, 512)
        errors.append((vectors @ tracin.vectors(test, projection).T - exact) / norms)
    error = torch.stack(errors)
    assert error.square().mean().sqrt() < 1.1 * SKETCH
    assert error.abs().max() < 4.5 * SKETCH


def test_projection_does_not_depend_on_the_batch_size() -> None:
    projection = Projection(dim=32, seed=3)
    whole = make_tracin(batch_size=64).vectors(TRAIN, projection)
    torch.testing.assert_close(make_tracin(batch_size=2).vectors(TRAIN, projection), whole)
    other = make_tracin().vectors(TRAIN, Projection(dim=32, seed=4))
    assert not torch.allclose(other, whole)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.1, 10), batch_size=st.integers(1, 9))
def test_scores_scale_with_the_learning_rate(scale: float, batch_size: int) -> None:
    scaled = [Checkpoint(c.weights, learning_rate=scale * c.learning_rate) for c in CHECKPOINTS]
    found = TracIn(MODEL, scaled, device="cpu", batch_size=batch_size).influence(TRAIN, TEST)
    torch.testing.assert_close(found, scale * make_tracin().influence(TRAIN, TEST))


def test_checkpoints_add_up() -> None:
    parts = [TracIn(MODEL, [c], device="cpu").influence(TRAIN, TEST) for c in CHECKPOINTS]
    torch.testing.assert_close(make_tracin().influence(TRAIN, TEST), sum(parts))


@settings(max_examples=4, deadline=None)
@given(order=st.permutations(range(7)), batch_size=st.integers(1, 8))
def test_reordering_train_examples_reorders_scores(order: list[int], batch_size: int) -> None:
    shuffled = TensorDataset(*(tensor[order] for tensor in TRAIN.tensors))
    tracin = make_tracin(batch_size=batch_size)
    scores = make_tracin().influence(TRAIN, TEST)
    torch.testing.assert_close(tracin.influence(shuffled, TEST), scores[order])
    assert (tracin.self_influence(shuffled) >= 0).all()


def test_single_precision_stays_close_to_double() -> None:
    model = copy.deepcopy(MODEL).float()
    checkpoints = [
        Checkpoint({k: v.float() for k, v in c.weights.items()}, c.learning_rate)
        for c in CHECKPOINTS
    ]
    examples = TensorDataset(TRAIN.tensors[0].float(), TRAIN.tensors[1])
    found = TracIn(model, checkpoints, device="cpu").self_influence(examples)
    assert found.dtype == torch.float32
    expected = make_tracin().self_influence(TRAIN).float()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("margin", [5.0, 20.0, 60.0])
def test_confident_predictions_keep_their_tiny_gradients(margin: float) -> None:
    model = nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[margin], [0.0], [-1.0]]))
    examples = TensorDataset(torch.ones(1, 1), torch.zeros(1, dtype=torch.long))
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    others = torch.tensor([0.0, -1.0]).double().sub(margin).exp()
    others = others / (1 + others.sum())
    expected = others.square().sum() + others.sum().square()
    if margin < 40:  # below, its square leaves float32
        found = tracin.self_influence(examples).double()
        torch.testing.assert_close(found, expected[None], rtol=1e-5, atol=0)
    vector = tracin.vectors(examples).double()
    torch.testing.assert_close(vector[0], torch.stack([-others.sum(), *others]), rtol=1e-5, atol=0)
    loss = tracin.capture(examples).losses.double()
    torch.testing.assert_close(loss[0, 0], others.sum(), rtol=0.01, atol=0)


@pytest.mark.parametrize("classes", [2, 30])
def test_a_hopeless_label_has_a_finite_loss(classes: int) -> None:
    """Its probability, ``exp(-300)``, is zero in float32, and its logarithm is not."""
    model = nn.Linear(1, classes, bias=False)
    nn.init.zeros_(model.weight)
    with torch.no_grad():
        model.weight[0] = 300.0
    examples = TensorDataset(torch.ones(1, 1), torch.ones(1, dtype=torch.long))
    tracin = TracIn(model, [Checkpoint(model.state_dict(), learning_rate=1.0)], device="cpu")
    assert tracin.capture(examples).losses.tolist() == [[300.0]]
    torch.testing.assert_close(tracin.self_influence(examples), torch.tensor([2.0]))


def test_flipped_labels_rank_first() -> None:
    torch.manual_seed(0)
    labels = torch.arange(200) % 4
    images = torch.eye(4)[labels].repeat_interleave(4, 1) + 0.3 * torch.randn(200, 16)
    flipped = torch.zeros(200, dtype=torch.bool)
    flipped[torch.randperm(200)[:20]] = True
    given_labels = torch.where(flipped, (labels + 1) % 4, labels)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    checkpoints = []
    for step in range(40):
        optimizer.zero_grad()
        cross_entropy(model(images), given_labels).mean().backward()
        optimizer.step()
        if step in (20, 39):
            checkpoints.append(Checkpoint(copy.deepcopy(model.state_dict()), 0.5))
    tracin = TracIn(model, checkpoints, layers="last", device="cpu")
    suspects = tracin.self_influence(TensorDataset(images, given_labels)).topk(20).indices
    assert flipped[suspects].float().mean() > 0.8
