"""Pictures over HTTP: re-encoded, bounded, only under the project's folder, only for our names."""

from __future__ import annotations

import io
from base64 import b64decode

import pytest
import streamlit as st
from PIL import Image
from sqlalchemy import update
from starlette.applications import Starlette
from starlette.testclient import TestClient

from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples, get_example
from relabel.db.projects import create_project
from relabel.db.schema import ExampleRow
from relabel.features.shown import resize_for_screen
from relabel.workspace import Workspace
from ui.server.pictures import (
    ROUTES,
    THUMBNAIL_EDGE,
    inline_thumbnails,
    is_allowed_host,
    picture_address,
    pixels_address,
    thumbnail_address,
)
from ui.session import forget_engines


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path))
    st.cache_resource.clear()
    forget_engines()
    workspace = Workspace(tmp_path, f"sqlite:///{tmp_path / 'tracin.db'}")
    engine = open_database(workspace.database_url)
    project = create_project(engine, slug="p", title="P", kind="image", classes=["a", "b"])
    media = workspace.media_folder("p")
    media.mkdir(parents=True)
    Image.new("L", (8, 8), 200).save(media / "small.png")
    Image.new("RGB", (2000, 500)).save(media / "wide.jpg")
    (media / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (tmp_path / "secret.png").write_bytes((media / "small.png").read_bytes())
    (media / "link.png").symlink_to(tmp_path / "secret.png")
    names = ["small.png", "wide.jpg", "broken.png", "link.png", "gone.png"]
    add_examples(
        engine,
        project.id,
        [NewExample(name, "train", n, 0, media_path=name) for n, name in enumerate(names)],
    )
    engine.dispose()
    yield TestClient(Starlette(routes=ROUTES), base_url="http://127.0.0.1")
    st.cache_resource.clear()
    forget_engines()


def test_a_small_picture_grows_by_a_whole_factor_with_hard_edges(client):
    response = client.get("/thumb/1")
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in response.headers["cache-control"]
    assert Image.open(io.BytesIO(response.content)).size == (THUMBNAIL_EDGE, THUMBNAIL_EDGE)


def test_a_large_picture_shrinks_and_keeps_its_proportions(client):
    response = client.get("/thumb/2")
    # A photograph stays one: as PNG it takes ten times as long.
    assert response.headers["content-type"] == "image/jpeg"
    shown = Image.open(io.BytesIO(response.content))
    assert shown.size == (THUMBNAIL_EDGE, THUMBNAIL_EDGE // 4)
    assert Image.open(io.BytesIO(client.get("/picture/2").content)).size == (1024, 256)


def test_a_picture_is_had_at_its_own_pixels(client):
    response = client.get("/pixels/2")
    assert response.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(response.content)).size == (2000, 500)
    assert Image.open(io.BytesIO(client.get("/pixels/1").content)).size == (8, 8)


def test_a_broken_picture_is_explained(client):
    response = client.get("/thumb/3")
    assert response.status_code == 422
    assert "Convert it" in response.text


@pytest.mark.parametrize("number", [4, 5, 6, 10**18, 10**30])
def test_what_is_missing_or_leads_outside_the_folder_is_not_found(client, number):
    assert client.get(f"/thumb/{number}").status_code == 404


@pytest.mark.parametrize("path", ["/thumb/../secret.png", "/thumb/x", "/thumb/-1"])
def test_a_path_is_no_number(client, path):
    assert client.get(path).status_code == 404


def test_another_name_for_this_server_is_refused(client):
    assert client.get("/thumb/1", headers={"host": "evil.example"}).status_code == 403
    assert not is_allowed_host("evil.example", ["127.0.0.1", "localhost"])
    assert is_allowed_host("localhost", ["127.0.0.1", "localhost"])
    assert is_allowed_host("anything", ["*"])


@pytest.mark.parametrize("address", [thumbnail_address, picture_address, pixels_address])
def test_the_address_changes_with_the_example_and_with_its_file(address):
    addresses = {address(1, key, f"{digest}.png") for key in "ab" for digest in ("12ab", "34cd")}
    assert len(addresses) == 4
    assert address(1, "a", None) is None


def test_a_key_with_another_file_is_shown_anew(client, tmp_path):
    """A project is deleted and imported again: number and key are the same, the picture is not."""
    engine = open_database(f"sqlite:///{tmp_path / 'tracin.db'}")
    before = get_example(engine, 1, None)
    old = thumbnail_address(before.id, before.key, before.media_path)
    shown = client.get(f"/{old}").content
    with engine.begin() as connection:
        connection.execute(
            update(ExampleRow).where(ExampleRow.id == before.id).values(media_path="wide.jpg")
        )
    after = get_example(engine, 1, None)
    engine.dispose()
    new = thumbnail_address(after.id, after.key, after.media_path)
    assert (after.id, after.key) == (before.id, before.key)
    assert new != old
    assert client.get(f"/{new}").content != shown


def test_an_odd_size_does_not_grow_beyond_the_edge():
    assert max(resize_for_screen(Image.new("L", (70, 30)), 160).size) == 140


def test_pictures_of_the_evidence_come_inside_its_answer(client):
    """As many as are asked for take one statement; what cannot be shown keeps its address."""
    found = inline_thumbnails([1, 2, 3, 4, 5, 6, 10**18])
    assert set(found) == {1, 2}
    for number, address in found.items():
        kind, _, content = address.partition(",")
        answer = client.get(f"/thumb/{number}")
        assert kind == f"data:{answer.headers['content-type']};base64"
        assert b64decode(content) == answer.content
