from __future__ import annotations

import sys

import pytest

from relabel.errors import StoreError
from relabel.stores.address import parse_address, parse_lasting_address, redact
from relabel.stores.remote import RemoteFolder


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("s3://bucket/runs/", "s3://bucket/runs"),
        ("gs://bucket", "gs://bucket"),
        ("file:///mnt/share", "file:///mnt/share"),
        ("/mnt/share/", "file:///mnt/share"),
        (" memory://here ", "memory://here"),
    ],
)
def test_an_address_is_a_url_or_the_path_of_a_folder(said, meant):
    assert str(parse_address(said)) == meant
    assert parse_address(meant) == parse_address(said)


@pytest.mark.parametrize(
    "said", ["", "http://host/x", "s3://", "file://share", "simplecache::s3://b/x", "s3://[b/x"]
)
def test_what_is_no_store_is_refused_with_what_is_one(said):
    with pytest.raises(StoreError, match=r"Expected s3://BUCKET/FOLDER"):
        parse_address(said)


def test_a_store_that_ends_with_its_process_is_nowhere_to_publish():
    with pytest.raises(
        StoreError, match=r"memory://here.*gone when .* Expected s3://BUCKET/FOLDER"
    ):
        parse_lasting_address("memory://here")
    assert parse_lasting_address("s3://bucket/runs") == parse_address("s3://bucket/runs")


@pytest.mark.parametrize(
    "said",
    [
        "s3://AKIAEXAMPLE:hush@bucket/runs",
        "s3://hush@bucket/runs",
        "s3://bucket/runs?X-Amz-Signature=hush",
        "gs://bucket/runs?token=hush#part",
    ],
)
def test_an_address_with_credentials_is_refused_and_does_not_show_them(said):
    with pytest.raises(StoreError, match=r"carries a user, a query or a fragment") as caught:
        parse_address(said)
    assert "hush" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_what_libraries_say_is_shown_without_secrets():
    said = (
        "cannot open https://me:hush@host/x?sig=hush (aws_secret_access_key='hush', "
        "Token: hush) at host"
    )
    assert "hush" not in redact(said)
    assert redact(said).endswith("at host")
    assert redact("no such bucket: runs") == "no such bucket: runs"


@pytest.mark.parametrize(
    ("said", "library", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs")]
)
def test_a_missing_extra_is_named(monkeypatch, said, library, extra):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(StoreError, match=rf"pip install 'tracin-relabel\[{extra}\]'"):
        RemoteFolder(parse_address(f"{said}://bucket/runs")).list_sizes()
