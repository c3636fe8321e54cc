"""A real S3 interface: moto's server, where it and the extra s3 are installed.

In an environment with both: ``pip install 'moto[server]' s3fs``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relabel.errors import StoreError
from relabel.runs.folder import RunFolder
from relabel.stores.address import StoreAddress, parse_address
from relabel.stores.fetch import fetch_run, list_runs
from relabel.stores.publish import publish_run
from relabel.stores.released import release_files
from relabel.stores.remote import RemoteFolder
from tests.relabel.runs import builders
from tests.relabel.stores.test_publishing import read_all

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto[server] is not installed")

# Of moto's and botocore's own programs, and of connections that their threads close at the end.
pytestmark = pytest.mark.filterwarnings("default")
PART = 20_000
KILLED_AT = 4  # parts


@pytest.fixture(scope="module")
def bucket() -> Iterator[StoreAddress]:
    """Start a server with an empty bucket, which the libraries find by their own variables."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem(use_listings_cache=False).mkdir("runs")
        yield parse_address("s3://runs/store")
    server.stop()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(builders, "COUNTS", {"train": 2000, "test": 40})
    place = tmp_path / "workspace" / "projects" / "p" / "runs" / "r1"
    return builders.make_run_folder(place).root


# The fourth part is killed while it is on its way: its first half is sent, the rest never is.
PUBLISH_AND_DIE = """
import asyncio.selector_events as events
import os, signal, sys
from pathlib import Path
from relabel.stores.address import parse_address
from relabel.stores.publish import publish_run
from relabel.stores.remote import RemoteFolder

write, count = RemoteFolder.write, 0
sending = events._SelectorSocketTransport.write
armed = False

def send(self, data):
    if armed and len(data) > 10_000:
        sending(self, bytes(data[:len(data) // 2]))
        os.kill(os.getpid(), signal.SIGKILL)
    return sending(self, data)

def counting(self, name, content):
    global count, armed
    count += 1
    armed = count >= int(sys.argv[3]) and len(content) > 10_000
    write(self, name, content)

events._SelectorSocketTransport.write = send
RemoteFolder.write = counting
publish_run(Path(sys.argv[1]), parse_address(sys.argv[2]), project="p", part_bytes=int(sys.argv[4]))
"""


def test_a_kill_leaves_whole_parts_alone_and_the_upload_goes_on(run, bucket, tmp_path, monkeypatch):
    command = [sys.executable, "-c", PUBLISH_AND_DIE, str(run), str(bucket)]
    killed = subprocess.run(
        [*command, str(KILLED_AT), str(PART)], capture_output=True, text=True, env=os.environ
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = RemoteFolder(bucket.below("p", "r1")).list_sizes()
    assert len(left) >= KILLED_AT - 1
    assert list_runs(bucket, "p") == []

    written = []
    write = RemoteFolder.write
    monkeypatch.setattr(
        RemoteFolder, "write", lambda self, *what: written.append(what[0]) or write(self, *what)
    )
    manifest = publish_run(run, bucket, project="p", part_bytes=PART)
    assert left.items() <= {name: part.size for name, part in manifest.parts.items()}.items()
    assert not left.keys() & set(written)
    assert len(left) + len(written) == len(manifest.parts) + 1
    assert list_runs(bucket, "p") == ["r1"]

    fetch_run(bucket, manifest, tmp_path / "back")
    assert read_all(tmp_path / "back") == read_all(run)
    vectors = RunFolder(run).vectors("last", "train").tobytes()
    assert release_files(run, bucket, manifest)
    assert RunFolder(run).vectors("last", "train").tobytes() == vectors
    assert "hush" not in (run / "stored.json").read_text()


def test_what_a_bucket_refuses_is_said(bucket, monkeypatch):
    with pytest.raises(StoreError, match="its bucket or folder does not exist"):
        RemoteFolder(parse_address("s3://nowhere/store")).write("x", b"x")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="See that the network reaches it"):
        RemoteFolder(parse_address("s3://runs/store")).list_sizes()
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(StoreError, match="Found no credentials for the store s3://runs/store"):
        RemoteFolder(parse_address("s3://runs/store")).list_sizes()
    s3fs.S3FileSystem.clear_instance_cache()
