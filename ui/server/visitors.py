"""Who asks our own routes, which know nothing of Streamlit's sessions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from relabel.db.team.reviewers import Identity
from tracin_core.errors import TracInError
from ui.identity import needs_sign_in, read_signed_in


def find_visitor(request: Request) -> Identity | Response | None:
    """Return who has signed in, None where nobody has to, or the answer to whoever has not."""
    try:
        if not needs_sign_in():
            return None
    except TracInError as error:
        return PlainTextResponse(str(error), status_code=503)
    found = read_signed_in(request.cookies)
    if found is None:
        return PlainTextResponse("Sign in first: reload the page.", status_code=401)
    return found
