"""Pictures over HTTP: looked up by id in the database, re-encoded, never a path from outside."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import streamlit as st
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from relabel.db.examples import media_location, media_locations
from relabel.features.image import read_with_header
from tracin_core.errors import TracInError
from ui.server.visitors import find_visitor
from ui.session import get_engine, get_workspace

THUMBNAIL_EDGE = 160  # pixels; twice the size on screen, for displays of double density
PICTURE_EDGE = 1024  # pixels
PIXELS_EDGE = 4096  # pixels; what a photograph has beyond them is seldom what decides a label
_QUALITY = 92  # of a JPEG; its second loss cannot be seen
_LONGEST_NUMBER = 18  # digits
_CACHE = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}


def thumbnail_address(example_id: int, key: str, media_path: str | None) -> str | None:
    """Return the address of a small picture of an example.

    The example's stable key and its file, which is named by its content, stand in it, because
    browsers keep the answer for good: in another workspace on the same port, or in a project
    that was deleted and made again, the same number is another picture.

    Args:
        example_id: Its number.
        key: Its stable key.
        media_path: Its file below the project's media, or None.

    Returns:
        The address, or None where there is no file.
    """
    return _address("thumb", example_id, key, media_path)


def picture_address(example_id: int, key: str, media_path: str | None) -> str | None:
    """Return the address of a large picture of an example, as `thumbnail_address` does."""
    return _address("picture", example_id, key, media_path)


def pixels_address(example_id: int, key: str, media_path: str | None) -> str | None:
    """Return the address of an example's picture at its own pixels, as `thumbnail_address` does."""
    return _address("pixels", example_id, key, media_path)


def _address(kind: str, example_id: int, key: str, media_path: str | None) -> str | None:
    if not media_path:
        return None
    version = sha256(f"{key}\0{media_path}".encode()).hexdigest()[:12]
    return f"{kind}/{example_id}?v={version}"


def resize_for_screen(image: Image.Image, edge: int, *, grows: bool = True) -> Image.Image:
    """Return the picture so that its longer side is about ``edge`` pixels, or at most so many.

    Small pictures grow by a whole factor with hard pixel edges, as they are what the model saw;
    blurring an 8 by 8 digit would show a reviewer something else.
    """
    longest = max(image.size)
    if grows and longest * 2 <= edge:
        factor = edge // longest
        size = (image.width * factor, image.height * factor)
        return image.resize(size, Image.Resampling.NEAREST)
    if longest <= edge:
        return image
    shown = image.copy()
    shown.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    return shown


@dataclass(frozen=True)
class EncodedPicture:
    """A picture as it is sent.

    Attributes:
        content: Its bytes.
        media_type: What they are.
    """

    content: bytes
    media_type: str


def encode_picture(example_id: int, edge: int) -> EncodedPicture | None:
    """Return an example's picture encoded anew, or None if there is none to be had."""
    found = media_location(get_engine(), example_id)
    return None if found is None else _encode_file(*found, edge)


def inline_thumbnails(example_ids: Sequence[int]) -> dict[int, str]:
    """Return small pictures of examples as addresses that hold the picture itself.

    A review asks for sixty at once; each by an address of its own took as long to be asked for and
    looked up as to be decoded.

    Args:
        example_ids: Numbers of examples.

    Returns:
        The address by number. What has no picture, or one that cannot be read, is not there: its
        own address says why.
    """
    inlined = {}
    for example_id, (slug, media_path) in media_locations(get_engine(), example_ids).items():
        try:
            found = _encode_file(slug, media_path, THUMBNAIL_EDGE)
        except (TracInError, OSError):
            continue
        if found is not None:
            content = b64encode(found.content).decode("ascii")
            inlined[example_id] = f"data:{found.media_type};base64,{content}"
    return inlined


def _encode_file(slug: str, media_path: str, edge: int) -> EncodedPicture | None:
    root = get_workspace().media_folder(slug).resolve()
    path = (root / media_path).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        return None
    return _encode(path, edge, grows=edge < PIXELS_EDGE)


def _encode(path: Path, edge: int, *, grows: bool) -> EncodedPicture:
    """Encode a photograph as JPEG, which takes a tenth of the time of PNG, and all else as PNG.

    What was kept without loss is shown without, and so is what grows: its pixels have hard edges.
    """
    content = path.read_bytes()
    header, image = read_with_header(content, least=edge)
    shown = resize_for_screen(image, edge, grows=grows)
    buffer = io.BytesIO()
    is_grown = grows and 2 * max(header.width, header.height) <= edge
    if header.format == "JPEG" and not is_grown:
        shown.save(buffer, format="JPEG", quality=_QUALITY, subsampling=0)
        return EncodedPicture(buffer.getvalue(), "image/jpeg")
    shown.save(buffer, format="PNG")
    return EncodedPicture(buffer.getvalue(), "image/png")


def read_number(text: str) -> int | None:
    """Return the number in an address, or None where it can be no example's.

    Python refuses to read thousands of digits, and a database has none beyond 64 bits.
    """
    digits = text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER
    return int(text) if digits else None


def is_allowed_host(name: str | None, allowed: Sequence[str]) -> bool:
    """Return whether a request named this server as the configuration lets it be named.

    Streamlit checks this for its own connection only. Without it, a page of a site whose name
    was made to lead to this machine could read the pictures (DNS rebinding).
    """
    return not allowed or "*" in allowed or name in allowed


async def _respond(request: Request, edge: int) -> Response:
    if not is_allowed_host(request.url.hostname, st.get_option("server.allowedHosts") or ()):
        return PlainTextResponse("This server is not known by that name.", status_code=403)
    visitor = find_visitor(request)
    if isinstance(visitor, Response):
        return visitor
    try:
        number = read_number(request.path_params["id"])
        found = None if number is None else await run_in_threadpool(encode_picture, number, edge)
    except TracInError as error:
        return PlainTextResponse(str(error), status_code=422)
    if found is None:
        return PlainTextResponse("There is no picture with this number.", status_code=404)
    return Response(found.content, media_type=found.media_type, headers=_CACHE)


async def _thumbnail(request: Request) -> Response:
    return await _respond(request, THUMBNAIL_EDGE)


async def _picture(request: Request) -> Response:
    return await _respond(request, PICTURE_EDGE)


async def _pixels(request: Request) -> Response:
    return await _respond(request, PIXELS_EDGE)


ROUTES = [
    Route("/thumb/{id}", _thumbnail),
    Route("/picture/{id}", _picture),
    Route("/pixels/{id}", _pixels),
]
