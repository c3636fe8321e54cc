"""Where the review's screen asks between two runs of the page, which would draw every widget again.

Only our own page may ask (`ui.server.guard`), and in JSON, which no form of another page can send.
Where people sign in, who asks is read from the cookie, whatever a body says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from relabel.db.team.reviewers import Identity
from tracin_core.errors import TracInError
from ui.server.visitors import find_visitor

LONGEST_BODY = 1_000_000  # bytes; fifty notes and what is around them
Body = dict[str, Any]


async def _read_body(request: Request) -> Body | None:
    """Return the JSON object of a request, or None where it is none or too long."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > LONGEST_BODY:
            return None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


async def _respond(request: Request, answer: Callable[[Body, Identity | None], Body]) -> Response:
    visitor = find_visitor(request)
    if isinstance(visitor, Response):
        return visitor
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return PlainTextResponse("Expected JSON.", status_code=415)
    body = await _read_body(request)
    if body is None:
        return PlainTextResponse("Expected a JSON object of at most 1 MB.", status_code=400)
    try:
        found = await run_in_threadpool(answer, body, visitor)
    except TracInError as error:
        return PlainTextResponse(str(error), status_code=422)
    headers = {"Cache-Control": "no-store"}
    if found.pop("inlined", False):
        # Pictures are compressed already; trying again would take longer than reading them.
        headers["Content-Encoding"] = "identity"
    return JSONResponse(found, headers=headers)


# Loaded by the first question: what a page needs is no part of the server's start.
def _answer_suspects(body: Body, visitor: Identity | None) -> Body:
    from ui.review.answers import answer_suspects

    return answer_suspects(body, visitor)


def _answer_decisions(body: Body, visitor: Identity | None) -> Body:
    from ui.review.answers import answer_decisions

    return answer_decisions(body, visitor)


def _answer_leases(body: Body, visitor: Identity | None) -> Body:
    from ui.review.answers import answer_leases

    return answer_leases(body, visitor)


def _answer_batch(body: Body, visitor: Identity | None) -> Body:
    from ui.queue.batches import answer_batch

    return answer_batch(body, visitor)


def _answer_undo(body: Body, visitor: Identity | None) -> Body:
    from ui.queue.batches import answer_undo

    return answer_undo(body, visitor)


async def _suspects(request: Request) -> Response:
    return await _respond(request, _answer_suspects)


async def _decisions(request: Request) -> Response:
    return await _respond(request, _answer_decisions)


async def _batches(request: Request) -> Response:
    return await _respond(request, _answer_batch)


async def _undone_batches(request: Request) -> Response:
    return await _respond(request, _answer_undo)


async def _leases(request: Request) -> Response:
    return await _respond(request, _answer_leases)


REVIEW_ROUTES = [
    Route("/suspects", _suspects, methods=["POST"]),
    Route("/decisions", _decisions, methods=["POST"]),
    Route("/batches", _batches, methods=["POST"]),
    Route("/batches/undo", _undone_batches, methods=["POST"]),
    Route("/leases", _leases, methods=["POST"]),
]
