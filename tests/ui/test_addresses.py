"""Addresses that no page has lead to one that exists, wherever the app is served."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import Match, Mount
from starlette.testclient import TestClient

from ui.server.addresses import ADDRESSES


@pytest.mark.parametrize("below", ["", "/tools/review"])
@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("/", "/overview"),
        ("/?project=a%26b", "/overview?project=a%26b"),
        ("/queue/5", "/queue?page=5"),
        ("/inspect/17?project=docs", "/inspect?project=docs&example=17"),
        ("/review/²", "/review"),
        ("/queue/5/6", "/queue"),
        ("/queue/", "/queue"),
        ("/history/7", "/history"),
    ],
)
def test_it_leads_to_the_page(below: str, address: str, target: str):
    app = Starlette(routes=[Mount(below, routes=ADDRESSES)])
    client = TestClient(app, base_url="http://here")
    response = client.get(below + address, follow_redirects=False)
    assert response.status_code == 307
    assert response.next_request is not None
    assert str(response.next_request.url) == f"http://here{below}{target}"


@pytest.mark.parametrize("address", ["/queue/_stcore/health", "/runs/static/js/index.js"])
def test_what_streamlits_browser_side_tries_is_not_there(address: str):
    client = TestClient(Starlette(routes=ADDRESSES))
    assert client.get(address, follow_redirects=False).status_code == 404


@pytest.mark.parametrize(
    "address", ["/queue", "/queues/5", "/static/js/index.js", "/_stcore/health"]
)
def test_other_addresses_are_left_to_streamlit(address: str):
    scope = {"type": "http", "method": "GET", "path": address, "root_path": ""}
    assert all(route.matches(scope)[0] is Match.NONE for route in ADDRESSES)
