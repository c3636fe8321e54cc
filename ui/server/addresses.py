"""Addresses that no page has, answered before Streamlit sees them.

Streamlit draws its default page for any address, and a blank one below a page's own address:
there the browser looks for the program at the wrong place. Leading on from a drawn page would add
a step that the Back button returns from at once; an answer of the server leaves none.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ui.navigation import PAGES

# What a number below a page's address can only mean.
_NUMBERED = {"queue": "page", "inspect": "example", "review": "example"}
# Below a page's address too, Streamlit's browser side asks for these, and takes 404 for an answer.
_STREAMLIT = ("_stcore", "static")


def _redirect(target: str, request: Request, **extra: str) -> Response:
    query = urlencode([*request.query_params.multi_items(), *extra.items()])
    # A relative address also holds where a proxy serves the app below a path of its own.
    return RedirectResponse(f"{target}?{query}" if query else target)


async def _open_overview(request: Request) -> Response:
    return _redirect("overview", request)


def _lead_up_to(name: str) -> Route:
    """Return the route from all addresses below a page's own to the page."""

    async def respond(request: Request) -> Response:
        rest = request.path_params["rest"]
        if rest.split("/")[0] in _STREAMLIT:
            return PlainTextResponse("There is nothing at this address.", status_code=404)
        target = "../" * (1 + rest.count("/")) + name
        if name in _NUMBERED and rest.isascii() and rest.isdecimal() and len(rest) <= 18:
            return _redirect(target, request, **{_NUMBERED[name]: rest})
        return _redirect(target, request)

    return Route(f"/{name}/{{rest:path}}", respond)


ADDRESSES = [Route("/", _open_overview), *map(_lead_up_to, PAGES)]
