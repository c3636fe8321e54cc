"""What a person's transform made is kept on the disk, and made again where it may be another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from relabel.db.projects import get_project
from relabel.fitting import user_inputs
from relabel.fitting.data import open_datasets
from relabel.fitting.stored import ProjectExamples, read_project
from relabel.fitting.user_inputs import (
    NotStorableError,
    StoredInputs,
    list_arrays,
    name_cache,
    open_own_caches,
    store_inputs,
)
from relabel.models.user.config import OwnModelConfig, describe_own_model
from relabel.models.user.inputs import OwnEncoder
from relabel.models.user.load import load_own_model
from relabel.text import Split
from relabel.workspace import Workspace
from tracin_core import OwnModel
from tracin_core.errors import ConfigurationError

PLENTY = 10_000_000


def structure(made: Any) -> Any:
    if isinstance(made, dict):
        return {name: structure(value) for name, value in made.items()}
    if isinstance(made, tuple):
        return tuple(map(structure, made))
    return made.dtype, tuple(made.shape), made.tolist()


# The files.


@pytest.mark.parametrize(
    "inputs",
    [
        [torch.arange(12.0).reshape(3, 4) + n for n in range(3)],
        [(torch.ones(n, dtype=torch.int64), torch.tensor(n > 1)) for n in range(4)],
        [{"input_ids": torch.arange(n), "attention_mask": torch.ones(n)} for n in (2, 0, 5)],
        [torch.tensor(n, dtype=torch.float16) for n in range(3)],
        [torch.zeros(2, 0, dtype=torch.uint8)],
        [torch.rand(2, 3, 4).permute(2, 0, 1)],
    ],
)
def test_inputs_come_back_as_they_were(tmp_path: Path, inputs: list[Any]):
    store_inputs(tmp_path / "kept", inputs, most_bytes=PLENTY)
    stored = StoredInputs(tmp_path / "kept")
    assert len(stored) == len(inputs)
    for position in reversed(range(len(inputs))):
        assert structure(stored.read(position)) == structure(inputs[position])


def test_what_was_read_may_be_changed(tmp_path: Path):
    store_inputs(tmp_path / "kept", [torch.zeros(3)], most_bytes=PLENTY)
    stored = StoredInputs(tmp_path / "kept")
    stored.read(0).add_(1)
    assert stored.read(0).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("inputs", "most_bytes"),
    [
        ([torch.zeros(2, dtype=torch.bfloat16)], PLENTY),
        ([torch.zeros(2).to_sparse()], PLENTY),
        ([(torch.zeros(2), (torch.zeros(2),))], PLENTY),
        ([torch.zeros(2), torch.zeros(2, dtype=torch.int64)], PLENTY),
        ([{"a": torch.zeros(2)}, {"b": torch.zeros(2)}], PLENTY),
        ([torch.zeros(2), (torch.zeros(2),)], PLENTY),
        ([torch.zeros(2), torch.zeros(2)], 15),
    ],
)
def test_what_cannot_be_stored_leaves_nothing(tmp_path: Path, inputs: list[Any], most_bytes: int):
    with pytest.raises(NotStorableError):
        store_inputs(tmp_path / "kept", inputs, most_bytes=most_bytes)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_cut_off_is_not_read(tmp_path: Path):
    store_inputs(tmp_path / "kept", [torch.zeros(4)] * 2, most_bytes=PLENTY)
    os.truncate(tmp_path / "kept" / "0.bin", 20)
    with pytest.raises(ValueError, match="not whole"):
        StoredInputs(tmp_path / "kept")


# The cache.


class Transform:
    """Counts its calls; what it makes depends on more than a text, as a word list would."""

    def __init__(self) -> None:
        self.calls = 0
        self.words = ["nice", "kind", "ugly", "cold"]

    def __call__(self, text: str) -> Tensor:
        self.calls += 1
        return torch.tensor([float(text.count(word)) for word in self.words])


CONFIG = OwnModelConfig(
    file="/net.py", function="build", sha256="", kind="text", classes=("a", "b")
)


def encoder_of(transform: Callable[[str], Any], **more: Any) -> OwnEncoder:
    return OwnEncoder(OwnModel(nn.Linear(4, 2), transform, **more), CONFIG)


@pytest.fixture
def examples(mine: str, place: Workspace, engine) -> ProjectExamples:
    return read_project(engine, get_project(engine, mine), place.media_folder(mine))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    made = tmp_path / "kept"
    made.mkdir()
    return made


def open_all(folder: Path, encoder: OwnEncoder, examples: ProjectExamples, **more: Any):
    return open_own_caches(folder, encoder, examples, **more)


def test_each_example_is_encoded_once_whoever_reads_it(kept: Path, examples: ProjectExamples):
    transform = Transform()
    plain = {
        split: torch.stack([transform(text) for text in part.contents()])
        for split, part in examples.splits.items()
    }
    encoder = encoder_of(transform)
    seen: list[float] = []
    datasets = open_datasets(
        kept, encoder, examples, on_progress=lambda report: seen.append(report.done)
    )
    transform.calls = 0
    for split, dataset in datasets.items():
        order = torch.arange(len(dataset)).flip(0)
        inputs, targets = dataset.read_batch(order)
        assert torch.equal(inputs, plain[split].flip(0))
        assert targets.tolist() == examples.splits[split].targets[::-1].tolist()
        assert torch.equal(dataset[1][0], plain[split][1])
    assert transform.calls == 0
    assert seen[-1] == sum(examples.counts.values())
    open_datasets(kept, encoder, examples)
    assert 0 < transform.calls <= 32  # those that tell whether the cache still holds


def test_a_transform_that_makes_something_else_by_now_is_found_out(
    kept: Path, examples: ProjectExamples
):
    transform = Transform()
    encoder = encoder_of(transform)
    open_all(kept, encoder, examples)
    transform.words[0] = "thing"  # as where a word list beside the file has changed
    stored = open_all(kept, encoder, examples)
    for position, text in enumerate(examples.splits["train"].contents()):
        assert torch.equal(stored["train"].read(position), transform(text))


def test_chance_is_refused_and_nothing_kept(kept: Path, examples: ProjectExamples):
    with pytest.raises(ConfigurationError, match="two different inputs"):
        open_all(kept, encoder_of(lambda text: torch.rand(4)), examples)
    assert list(kept.iterdir()) == []


def test_too_much_is_not_kept_and_read_all_the_same(kept: Path, examples: ProjectExamples):
    encoder = encoder_of(Transform())
    size = 4 * 4 * examples.counts["train"]
    assert open_all(kept, encoder, examples, most_bytes=size - 1).keys() == {"test"}
    assert open_all(kept, encoder, examples, most_bytes=PLENTY).keys() == {"train", "test"}


def test_inputs_that_have_no_arrays_are_made_when_they_are_read(
    kept: Path, examples: ProjectExamples
):
    encoder = encoder_of(lambda text: torch.ones(4, dtype=torch.bfloat16))
    assert open_all(kept, encoder, examples) == {}
    inputs, _ = open_datasets(kept, encoder, examples)["train"].read_batch(torch.arange(2))
    assert inputs.dtype == torch.bfloat16


class Marked(Tensor):
    """A type of one's own that a collate function may look for."""


def test_types_that_collate_may_look_for_are_not_lost(kept: Path, examples: ProjectExamples):
    def mark(text: str) -> Tensor:
        return torch.ones(4).as_subclass(Marked)

    assert open_all(kept, encoder_of(mark, collate=torch.stack), examples) == {}
    assert open_all(kept, encoder_of(mark), examples).keys() == {"train", "test"}


def test_a_network_of_its_own_has_a_cache_of_its_own(kept: Path, examples: ProjectExamples):
    transform = Transform()
    open_all(kept, encoder_of(transform), examples)
    before = {path.name for path in kept.iterdir()}
    other = OwnEncoder(
        OwnModel(nn.Linear(4, 2), transform), OwnModelConfig(**(vars(CONFIG) | {"sha256": "1"}))
    )
    open_all(kept, other, examples)
    after = {path.name for path in kept.iterdir()}
    assert len(before) == len(after) == 2
    assert not before & after


def test_a_file_beside_that_has_changed_makes_another_cache(
    tmp_path: Path, examples: ProjectExamples
):
    net = tmp_path / "net.py"
    net.write_text("from layout import build\n")
    layout = tmp_path / "layout.py"
    names = []
    for width in (4, 5):
        layout.write_text(f"from torch import nn\ndef build():\n    return nn.Linear({width}, 2)\n")
        config = describe_own_model(f"{net}:build", kind="text", classes=("a", "b"))
        encoder = OwnEncoder(load_own_model(config, run_my_code=True), config)
        names.append(name_cache(encoder, examples.splits["train"]))
    assert len(set(names)) == 2


def test_whatever_else_may_decide_the_inputs_makes_another_cache(
    examples: ProjectExamples, monkeypatch: pytest.MonkeyPatch
):
    def encoder(rows: Any = None) -> OwnEncoder:
        return OwnEncoder(OwnModel(nn.Linear(4, 2)), CONFIG, rows)

    def name(split: Split = "train", rows: Any = None) -> str:
        return name_cache(encoder(rows), examples.splits[split])

    names = [name(), name("test"), name(rows=SimpleNamespace(to_json=lambda: {"columns": 3}))]
    with monkeypatch.context() as patched:
        patched.setattr("platform.python_version", lambda: "3.99.0")
        names.append(name())
    installed = [SimpleNamespace(metadata={"Name": "tokenizers"}, version="0.1")]
    for packages in (installed, [*installed, *installed]):
        with monkeypatch.context() as patched:
            patched.setattr(user_inputs, "distributions", lambda packages=packages: packages)
            names.append(name())
    installed[0].version = "0.2"
    with monkeypatch.context() as patched:
        patched.setattr(user_inputs, "distributions", lambda: installed)
        names.append(name())
    assert len(set(names)) == len(names)
    assert name() == names[0]


def test_arrays_keep_the_order_of_the_tensors():
    first, second = list_arrays({"b": torch.zeros(1), "a": torch.ones(2)})
    assert (first.tolist(), second.tolist()) == ([0], [1, 1])
