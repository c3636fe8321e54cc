"""Public data sets by their names: fetched once, from stand-ins on this machine."""

from __future__ import annotations

import gzip
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from relabel.importers import addresses
from relabel.importers.addresses import HubAddress, fetch_named, read_hub_address
from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.workspace import Workspace
from tests.relabel.importers.readers.test_saved_datasets import save_to_disk
from tests.relabel.importers.readers.test_torchvision_sets import mnist
from tracin_core.errors import InputError


class Quiet(SimpleHTTPRequestHandler):
    """Serves the files of a folder, and says nothing."""

    def log_message(self, *said: object) -> None:
        pass


@pytest.fixture
def workspace(tmp_path):
    return Workspace(root=tmp_path / "workspace", database_url="sqlite://")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Serve MNIST's files as its own servers do, and name them to torchvision."""
    from torchvision import datasets

    mnist(tmp_path / "served")
    resources = []
    for file in sorted((tmp_path / "served" / "MNIST" / "raw").iterdir()):
        packed = file.with_name(f"{file.name}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
        digest = hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()
        resources.append((packed.name, digest))
    serve = partial(Quiet, directory=str(packed.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), serve)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    yield packed
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_set_of_torchvision_is_fetched_once_and_imported(workspace, mirror):
    told: list[str] = []
    # What a path makes of two slashes.
    said = Path("torchvision://MNIST")
    folder, options = fetch_named(said, ImportOptions(), workspace, told.append)
    assert folder == workspace.root / "downloads" / "torchvision" / "MNIST"
    assert open_source(folder, options).preview().counts == {"train": 30, "test": 10}
    mirror.unlink()
    assert fetch_named(said, ImportOptions(), workspace, told.append) == (folder, options)
    assert [line.split()[0] for line in told] == ["Fetching", "Fetched"]


def test_files_of_another_digest_leave_nothing_behind(workspace, mirror):
    mirror.write_bytes(gzip.compress(b"another file"))
    with pytest.raises(InputError, match=r"torchvision://MNIST could not be fetched.*a network"):
        fetch_named(Path("torchvision://mnist"), ImportOptions(), workspace, print)
    assert list((workspace.root / "downloads" / "torchvision").iterdir()) == []
    with pytest.raises(InputError, match=r"that can be fetched. Expected one of: MNIST"):
        fetch_named(Path("torchvision://Imagenot"), ImportOptions(), workspace, print)


class Hub:
    """Stands for the library `datasets`: has one data set with two parts."""

    __version__ = "4.5.0"

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def load_dataset(self, name, config, *, split, revision):
        self.asked.append((name, config, split, revision))
        if name == "gone":
            raise ConnectionError("Couldn't reach 'gone' on the Hub (LocalEntryNotFoundError)")
        return SimpleNamespace(save_to_disk=self.save, split=split)

    def DatasetDict(self, parts):  # noqa: N802
        self.parts = list(parts)
        return SimpleNamespace(save_to_disk=self.save)

    def save(self, folder):
        texts = [f"text of number {n} is here" for n in range(12)]
        table = pa.table({"text": texts, "label": [n % 2 for n in range(12)]})
        names = {"_type": "ClassLabel", "names": ["bad", "good"]}
        save_to_disk(Path(folder), table, {"text": {"_type": "Value"}, "label": names})


@pytest.fixture
def hub(monkeypatch):
    found = Hub()
    monkeypatch.setitem(__import__("sys").modules, "datasets", found)
    monkeypatch.setattr(addresses, "find_spec", lambda name: True)
    return found


def test_a_data_set_of_the_hub_is_loaded_by_what_its_address_says(workspace, hub):
    said = Path("hf://datasets/ann/reviews@v1.2?config=short&split=train,test[:10]")
    folder, options = fetch_named(said, ImportOptions(), workspace, print)
    assert hub.asked == [("ann/reviews", "short", one, "v1.2") for one in ("train", "test[:10]")]
    assert hub.parts == ["train", "test"]
    assert folder.parent == workspace.root / "downloads" / "hub"
    assert open_source(folder, options).preview().class_counts == {"bad": 6, "good": 6}
    other, _ = fetch_named(Path("hf://datasets/reviews"), ImportOptions(), workspace, print)
    assert (hub.asked[-1], other != folder) == (("reviews", None, None, None), True)


def test_what_cannot_be_fetched_is_said_with_the_way_out(workspace, hub, monkeypatch):
    with pytest.raises(InputError, match=r"could not be fetched .Couldn't reach.*save_to_disk"):
        fetch_named(Path("hf://datasets/gone"), ImportOptions(), workspace, print)
    (workspace.root / "mine").mkdir()
    monkeypatch.chdir(workspace.root)
    with pytest.raises(InputError, match="mine is also a file or folder"):
        fetch_named(Path("hf://datasets/mine"), ImportOptions(), workspace, print)
    monkeypatch.setattr(Hub, "__version__", "3.6.0")
    with pytest.raises(InputError, match=r"3\.6\.0, which may run programs"):
        fetch_named(Path("hf://datasets/reviews"), ImportOptions(), workspace, print)
    monkeypatch.setattr(addresses, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tracin-relabel\[hub\]'"):
        fetch_named(Path("hf://datasets/reviews"), ImportOptions(), workspace, print)
    assert list((workspace.root / "downloads" / "hub").iterdir()) == []


@pytest.mark.parametrize(
    ("address", "way"),
    [
        ("hf://datasets/reviews", r"pip install 'tracin-relabel\[hub\]'"),
        ("torchvision://CIFAR10", "pip install torchvision"),
    ],
)
def test_a_missing_library_is_said_before_anything_is_fetched(workspace, monkeypatch, address, way):
    monkeypatch.setattr(addresses, "find_spec", lambda name: None)
    told: list[str] = []
    with pytest.raises(InputError, match=way):
        fetch_named(Path(address), ImportOptions(), workspace, told.append)
    assert told == []
    assert not (workspace.root / "downloads").exists()


def test_addresses_are_read_and_others_are_refused(tmp_path):
    assert read_hub_address("datasets/imdb") == HubAddress("imdb")
    assert read_hub_address("datasets/a/b@refs%2Fpr%2F1").revision == "refs/pr/1"
    for rest in ("imdb", "datasets/a/b/c", "datasets/", "datasets/a?name=b", "datasets/../.."):
        with pytest.raises(InputError, match=r"names no data set. Expected hf://datasets/NAME"):
            read_hub_address(rest)
    path = tmp_path / "own"
    workspace = Workspace(root=tmp_path, database_url="sqlite://")
    assert fetch_named(path, ImportOptions(), workspace, print) == (path, ImportOptions())
    with pytest.raises(InputError, match="The command line fetches it"):
        open_source(Path("hf://datasets/imdb"), ImportOptions())
