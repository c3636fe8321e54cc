"""Who may ask this server, and what a browser may do with its answers.

The app has no login, so the browser is the only gate, and it is open in three ways that Streamlit
leaves to whoever runs it. Any page may send requests here, and Streamlit's connection takes those
of every port of this machine; a page of any port could then decide in a reviewer's name. Any page
may show ours in a frame and lead clicks into it. Any page may show our pictures as its own.

So the name that is asked for must be one of ours (DNS rebinding), the page that asks must come
from here, port included, and every answer says that it is for our own pages only.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",
    # What older browsers read instead.
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    # An address names the example that somebody looks at.
    "Referrer-Policy": "same-origin",
}
_PORTS = {"http": 80, "https": 443}
# What a browser sends from any page without asking, and what changes nothing here.
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_POLICY_VIOLATION = 1008  # of the WebSocket protocol


class Guard:
    """Refuses what does not come from our own pages, and marks every answer as ours alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        fault = find_fault(scope)
        if scope["type"] == "websocket":
            if fault:
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            else:
                await self._app(scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = PlainTextResponse(fault, status_code=403) if fault else self._app
        await answer(scope, receive, send_marked)


def find_fault(scope: Scope) -> str:
    """Describe why a request is refused, for whoever set up a proxy; nothing where it is not."""
    headers = Headers(scope=scope)
    host = headers.get("host")
    if not is_host_allowed(host):
        return (
            "This server is not known by that name. Expected one of server.allowedHosts. Start it "
            "with --address, or name it there."
        )
    origin = headers.get("origin")
    if origin is None or (scope["type"] == "http" and scope["method"] in _SAFE_METHODS):
        return ""
    if is_own_origin(origin, host or "", st.get_option("server.corsAllowedOrigins") or ()):
        return ""
    return (
        "This request comes from a page of another place. Expected one of this server's own pages. "
        "Behind a proxy that changes names or ports, start with --origin and the address that "
        "people open."
    )


def is_own_origin(origin: str, host: str, allowed: Iterable[str] = ()) -> bool:
    """Return whether a page is one of ours: the same name, and the same port.

    Args:
        origin: What the browser says of the page: scheme, name and port.
        host: The name and port that it asks.
        allowed: Origins that whoever runs the server has named.
    """
    if origin in {one.strip().rstrip("/") for one in allowed}:
        return True
    try:
        page = urlsplit(origin)
        asked = urlsplit(f"//{host}")
        usual = _PORTS[page.scheme]
        # A proxy for https asks us by http; the usual port of the page's scheme stands for none.
        places = {(one.hostname, one.port or usual) for one in (page, asked)}
    except (ValueError, KeyError):
        return False
    return len(places) == 1 and page.hostname is not None and not (page.path or page.query)
