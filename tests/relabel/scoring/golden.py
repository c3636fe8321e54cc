"""Numbers of small networks, kept in a file: they change only together with the scoring version.

``python -m tests.relabel.scoring.golden`` writes the file anew. Nothing in it depends on the random
numbers of torch or on a training: weights come from NumPy, so that another CPU differs in the
last digits only.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from relabel.features.encoding import Encoder, fit_encoder
from relabel.fitting.data import SplitSource
from relabel.fitting.network import TrainedNetwork
from relabel.models.build import build_model
from relabel.models.networks.image import SmallCNNConfig
from relabel.models.networks.table import MLPConfig
from relabel.models.networks.text import SmallTransformerConfig, WordEmbeddingConfig
from relabel.models.registry import NetworkConfig
from relabel.runs import scoring_version
from relabel.runs.config import CheckpointEntry, TargetScale
from relabel.runs.folder import digest_example, stack_digests
from relabel.scoring.run import score_run
from relabel.text import Kind
from tests.relabel.features.in_memory import encode_examples
from tests.relabel.scoring.small_runs import WORDS, read_arrays

PATH = Path(__file__).with_name("golden.json")
COMMAND = "python -m tests.relabel.scoring.golden"
TRAIN, TEST, CLASSES = 12, 3, 3
# Of every projected or exact vector; each number of a projected one depends on all gradients.
VECTOR_NUMBERS = 6
# float32 sums in another order (another CPU, another BLAS) differ by some millionths; a formula
# that has changed differs by far more.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
SCALE = TargetScale(mean=3.0, std=2.0)
COLUMNS = [
    {"name": "rooms", "kind": "number"},
    {"name": "age", "kind": "number"},
    {"name": "place", "kind": "category"},
]

Numbers = dict[str, list[Any]]


def compute_all() -> dict[str, Numbers]:
    """Score the small networks on one thread and return their numbers by network."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: _score(name) for name in _NETWORKS}
    finally:
        torch.set_num_threads(threads)


def read_golden() -> dict[str, Any]:
    """Return what the file holds: the scoring version and the numbers."""
    return dict(json.loads(PATH.read_text()))


def find_differences(expected: dict[str, Numbers], actual: dict[str, Numbers]) -> list[str]:
    """Return a line for every array that is another one, or is missing on one side."""
    lines = [
        f"{network}: only one side has {name}"
        for network in expected.keys() | actual.keys()
        for name in expected.get(network, {}).keys() ^ actual.get(network, {}).keys()
    ]
    for network in expected.keys() & actual.keys():
        for name in expected[network].keys() & actual[network].keys():
            before, after = (np.array(of[network][name], dtype=float) for of in (expected, actual))
            if before.shape != after.shape:
                lines.append(f"{network}, {name}: shape {after.shape}, was {before.shape}")
                continue
            # Numbers near zero are sums of larger ones, and as wrong as those.
            room = ABSOLUTE * max(np.nanmax(np.abs(before), initial=0.0), 1e-3)
            if not np.allclose(after, before, rtol=RELATIVE, atol=room, equal_nan=True):
                lines.append(f"{network}, {name}: {after.ravel()[:4]}, was {before.ravel()[:4]}")
    return sorted(lines)


def write_golden() -> str:
    """Write the file anew, unless numbers have changed under the same scoring version.

    Raises:
        SystemExit: If they have.
    """
    numbers = compute_all()
    if PATH.exists():
        before = read_golden()
        differences = find_differences(before["numbers"], numbers)
        if differences and before["scoring_version"] == scoring_version.SCORING_VERSION:
            raise SystemExit(
                "\n".join(differences)
                + "\nThese numbers have changed under the same scoring version. Raise "
                "SCORING_VERSION in relabel/runs/scoring_version.py first."
            )
    golden = {"scoring_version": scoring_version.SCORING_VERSION, "numbers": numbers}
    PATH.write_text(json.dumps(golden, indent=1) + "\n")
    return f"wrote {PATH.name}"


def make_network(folder: Path, name: str) -> tuple[TrainedNetwork, list[SplitSource]]:
    """Return one of the small networks, with two checkpoints, and its examples."""
    make, kind = _NETWORKS[name]
    encoder, config, contents = make(np.random.default_rng(len(name)))
    is_regression = config.num_outputs == 1
    (folder / "checkpoints").mkdir(parents=True)
    entries = []
    for step, rate in enumerate((0.1, 0.05)):
        file = f"checkpoints/step-{step:06d}.pt"
        weights = _make_weights(build_model(config), step)
        torch.save({"state_dict": weights, "learning_rate": rate, "step": step}, folder / file)
        entries.append(CheckpointEntry(file=file, step=step, epoch=step, learning_rate=rate))
    network = TrainedNetwork(
        kind=kind,
        classes=() if is_regression else ("a", "b", "c"),
        model=build_model(config),
        model_config=config,
        encoder=encoder,
        training={},
        epochs=(),
        folder=folder,
        checkpoints=tuple(entries),
        task="regression" if is_regression else "classification",
        target="price" if is_regression else "",
        target_scale=SCALE if is_regression else None,
        loss="mse" if is_regression else "cross_entropy",
    )
    return network, [
        _make_source("train", network, contents[:TRAIN]),
        _make_source("test", network, contents[TRAIN:]),
    ]


def _score(name: str) -> Numbers:
    with tempfile.TemporaryDirectory() as root:
        network, sources = make_network(Path(root) / "training", name)
        scored = score_run(
            Path(root) / "runs", network, sources, data_hash="golden", rates="recorded"
        )
        arrays = read_arrays(scored.folder)
        return {key: _shorten(key, values) for key, values in sorted(arrays.items())}


def _shorten(name: str, values: np.ndarray) -> list[Any]:
    if name.startswith("vectors"):
        values = values[:, :VECTOR_NUMBERS]
    rounded: list[Any] = [[float(f"{number:.8g}") for number in row] for row in values]
    return rounded


def _make_weights(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy(
            rng.normal(0, values[0].numel() ** -0.5 if values.ndim > 1 else 0.1, values.shape)
        ).to(torch.float32)
        if values.is_floating_point()
        else values
        for name, values in model.state_dict().items()
    }


def _make_source(split: Any, network: TrainedNetwork, contents: list[Any]) -> SplitSource:
    rng = np.random.default_rng(len(contents))
    if network.target_scale is None:
        targets = rng.integers(0, CLASSES, len(contents))
        data = encode_examples(network.encoder, contents, targets)  # type: ignore[arg-type]
    else:
        targets = rng.normal(0, 1, len(contents)).astype(np.float32)
        data = encode_examples(network.encoder, contents, np.zeros(len(contents), dtype=np.int64))
        data.labels = data.targets = torch.from_numpy(targets)
    digests = stack_digests(map(digest_example, targets.tolist(), contents))
    return SplitSource(split=split, examples=data, digests=digests)


def _make_image(rng: np.random.Generator) -> bytes:
    buffer = BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def _make_row(rng: np.random.Generator) -> dict[str, Any]:
    age = None if rng.random() < 0.2 else float(rng.integers(1, 80))
    return {
        "rooms": float(rng.integers(1, 9)),
        "age": age,
        "place": str(rng.choice(["sea", "hill", "town"])),
    }


_Made = tuple[Encoder, NetworkConfig, list[Any]]


def _make_cnn(rng: np.random.Generator) -> _Made:
    images = [_make_image(rng) for _ in range(TRAIN + TEST)]
    config = SmallCNNConfig(
        height=8, width=8, channels=1, num_outputs=CLASSES, filters=(4, 6), hidden=10
    )
    return fit_encoder("image", images[:TRAIN]), config, images


def _make_texts(rng: np.random.Generator) -> tuple[Any, list[str]]:
    texts = [" ".join(rng.choice(WORDS, rng.integers(2, 7))) for _ in range(TRAIN + TEST)]
    return fit_encoder("text", texts[:TRAIN]), texts


def _make_word_embedding(rng: np.random.Generator) -> _Made:
    encoder, texts = _make_texts(rng)
    config = WordEmbeddingConfig(
        num_ids=encoder.num_ids, num_outputs=CLASSES, embedding=8, hidden=10
    )
    return encoder, config, texts


def _make_transformer(rng: np.random.Generator) -> _Made:
    encoder, texts = _make_texts(rng)
    config = SmallTransformerConfig(
        num_ids=encoder.num_ids,
        num_outputs=CLASSES,
        max_tokens=encoder.max_tokens,
        width=8,
        heads=2,
        layers=1,
        hidden=12,
    )
    return encoder, config, texts


def _make_mlp(rng: np.random.Generator, outputs: int = CLASSES) -> _Made:
    rows = [_make_row(rng) for _ in range(TRAIN + TEST)]
    encoder = fit_encoder("table", rows[:TRAIN], columns=COLUMNS)
    config = MLPConfig(num_inputs=encoder.num_inputs, num_outputs=outputs, hidden=(16, 12))
    return encoder, config, rows


_NETWORKS: dict[str, tuple[Callable[[np.random.Generator], _Made], Kind]] = {
    "small CNN": (_make_cnn, "image"),
    "word embedding": (_make_word_embedding, "text"),
    "small transformer": (_make_transformer, "text"),
    "MLP": (_make_mlp, "table"),
    "MLP of a regression": (lambda rng: _make_mlp(rng, outputs=1), "table"),
}

if __name__ == "__main__":
    print(write_golden())
