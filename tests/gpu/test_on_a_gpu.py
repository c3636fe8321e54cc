"""A GPU gives what the oracle gives, for every way in which gradients are computed.

Run on a machine that has one: ``pytest -m gpu``. The processor's tests say what is right; these
say that nothing about it depends on the device.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import Checkpoint, Projection, TracIn
from tracin_core.capture.runner import RunContext
from tracin_core.gradients import hooks
from tracin_core.retrieval import build_index

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
COUNT, WORDS, CLASSES = 11, 30, 3
Make = Callable[[], nn.Module]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(WORDS, 6), kind(6, 5, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.layer(self.words(words))[0].mean(1))


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 8), nn.Parameter(torch.randn(1, 7, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.encoder(self.words(words) + self.places).mean(1))


def make_convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, stride=2, dilation=2, padding=2, groups=4),
        nn.GroupNorm(2, 8),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.Flatten(),
        nn.LazyLinear(CLASSES),
    )


IMAGES, TEXTS, ROWS = (3, 8, 8), (7,), (20,)
NETWORKS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "convolutional": (make_convolutional, IMAGES),
    "chain": (lambda: nn.Sequential(nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, CLASSES)), ROWS),
    "lstm": (lambda: Recurrent(nn.LSTM), TEXTS),
    "gru": (lambda: Recurrent(nn.GRU), TEXTS),
    "transformer": (Attentive, TEXTS),
    "bags": (lambda: nn.Sequential(nn.EmbeddingBag(WORDS, 6), nn.Linear(6, CLASSES)), TEXTS),
}


def make(name: str) -> tuple[nn.Module, list[Checkpoint], TensorDataset]:
    """Return a float64 network, two checkpoints and examples, all on the processor."""
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    is_text = shape == TEXTS
    inputs = torch.randint(WORDS, (COUNT, *shape)) if is_text else torch.randn(COUNT, *shape)
    model = build()
    model(inputs[:2])  # lazy layers take their shape
    model.double()
    inputs = inputs if is_text else inputs.double()
    states = [
        {k: v + 0.1 * i if v.is_floating_point() else v for k, v in model.state_dict().items()}
        for i in range(2)
    ]
    checkpoints = [
        Checkpoint(copy.deepcopy(state), learning_rate=0.1 + i) for i, state in enumerate(states)
    ]
    return model, checkpoints, TensorDataset(inputs, torch.arange(COUNT) % CLASSES)


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.parametrize("layers", ["all", "last"])
@pytest.mark.parametrize("name", NETWORKS)
def test_scores_and_vectors_are_the_oracles(name: str, layers: str) -> None:
    model, checkpoints, examples = make(name)
    model.eval()
    names = [n for n, _ in model.named_parameters()][-2:] if layers == "last" else None
    expected = oracles.influence(model, checkpoints, examples, examples, cross_entropy, names)
    tracin = TracIn(model, checkpoints, layers=layers, device="cuda", batch_size=4)
    vectors = tracin.vectors(examples)
    torch.testing.assert_close(tracin.self_influence(examples), expected.diag(), **oracles.EXACT)
    torch.testing.assert_close(tracin.influence(examples, examples), expected, **oracles.EXACT)
    torch.testing.assert_close(vectors @ vectors.T, expected, **oracles.EXACT)
    assert next(model.parameters()).device.type == "cpu"


@pytest.mark.parametrize("form", ["sketch", "dense", "factored"])
@pytest.mark.parametrize("name", NETWORKS)
def test_projections_are_the_processors(name: str, form: Any) -> None:
    model, checkpoints, examples = make(name)
    projection = Projection(16, form=form)
    found, expected = (
        TracIn(model, checkpoints, device=device).capture(
            examples, projection=projection, last_layer_vectors=True
        )
        for device in ("cuda", "cpu")
    )
    for key, values in vars(expected).items():
        if values is not None:
            torch.testing.assert_close(getattr(found, key), values, **oracles.EXACT)


def complain_of_waits(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls this a prototype
        torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.parametrize("name", ["convolutional", "chain", "transformer"])
def test_the_inner_loop_never_waits_for_the_device(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, checkpoints, examples = make(name)
    tracin = TracIn(model, checkpoints, device="cuda", batch_size=4)
    expected = tracin.self_influence(examples)  # weights are there from now on
    run_batch = RunContext._run_batch

    def watch(self: RunContext, *arguments: Any) -> None:
        complain_of_waits("error")
        try:
            run_batch(self, *arguments)
        finally:
            complain_of_waits("default")

    # Now and then a batch is compared with its halves, and that is looked at at once.
    monkeypatch.setattr(hooks, "refuse_company", lambda *arguments: None)
    monkeypatch.setattr(RunContext, "_run_batch", watch)
    torch.testing.assert_close(tracin.self_influence(examples), expected)


def test_single_precision_keeps_its_promise() -> None:
    model, checkpoints, examples = make("convolutional")
    expected = oracles.influence(model.eval(), checkpoints, examples, examples, cross_entropy)
    single = copy.deepcopy(model).float()
    inputs, labels = examples.tensors
    found = TracIn(single, checkpoints, device="cuda").self_influence(
        TensorDataset(inputs.float(), labels)
    )
    torch.testing.assert_close(found.double(), expected.diag(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["convolutional", "lstm", "transformer"])
def test_half_precision_stays_near_the_oracle(name: str) -> None:
    model, checkpoints, examples = make(name)
    expected = oracles.influence(model.eval(), checkpoints, examples, examples, cross_entropy)
    single = copy.deepcopy(model).float()
    inputs, labels = examples.tensors
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    tracin = TracIn(single, checkpoints, device="cuda", precision="bfloat16")
    found = tracin.influence(TensorDataset(inputs, labels), TensorDataset(inputs, labels))
    norms = expected.diag().sqrt()
    errors = (found.double() - expected) / torch.outer(norms, norms)
    assert 1e-6 < errors.square().mean().sqrt() < 0.02
    assert errors.abs().max() < 0.06


def test_what_does_not_fit_is_halved_until_it_does() -> None:
    layers = [
        nn.Linear(512, 2048),
        *(nn.Sequential(nn.Tanh(), nn.Linear(2048, 2048)) for _ in range(4)),
    ]
    model = nn.Sequential(*layers, nn.LayerNorm(2048), nn.Linear(2048, CLASSES))
    inputs, labels = torch.randn(40_000, 512), torch.arange(40_000) % CLASSES
    checkpoints = [Checkpoint(model.state_dict(), learning_rate=0.1)]
    examples = TensorDataset(inputs, labels)
    expected = TracIn(model, checkpoints, device="cuda").self_influence(examples)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.5e9 / total))
    try:
        with pytest.warns(RuntimeWarning, match="Out of memory on cuda"):
            found = TracIn(model, checkpoints, device="cuda", batch_size=40_000).self_influence(
                examples
            )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_settings_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    model, checkpoints, examples = make("lstm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TracIn(model, checkpoints, device="cuda").self_influence(examples)
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize("measure", ["influence", "cosine"])
@pytest.mark.parametrize("side", ["proponents", "opponents"])
def test_exact_search_finds_what_the_processor_finds(measure: Any, side: Any) -> None:
    generator = np.random.default_rng(0)
    scales = generator.lognormal(0, 1.5, (20_000, 1))
    vectors = (generator.standard_normal((20_000, 64)) * scales).astype(np.float32)
    queries = generator.standard_normal((600, 64)).astype(np.float32)
    index = build_index(vectors, kind="exact")
    expected = index.search(queries, 10, side, measure=measure)
    found = index.search(queries, 10, side, measure=measure, device="auto")
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.scores, expected.scores)
