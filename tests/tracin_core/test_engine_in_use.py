"""What an engine says of itself, what it shows while it works, and what can be pickled of it."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tracin_core import Checkpoint, Projection, TracIn, build_index, open_index, progress
from tracin_core.attribution import AttributionSetup, get_method
from tracin_core.errors import ConfigurationError, RetrievalError

torch.manual_seed(0)
TRAIN = torch.randn(12, 4), torch.arange(12) % 3
MODEL = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def make(**options: Any) -> TracIn:
    weights = [Checkpoint(MODEL.state_dict(), learning_rate=rate) for rate in (0.1, 0.02)]
    return TracIn(MODEL, weights, **options)


def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[:, 0] - targets).abs()


def test_an_engine_tells_what_it_is() -> None:
    assert repr(make(device="cpu")) == (
        "TracIn(Sequential, 2 checkpoints, rates 0.02 to 0.1, loss cross_entropy, layers 'all', "
        "on cpu)"
    )
    one = TracIn(MODEL, Checkpoint(MODEL.state_dict(), {"": 0.1}), absolute, device="cpu")
    assert "1 checkpoint, rates 0.1, loss absolute" in repr(one)


def test_results_tell_what_they_hold() -> None:
    tracin = make(layers="last")
    promised = repr(tracin.coverage)
    captured = tracin.capture(TRAIN, projection=Projection(8))
    assert repr(captured) == "Capture(12 examples, 2 checkpoints, vectors (12, 8))"
    assert repr(tracin.capture(TRAIN)) == "Capture(12 examples, 2 checkpoints, no vectors)"
    assert promised.endswith("left out: none, by the types of layers)")
    assert repr(tracin.coverage) == (
        "Coverage(18 of 43 numbers in 2 of 4 parameters, left out: 0.weight, 0.bias, checked on "
        "examples)"
    )


def test_layers_are_modules_everywhere() -> None:
    names = make(layers=["2"], last_layer="2")
    expected = names.self_influence(TRAIN)
    for layers in (MODEL[2], [MODEL[2]], "last"):
        modules = make(layers=layers, last_layer=MODEL[2])
        torch.testing.assert_close(modules.self_influence(TRAIN), expected)
    assert make().at_checkpoint(layers=MODEL[2]).layers == ("2",)
    for layers in (MODEL[2], [MODEL[2]]):
        setup = AttributionSetup(tracin=make(), options={"layers": layers})
        method = get_method("influence_functions").make(setup)
        assert method.configuration["layers"] == ["2"]


@pytest.mark.parametrize("loss", ["cross_entropy", absolute])
def test_an_engine_is_pickled_with_what_it_is_made_of(loss: Any) -> None:
    tracin = make(loss=loss, layers=["2"], batch_size=5, rates="ones")
    expected = tracin.self_influence(TRAIN)
    for other in (pickle.loads(pickle.dumps(tracin)), copy.deepcopy(tracin)):  # noqa: S301
        torch.testing.assert_close(other.self_influence(TRAIN), expected)
        assert repr(other) == repr(tracin)


def test_a_loss_that_cannot_be_pickled_is_named() -> None:
    tracin = make(loss=lambda outputs, targets: absolute(outputs, targets))
    with pytest.raises(ConfigurationError, match=r"The loss <function.*at the top of a module"):
        pickle.dumps(tracin)
    copied = copy.deepcopy(tracin)
    torch.testing.assert_close(copied.self_influence(TRAIN), tracin.self_influence(TRAIN))


def test_an_index_is_saved_with_its_vectors(tmp_path: Path) -> None:
    vectors = make().vectors(TRAIN).numpy()
    built = build_index(vectors, path=tmp_path / "index", with_vectors=True)
    opened = open_index(tmp_path / "index")
    assert repr(opened) == repr(built) == "Index(exact, 12 vectors of 86 numbers, recall 1.000)"
    assert opened.search(vectors, 3).indices.tolist() == built.search(vectors, 3).indices.tolist()
    build_index(vectors, path=tmp_path / "without")
    with pytest.raises(RetrievalError, match="without its vectors"):
        open_index(tmp_path / "without")
    with pytest.raises(RetrievalError, match="without a path"):
        build_index(vectors, with_vectors=True)
    (tmp_path / "index" / "vectors.npy").write_bytes(b"")
    with pytest.raises(RetrievalError, match=r"vectors\.npy cannot be read"):
        open_index(tmp_path / "index")


class Bar:
    """What tqdm is asked to show."""

    made: list[Bar] = []  # noqa: RUF012 - emptied by each test

    def __init__(self, total: int, **options: Any) -> None:
        self.options, self.n, self.total, self.closed = options, 0, total, False
        Bar.made.append(self)

    def update(self, count: int) -> None:
        self.n += count

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    Bar.made = []
    monkeypatch.setattr(progress, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=Bar))  # type: ignore[arg-type]
    return Bar.made


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("wanted", [False, True, None])
def test_a_bar_is_shown_where_somebody_looks(
    watched: bool, wanted: bool | None, bars: list[Bar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "is_watched", lambda: watched)
    tracin = make(progress=wanted)
    tracin.examine(TRAIN)  # reports nothing
    tracin.influence(TRAIN, TRAIN)
    shown = watched if wanted is None else wanted
    assert [(bar.n, bar.total, bar.closed) for bar in bars] == [(24, 24, True)] * shown
    assert [bar.options["delay"] for bar in bars] == [0.0 if wanted else 1.0] * shown


def test_a_caller_who_counts_sees_no_bar(bars: list[Bar]) -> None:
    told: list[int] = []
    make(progress=True).self_influence(TRAIN, on_progress=lambda done, total: told.append(done))
    assert told[-1] == 24
    assert bars == []


def test_without_tqdm_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    assert make().self_influence(TRAIN).shape == (12,)
    with pytest.raises(ConfigurationError, match="pip install tqdm"):
        make(progress=True)


def test_terminals_and_notebooks_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    assert progress.is_watched()
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert not progress.is_watched()
    shell = type("ZMQInteractiveShell", (), {})()
    notebook = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", notebook)  # type: ignore[arg-type]
    assert progress.is_watched()
