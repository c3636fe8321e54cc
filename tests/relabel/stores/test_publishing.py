"""Runs in a store: published, stopped, damaged, read through the cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest

from relabel.errors import NotFoundError, RunFolderError, StoreError
from relabel.runs.folder import RunFolder
from relabel.stores.address import StoreAddress, parse_address
from relabel.stores.cache import LIMIT_VARIABLE, StoreCache
from relabel.stores.fetch import fetch_run, list_runs, read_manifest
from relabel.stores.manifest import MANIFEST, Manifest
from relabel.stores.publish import publish_run
from relabel.stores.released import release_files
from relabel.stores.remote import RemoteFolder
from relabel.triage.evidence import open_evidence
from tests.relabel.runs import builders

PART = 1000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builders, "COUNTS", {"train": 90, "test": 10})
        root = tmp_path_factory.mktemp("made") / "r1"
        folder = builders.make_run_folder(root)
        config = json.loads(folder.config_path.read_text()) | {"key": "r1"}
        folder.config_path.write_text(json.dumps(config))
    (root / ".begun.tmp").write_bytes(b"unfinished")
    (root / "empty").write_bytes(b"")
    return root


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "workspace" / "projects" / "p" / "runs" / "r1"))


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreAddress:
    if request.param == "file":
        return parse_address(str(tmp_path / "share"))
    fsspec.filesystem("memory").store.clear()
    return parse_address("memory://runs/here")


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def publish(run: Path, store: StoreAddress) -> Manifest:
    return publish_run(run, store, project="p", part_bytes=PART)


def count_writes(monkeypatch: pytest.MonkeyPatch, allowed: int = 10**9) -> list[str]:
    """Return the names of what is written from now on; a kill comes after so many."""
    written: list[str] = []
    write = RemoteFolder.write

    def counting(self: RemoteFolder, name: str, content: bytes) -> None:
        if len(written) == allowed:
            raise KeyboardInterrupt
        written.append(name)
        write(self, name, content)

    monkeypatch.setattr(RemoteFolder, "write", counting)
    return written


def test_a_run_comes_back_as_it_was(run, store, tmp_path):
    manifest = publish(run, store)
    assert list_runs(store, "p") == ["r1"]
    assert read_manifest(store, "p", "r1") == manifest
    there = RemoteFolder(store.below("p", "r1")).list_sizes()
    assert there.keys() == manifest.parts.keys() | {MANIFEST}
    assert len(manifest.parts) > 10
    assert all(there[name] == part.size <= PART for name, part in manifest.parts.items())
    fetch_run(store, manifest, tmp_path / "back")
    assert read_all(tmp_path / "back") == read_all(run)


def test_a_stopped_upload_shows_no_run_and_goes_on(run, store, monkeypatch):
    with monkeypatch.context() as patch:
        begun = count_writes(patch, allowed=7)
        with pytest.raises(KeyboardInterrupt):
            publish(run, store)
    assert list_runs(store, "p") == []
    with pytest.raises(NotFoundError, match="has no complete run r1 of project p; it has: none"):
        read_manifest(store, "p", "r1")
    written = count_writes(monkeypatch)
    manifest = publish(run, store)
    assert sorted(begun + written) == sorted([*manifest.parts, MANIFEST])
    assert written[-1] == MANIFEST
    written.clear()
    assert publish(run, store) == manifest
    assert written == [MANIFEST]


def test_what_a_changed_run_has_no_more_is_removed(run, store):
    publish(run, store)
    (run / "empty").unlink()
    np.save(run / "vectors-last-test.npy", np.zeros((10, 6), np.float32))
    manifest = publish(run, store)
    there = RemoteFolder(store.below("p", "r1")).list_sizes()
    assert there.keys() == manifest.parts.keys() | {MANIFEST}


def test_a_stopped_fetch_goes_on_and_mends_what_is_damaged(run, store, tmp_path, monkeypatch):
    manifest = publish(run, store)
    fetch_run(store, manifest, tmp_path / "back")
    (tmp_path / "back" / "run.json").unlink()
    (tmp_path / "back" / "vectors-all-test.npy").write_bytes(b"other")
    read = []
    reading = RemoteFolder.read
    monkeypatch.setattr(
        RemoteFolder, "read", lambda self, name: read.append(name) or reading(self, name)
    )
    fetch_run(store, manifest, tmp_path / "back")
    assert read_all(tmp_path / "back") == read_all(run)
    assert {name.split(".parts")[0] for name in read} == {"run.json", "vectors-all-test.npy"}


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_part_is_named_and_nothing_of_its_file_appears(run, store, tmp_path, damage):
    manifest = publish(run, store)
    part = manifest.find("vectors-last-train.npy").parts[1]
    remote = RemoteFolder(store.below("p", "r1"))
    if damage == "changed":
        remote.write(part.name, b"x" * part.size)
    else:
        remote.remove([part.name])
    said = "is damaged" if damage == "changed" else "is missing"
    with pytest.raises(StoreError, match=rf"{part.name} of run r1 in .* {said}"):
        fetch_run(store, manifest, tmp_path / "back")
    assert not (tmp_path / "back" / "vectors-last-train.npy").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"run": "r2"}, "is that of run r2"),
        ({"schema_version": 9}, "newer version"),
        ({"files": [{"name": "../../x", "size": 0, "sha256": "0" * 64, "parts": []}]}, "name '../"),
        ({"files": [{"name": ".x", "size": 0, "sha256": "0" * 64, "parts": []}]}, "name '.x'"),
        ({"files": [{"name": "x", "size": 1, "sha256": "0" * 64, "parts": []}]}, "not its size"),
        ({"files": [{"name": "x", "size": 0, "sha256": "0", "parts": []}]}, "digest '0'"),
        ({"files": [{}]}, "is damaged"),
        ({"files": 3}, "is damaged"),
    ],
)
def test_a_list_that_cannot_be_is_refused(run, change, said):
    store = parse_address("memory://runs/changed")
    values = json.loads(publish(run, store).to_json()) | change
    RemoteFolder(store.below("p", "r1")).write(MANIFEST, json.dumps(values).encode())
    with pytest.raises(StoreError, match=said):
        read_manifest(store, "p", "r1")


def test_a_released_run_is_read_through_the_cache(run, store, monkeypatch):
    folder = RunFolder(run)
    vectors = np.array(folder.vectors("last", "train"))
    shown = open_evidence(run).neighbours("train", 3, side="proponents", k=3)
    freed = release_files(run, store, publish(run, store))
    assert freed == vectors.nbytes + 128 + 90 * 8 * 4 + 128 + 10 * 14 * 4 + 2 * 128
    assert not list(run.glob("vectors-*"))
    np.testing.assert_array_equal(folder.vectors("last", "train"), vectors)
    assert open_evidence(run).neighbours("train", 3, side="proponents", k=3) == shown
    assert not list(folder.find_problems())
    cached = [path for path in (run.parents[3] / "cache").iterdir() if path.name[0] != "."]
    assert len(cached) == 4
    with pytest.raises(StoreError, match="Bring it back with `fetch`"):
        publish(run, store)
    monkeypatch.setenv(LIMIT_VARIABLE, "much")
    with pytest.raises(RunFolderError, match="Found 'much' in TRACIN_CACHE_GB"):
        folder.vectors("last", "train")


def test_nothing_is_released_that_the_store_does_not_give_back(run, store):
    part = publish(run, store).find("vectors-last-train.npy").parts[1]
    RemoteFolder(store.below("p", "r1")).write(part.name, b"x" * part.size)
    before = read_all(run)
    with pytest.raises(StoreError, match=f"{part.name} of run r1 in .* is damaged"):
        release_files(run, store, publish(run, store))
    assert read_all(run) == before


def test_the_cache_keeps_what_was_asked_for_last(run, tmp_path):
    store = parse_address("memory://runs/cached")
    manifest = publish(run, store)
    files = [manifest.find(f"signals-{split}.parquet") for split in ("train", "test")]
    files.append(manifest.find("probabilities-train.npy"))
    cache = StoreCache(tmp_path / "cache", sum(file.size for file in files) - 1)
    first, second = (cache.get(store, manifest, file) for file in files[:2])
    assert first.read_bytes() == (run / files[0].name).read_bytes()
    cache.get(store, manifest, files[0])
    third = cache.get(store, manifest, files[2])
    assert first.exists()
    assert third.exists()
    assert not second.exists()
    with pytest.raises(StoreError, match="Raise TRACIN_CACHE_GB"):
        StoreCache(tmp_path / "small", 10).get(store, manifest, files[0])


def test_a_store_that_refuses_or_fails_says_what_to_do(run, monkeypatch):
    store = parse_address("memory://runs/failing")

    class Failing:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def _strip_protocol(self, path: str) -> str:
            return path

        def find(self, *_: object, **__: object) -> None:
            raise self.error

    class NoCredentialsError(Exception):
        __module__ = "botocore.exceptions"

    for error, said in (
        (PermissionError("secret=hush"), "permission was refused"),
        (OSError("https://u:hush@host?token=hush broke"), "See that the network reaches it"),
        (NoCredentialsError("token=hush"), "Found no credentials for the store"),
    ):
        remote = RemoteFolder(store)
        monkeypatch.setitem(remote.__dict__, "_files", Failing(error))
        with pytest.raises(StoreError, match=said) as caught:
            remote.list_sizes()
        assert "hush" not in str(caught.value)
        assert caught.value.__cause__ is None
    remote = RemoteFolder(store)
    monkeypatch.setitem(remote.__dict__, "_files", Failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        remote.list_sizes()
