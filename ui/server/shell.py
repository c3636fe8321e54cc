"""The document behind every page's address: Streamlit's own, told at once where its server is.

Streamlit's browser side finds its server by asking. Opened at `/queue` it first asks below that
address, is refused, waits 100 ms, asks at the right place, and only with that answer opens its
connection. We know the place: what is one folder above a page. Told so, and told what Streamlit's
`host-config` would answer, it connects at once and asks beside it (`window.__streamlit`, which
Streamlit has for those who serve its document themselves).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from streamlit.file_util import get_static_dir

from ui.navigation import PAGES

# Relative, so that it also holds where a proxy serves the app below a path of its own. Messages
# from pages around ours are taken from our own origin only; Streamlit's default names its hosts.
_CONNECT_AT_ONCE = """<script>
      window.__streamlit = {
        BACKEND_BASE_URL: new URL(".", window.location.href).href,
        HOST_CONFIG: { allowedOrigins: [window.location.origin], useExternalAuthToken: false },
      }
    </script>
  """


@cache
def read_shell() -> str:
    """Return Streamlit's document with the server's place in it."""
    document = (Path(get_static_dir()) / "index.html").read_text(encoding="utf-8")
    # Its program is a module, which runs after every plain script of the document.
    return document.replace("</head>", f"{_CONNECT_AT_ONCE}</head>", 1)


async def _open_shell(_request: Request) -> Response:
    # Asked for each time, as Streamlit's own is: it names the files of the installed version.
    return HTMLResponse(read_shell(), headers={"Cache-Control": "no-cache"})


SHELLS = [Route(f"/{name}", _open_shell) for name in PAGES]
