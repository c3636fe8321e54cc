"""A tiny text network with three checkpoints, made in a moment, and its examples."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from relabel.features.encoding import fit_encoder
from relabel.fitting.data import SplitSource
from relabel.fitting.network import TrainedNetwork
from relabel.models.build import build_model
from relabel.models.builtin import suggest_model
from relabel.runs.config import CheckpointEntry
from relabel.runs.folder import RunFolder, digest_example, stack_digests
from relabel.scoring.run import ScoredRun, score_run
from tests.relabel.features.in_memory import EncodedDataset, encode_examples

WORDS = ["tree", "river", "stone", "cloud", "bread", "glass", "night", "chair", "green", "seven"]
CLASSES = ("a", "b", "c")
# Batches of 256 examples are cut alike in shards of this size and without shards.
SHARD = 256


class ShortOfMemory(EncodedDataset):
    """A data set that refuses to be read in pieces larger than a batch, and counts."""

    rows_read = 0

    def read_batch(self, indices):
        assert len(indices) <= 256
        self.rows_read += len(indices)
        return super().read_batch(indices)


def make_examples(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, 5)) for _ in range(count)]
    return texts, rng.integers(0, len(CLASSES), count)


def make_network(folder: Path) -> TrainedNetwork:
    texts, _ = make_examples(200, 0)
    encoder = fit_encoder("text", texts)
    config = suggest_model(encoder, len(CLASSES))
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(3):
        torch.manual_seed(number)
        file = f"checkpoints/step-{number:06d}.pt"
        state = build_model(config).state_dict()
        if not (folder / file).exists():
            torch.save({"state_dict": state, "learning_rate": 0.1, "step": number}, folder / file)
        entries.append(CheckpointEntry(file=file, step=number, epoch=number, learning_rate=0.1))
    return TrainedNetwork(
        kind="text",
        classes=CLASSES,
        model=build_model(config),
        model_config=config,
        encoder=encoder,
        training={},
        epochs=(),
        folder=folder,
        checkpoints=tuple(entries),
    )


def make_sources(network: TrainedNetwork, train=1500, relabelled=()) -> list[SplitSource]:
    sources = []
    for split, count, seed in (("train", train, 1), ("test", 40, 2)):
        texts, labels = make_examples(count, seed)
        if split == "train":
            for position in relabelled:
                labels[position] = (labels[position] + 1) % len(CLASSES)
        data = encode_examples(network.encoder, texts, labels)
        digests = stack_digests(map(digest_example, labels.tolist(), texts))
        examples = ShortOfMemory(data.inputs, data.labels)
        sources.append(SplitSource(split=split, examples=examples, digests=digests))
    return sources


def cut_sources(sources: list[SplitSource], train: int) -> list[SplitSource]:
    """Return the same with the first train examples only, as before a project grew."""
    whole, test = sources
    examples = ShortOfMemory(whole.examples.inputs[:train], whole.examples.labels[:train])
    return [SplitSource(split="train", examples=examples, digests=whole.digests[:train]), test]


def score(root: Path, *, shard=SHARD, relabelled=(), base=None, train=1500, **options) -> ScoredRun:
    network = make_network(root / "training")
    sources = make_sources(network, relabelled=relabelled)
    return score_run(
        root / "runs",
        network,
        cut_sources(sources, train),
        data_hash=f"{train} texts, relabelled {relabelled}",
        base=base,
        shard_examples=shard,
        **options,
    )


def read_arrays(folder: RunFolder) -> dict[str, np.ndarray]:
    arrays = {}
    for split in ("train", "test"):
        signals = folder.read_all_signals(split)
        for name, values in signals.list_columns().items():
            arrays[f"{name}-{split}"] = values
        arrays[f"probabilities-{split}"] = folder.probabilities(split)
        for layers in folder.read_config().scored_layers:
            arrays[f"vectors-{layers}-{split}"] = folder.vectors(layers, split)
    return arrays


if __name__ == "__main__":  # a process that a test can kill
    score(Path(sys.argv[1]), on_progress=lambda report: print(report.done, flush=True))
