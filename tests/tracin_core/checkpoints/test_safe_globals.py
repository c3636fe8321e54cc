"""Files of ordinary training scripts are read with what lies beside the weights."""

from __future__ import annotations

import argparse
import datetime
import os
import pickle
import sys
import threading
import uuid
import zipfile
from collections import OrderedDict, defaultdict, deque
from decimal import Decimal
from functools import partial
from pathlib import Path, PureWindowsPath
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.tracin_core.checkpoints.test_checkpoint_files import STATE, assert_same, build_network
from tracin_core import Checkpoint
from tracin_core.checkpoints import read_rate, read_weights
from tracin_core.checkpoints.formats import read_torch
from tracin_core.checkpoints.safe_globals import SAFE_GLOBALS, LeftOut
from tracin_core.errors import CheckpointError

UTC = datetime.timezone(datetime.timedelta(hours=1), "here")
LEFT_OUT: dict[str, Any] = {
    "argparse": argparse.Namespace(lr=0.1, out=Path("runs"), seeds=[1, 2]),
    "a simple namespace": SimpleNamespace(lr=0.1),
    "a path": Path("runs/a"),
    "a path of Windows": PureWindowsPath("runs\\a"),
    "a time": datetime.datetime(2026, 1, 2, tzinfo=UTC),
    "a day": datetime.date(2026, 1, 2),
    "a duration": datetime.timedelta(hours=3),
    "a decimal": Decimal("0.1"),
    "an identifier": uuid.UUID(int=7),
    "the version of torch": torch.__version__,
    "an array": np.arange(6.0).reshape(2, 3),
    "an array of objects": np.array([1, None, "a"], dtype=object),
    "a NumPy text": np.str_("cosine"),
    "a NumPy time": np.datetime64("2026-01-02"),
    "a long double": np.longdouble(0.5),
}


class Calling:
    """Calls something when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def save_and_read(path: Path, beside: Any, **options: Any) -> Any:
    torch.save({"model": STATE, "beside": beside, "epoch": 3}, path, **options)
    assert_same(read_weights(Checkpoint(path), build_network()))
    content = read_torch(path)
    assert content["epoch"] == 3
    return content["beside"]


@pytest.mark.parametrize("name", LEFT_OUT)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before zip"])
def test_harmless_values_beside_the_weights_are_left_out(
    name: str, zipped: bool, tmp_path: Path
) -> None:
    found = save_and_read(tmp_path / "a.pt", LEFT_OUT[name], _use_new_zipfile_serialization=zipped)
    assert type(found) is LeftOut


@pytest.mark.parametrize("kind", [*"?bhilqBHILQefd"])
def test_numpy_numbers_are_read_as_pythons(kind: str, tmp_path: Path) -> None:
    value = np.dtype(kind).type(1)
    found = save_and_read(tmp_path / "a.pt", value)
    assert found == value
    assert type(found) is type(value.item())


def test_numbers_that_numpy_1_wrote_are_read(tmp_path: Path) -> None:
    torch.save({"model": STATE, "lr": np.float64(0.25)}, tmp_path / "new.pt")
    replace_in_pickle(tmp_path / "new.pt", b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert read_rate(Checkpoint(tmp_path / "new.pt"), build_network()) == 0.25


def test_numbers_of_the_other_byte_order_are_read(tmp_path: Path) -> None:
    number = Calling(np._core.multiarray.scalar, np.dtype(">i4"), (513).to_bytes(4, "big"))
    assert save_and_read(tmp_path / "a.pt", number) == 513


def replace_in_pickle(path: Path, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(old, new) if "data.pkl" in name else content)


def test_dictionaries_and_lists_of_other_names_keep_their_values(tmp_path: Path) -> None:
    beside = defaultdict(list, {"a": [1]}), deque([1, 2], maxlen=3), defaultdict(float)
    found = save_and_read(tmp_path / "a.pt", beside)
    assert found == (OrderedDict(a=[1]), [1, 2], OrderedDict())


def pretend_installed(monkeypatch: pytest.MonkeyPatch, module: str, kind: type) -> None:
    """Let pickle find a class in a library that is not there."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(parts[end - 1]))
    setattr(sys.modules[module], kind.__name__, kind)
    monkeypatch.setattr(kind, "__module__", module)


def test_types_are_read_without_the_libraries_that_wrote_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AttributeDict(dict[str, Any]): ...

    class DictConfig: ...

    for kind in (AttributeDict, DictConfig):
        kind.__qualname__ = kind.__name__
    config = DictConfig()
    config.__dict__["_content"] = {"lr": 0.1}
    beside = AttributeDict(lr=0.1, inner=AttributeDict(width=3), config=config)
    with monkeypatch.context() as installed:
        pretend_installed(installed, "lightning.pytorch.utilities.parsing", AttributeDict)
        pretend_installed(installed, "omegaconf.dictconfig", DictConfig)
        torch.save({"model": STATE, "hyper_parameters": beside}, tmp_path / "a.ckpt")
    found = read_torch(tmp_path / "a.ckpt")["hyper_parameters"]
    assert type(found.pop("config")) is LeftOut
    assert found == {"lr": 0.1, "inner": {"width": 3}}


@pytest.mark.parametrize("name", SAFE_GLOBALS)
def test_no_stand_in_is_the_type_it_stands_for(name: str) -> None:
    assert SAFE_GLOBALS[name].__module__ == "tracin_core.checkpoints.safe_globals"


@pytest.mark.parametrize(
    "evil",
    [
        Calling(exec, "raise SystemExit"),
        argparse.Namespace(func=Calling(getattr, "a", "upper")),
        defaultdict(partial(print, "made")),
        np.array([Calling(eval, "1")], dtype=object),
    ],
    ids=["a call", "in a namespace", "what makes the values", "in an array"],
)
def test_what_may_run_code_is_refused_wherever_it_is(evil: Any, tmp_path: Path) -> None:
    torch.save({"model": STATE, "beside": evil}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"run (exec|getattr|eval) |holds functools.part"):
        read_torch(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before zip"])
def test_a_call_of_the_system_is_named_and_not_made(zipped: bool, tmp_path: Path) -> None:
    evil = Calling(os.mkdir, str(tmp_path / "made"))
    path = tmp_path / "a.pt"
    torch.save(
        {"model": STATE, "args": argparse.Namespace(out=evil)},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(CheckpointError, match=r"would run (posix|nt).mkdir on your machine"):
        read_torch(path)
    assert not (tmp_path / "made").exists()


# The first says of objects that they are none, the second names a field a megabyte further on:
# NumPy's own functions read from there, and the process ends.
POINTERS = {
    "an object": ("O", (4, "|", None, None, None, -1, -1, 0)),
    "a field": ("V8", (4, "|", None, ("a",), {"a": (np.dtype("f8"), 1 << 20)}, 8, 1, 16)),
}


@pytest.mark.parametrize("name", POINTERS)
def test_a_number_cannot_point_into_memory(name: str, tmp_path: Path) -> None:
    kind, state = POINTERS[name]

    class Kind:
        def __reduce__(self) -> Any:
            return np.dtype, (kind, False, True), state

    value = Calling(np._core.multiarray.scalar, Kind(), b"\x41" * 8)
    assert type(save_and_read(tmp_path / "a.pt", value)) is LeftOut


def test_nothing_stays_allowed_and_nothing_is_taken_away(tmp_path: Path) -> None:
    torch.save({"model": STATE, "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pt")
    before = set(torch.serialization.get_safe_globals())
    read_torch(tmp_path / "a.pt")
    assert set(torch.serialization.get_safe_globals()) == before
    with torch.serialization.safe_globals([argparse.Namespace]):
        assert read_torch(tmp_path / "a.pt")["args"].lr == 0.1
        assert argparse.Namespace in torch.serialization.get_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pt", weights_only=True)


def test_threads_do_not_take_the_stand_ins_from_each_other(tmp_path: Path) -> None:
    torch.save({"model": STATE, "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pt")
    failed: list[Exception] = []

    def read_often() -> None:
        try:
            for _ in range(20):
                read_torch(tmp_path / "a.pt")
        except CheckpointError as error:
            failed.append(error)

    threads = [threading.Thread(target=read_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_all_types_that_stand_in_the_way_are_named_at_once(tmp_path: Path) -> None:
    torch.save(
        {"model": STATE, "hyper_parameters": {"loss": nn.CrossEntropyLoss(), "act": nn.ReLU}},
        tmp_path / "a.ckpt",
    )
    with pytest.raises(CheckpointError, match=r"loss.CrossEntropyLoss, .*ReLU.* weights_only=Fal"):
        read_torch(tmp_path / "a.ckpt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_other_programs_files_say_how_to_save_them(tmp_path: Path) -> None:
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(dict(STATE)))
    torch.save(STATE, tmp_path / "protocol.pt", pickle_protocol=4)
    for name in ("pickle.pt", "protocol.pt"):
        with pytest.raises(CheckpointError, match=r"by pickle itself, or .* pickle_protocol"):
            read_torch(tmp_path / name)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_are_refused_whatever_torch_raises(tmp_path: Path) -> None:
    beside = [argparse.Namespace(a=1), np.float64(1), defaultdict(list, {"a": [1]})]
    path = tmp_path / "a.pt"
    torch.save({"model": STATE, "beside": beside}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if "data.pkl" in name)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(members[name])
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in (members | {name: bytes(damaged)}).items():
                archive.writestr(member, content)
        try:
            read_torch(path)
        except CheckpointError:
            refused += 1
    assert refused > 15
