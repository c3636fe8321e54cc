"""Who may ask the server, and what its answers say: in memory, and of a real server."""

from __future__ import annotations

import base64
import http.client
import os
import socket
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from app import allowed_hosts, read_origin
from scripts.serving import Server
from ui.server import guard
from ui.server.guard import HEADERS, Guard, is_own_origin

HOST = "127.0.0.1:8501"


async def say_done(_request):
    return PlainTextResponse("done")


async def say_hello(socket: WebSocket):
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.fixture
def client(monkeypatch) -> TestClient:
    options = {"server.corsAllowedOrigins": ["https://labels.example.org"]}
    monkeypatch.setattr(guard.st, "get_option", options.get)
    monkeypatch.setattr(guard, "is_host_allowed", lambda host: host in (HOST, "app"))
    methods = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"]
    routes = [Route("/", say_done, methods=methods), WebSocketRoute("/stream", say_hello)]
    app = Starlette(routes=routes, middleware=[Middleware(Guard)])
    return TestClient(app, base_url=f"http://{HOST}")


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://127.0.0.1:8501", "127.0.0.1:8501", True),
        ("http://127.0.0.1:8502", "127.0.0.1:8501", False),
        ("http://127.0.0.1", "127.0.0.1:8501", False),
        ("http://localhost:8501", "127.0.0.1:8501", False),
        ("https://labels.example.org", "labels.example.org", True),  # a proxy ended the TLS
        ("https://labels.example.org:443", "labels.example.org", True),
        ("http://labels.example.org", "labels.example.org:80", True),
        ("https://labels.example.org", "labels.example.org:80", False),
        ("http://LOCALHOST:8501", "localhost:8501", True),
        ("http://[::1]:8501", "[::1]:8501", True),
        ("http://[::1]:8502", "[::1]:8501", False),
        ("null", "127.0.0.1:8501", False),
        ("", "127.0.0.1:8501", False),
        ("file://", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501@evil.example", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501.evil.example", "127.0.0.1:8501", False),
        ("http://127.0.0.1:99999", "127.0.0.1:8501", False),
        ("http://[", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501", "", False),
    ],
)
def test_a_page_is_ours_by_its_name_and_its_port(origin, host, own):
    assert is_own_origin(origin, host) is own


def test_a_named_origin_is_ours_whatever_the_proxy_calls_us():
    assert is_own_origin("https://labels.example.org", "app:8501", ["https://labels.example.org/"])
    assert not is_own_origin(
        "https://other.example.org", "app:8501", ["https://labels.example.org"]
    )


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_what_changes_something_comes_from_our_own_pages(client, method):
    assert client.request(method, "/").status_code == 200  # a program sends no origin
    own = {"Origin": f"http://{HOST}"}
    assert client.request(method, "/", headers=own).status_code == 200
    refused = client.request(method, "/", headers={"Origin": "http://127.0.0.1:9999"})
    assert refused.status_code == 403
    assert "--origin" in refused.text


def test_a_page_of_another_port_cannot_open_the_connection(client):
    with pytest.raises(WebSocketDisconnect) as told:
        client.websocket_connect(
            f"ws://{HOST}/stream", headers={"Origin": "http://127.0.0.1:9999"}
        ).__enter__()
    assert told.value.code == 1008
    for origin in (f"http://{HOST}", "https://labels.example.org"):
        with client.websocket_connect(
            f"ws://{HOST}/stream", headers={"Origin": origin}
        ) as connection:
            assert connection.receive_text() == "hello"


def test_a_name_that_is_not_ours_is_refused_for_every_address(client):
    refused = client.get("/", headers={"Host": "evil.example"})
    assert refused.status_code == 403
    assert "allowedHosts" in refused.text


@pytest.mark.parametrize("headers", [{}, {"Host": "evil.example"}])
def test_every_answer_is_for_our_own_pages_only(client, headers):
    answer = client.get("/", headers=headers)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("text", ["labels.example.org", "ftp://a", "https://", "http://[", "*"])
def test_an_origin_that_is_none_is_refused_at_the_start(text):
    with pytest.raises(Exception, match="expected an address such as"):
        read_origin(text)


def test_an_origin_names_a_host_as_well():
    origin = read_origin("https://Labels.example.org:8443/review?x=1")
    assert origin == "https://labels.example.org:8443"
    assert allowed_hosts("127.0.0.1", [origin]) == ["127.0.0.1", "labels.example.org", "localhost"]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("workspace")) as running:
        yield running


def ask(server: Server, address: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", address, headers=headers)
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, names, answer.read()
    finally:
        connection.close()


def open_connection(server: Server, origin: str | None, host: str = "") -> int:
    """Ask for Streamlit's connection as a browser does, and return the status of the answer."""
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host or f'127.0.0.1:{server.port}'}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: streamlit, x",
        *([f"Origin: {origin}"] if origin is not None else []),
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return int(raw.recv(200).split()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "address",
    [
        *("/", "/queue", "/queue/nothing", "/thumb/1", "/picture/1", "/nowhere"),
        *("/_stcore/health", "/_stcore/host-config", "/static/nothing.js", "/media/nothing"),
        f"/thumb/{'9' * 5000}",
    ],
)
def test_a_real_server_marks_every_answer(server, address):
    status, headers, _ = ask(server, address)
    assert status < 500
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS


@pytest.mark.slow
def test_a_real_server_takes_no_connection_of_another_port(server):
    own = f"http://127.0.0.1:{server.port}"
    assert open_connection(server, own) == 101
    assert open_connection(server, None) == 101
    for origin in (f"http://127.0.0.1:{server.port + 1}", "http://localhost:8000", "null"):
        assert open_connection(server, origin) == 403, origin
    assert open_connection(server, "http://evil.example", "evil.example") == 403


@pytest.mark.slow
@pytest.mark.parametrize("address", ["/", "/queue", "/static/nothing.js", "/thumb/1"])
def test_a_real_server_is_known_by_its_own_names_only(server, address):
    status, _, text = ask(server, address, Host="evil.example")
    assert (status, b"allowedHosts" in text) == (403, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", ["9" * 5000, "9" * 19, "-1", "1e3", "%00", "%D9%A3", "..%2f..", "0"]
)
@pytest.mark.parametrize("kind", ["thumb", "picture", "pixels"])
def test_a_number_that_is_no_examples_is_not_found(server, kind, number):
    status, _, _ = ask(server, f"/{kind}/{number}")
    assert status in (307, 400, 404)
