"""Change sound bytes as accidents and enemies do."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What parsers stumble over: ends, signs, markup, paths, numbers too large, bytes of no encoding.
TOKENS: tuple[bytes, ...] = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"'", b",", b";", b"\t", b"\\"),
    *(b"{", b"}", b"[", b"]", b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"-1"),
    *(b"../../../escaped", b"/etc/passwd", b"C:\\", b"~root", b"<script>", b"%s%n", b"${x}"),
    *("\u202e".encode(), "\ud7ff".encode(), b"\xed\xa0\x80", b"\xc0\xaf", b"\x1a", b"[" * 300),
)
INTEGERS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1)
NAMES = (
    *("../escaped.txt", "/escaped-by-fuzzing.txt", "..\\escaped.txt", "a/../../escaped.txt", ""),
    *(".", "con", "a" * 300, "\u202egpj.exe", "x/" * 200 + "y", "files/../manifest.json", "a//b"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 1e308, float("nan"), 2**70, -(2**63), "", "x" * 5000, "0001-01-01"),
    *("9999-12-31T23:59:59", "../escaped", "\0", "\u202e", [], {}, [[]], {"a": {"b": []}}, "1"),
)


def flip_bits(draw: random.Random, data: bytearray, _: bytes) -> None:
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def truncate(draw: random.Random, data: bytearray, _: bytes) -> None:
    del data[draw.randrange(len(data)) :]


def remove_piece(draw: random.Random, data: bytearray, _: bytes) -> None:
    start = draw.randrange(len(data))
    del data[start : start + draw.randint(1, 64)]


def repeat_piece(draw: random.Random, data: bytearray, _: bytes) -> None:
    start = draw.randrange(len(data))
    piece = bytes(data[start : start + draw.randint(1, 64)])
    data[start:start] = piece * draw.randint(1, 20)


def insert_token(draw: random.Random, data: bytearray, _: bytes) -> None:
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data) + 1)
        data[place:place] = draw.choice(TOKENS)


def replace_with_token(draw: random.Random, data: bytearray, _: bytes) -> None:
    place, token = draw.randrange(len(data)), draw.choice(TOKENS)
    data[place : place + len(token)] = token


def write_number(draw: random.Random, data: bytearray, _: bytes) -> None:
    """Put a number where sizes and counts are: at the front, at the end, or anywhere."""
    size, number = draw.choice([1, 2, 4, 8]), draw.choice(INTEGERS)
    value = struct.pack(draw.choice(["<q", ">q"]), number)
    value = value[:size] if draw.random() < 0.5 else value[-size:]
    front = draw.randrange(min(len(data), 128))
    place = draw.choice([front, max(0, len(data) - 1 - front), draw.randrange(len(data))])
    data[place : place + size] = value


def write_entry(draw: random.Random, data: bytearray, _: bytes) -> None:
    """Let the list of files of a zip archive claim something else; elsewhere, write a number."""
    entries = [found.start() for found in re.finditer(rb"PK\x01\x02|PK\x05\x06", data)]
    if not entries:
        write_number(draw, data, _)
        return
    # All that an entry has before its name; the packing is a small number.
    place = draw.choice(entries) + draw.choice([4, 6, 8, 10, 10, 12, 16, 20, 24, 28, 30, 38, 42])
    size = draw.choice([2, 4])
    number = draw.choice([*INTEGERS, *range(9, 15)])
    data[place : place + size] = struct.pack("<q", number)[:size]


def splice(draw: random.Random, data: bytearray, other: bytes) -> None:
    """Go on with another file from somewhere on."""
    if other:
        data[draw.randrange(len(data)) :] = other[draw.randrange(len(other)) :]


WAYS: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    flip_bits,
    truncate,
    remove_piece,
    repeat_piece,
    insert_token,
    replace_with_token,
    write_number,
    write_entry,
    splice,
)


def change_bytes(draw: random.Random, data: bytes, other: bytes = b"") -> bytes:
    """Return the bytes changed in one to three ways."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 3])):
        if changed:
            draw.choice(WAYS)(draw, changed, other)
    return bytes(changed)


def change_archive(
    draw: random.Random,
    data: bytes,
    change_member: Callable[[random.Random, str, bytes], bytes],
    seal: Callable[[dict[str, bytes]], None] | None = None,
) -> bytes:
    """Return a sound zip archive with other members: changed, renamed, twice, missing, links.

    Args:
        data: The archive.
        change_member: Returns a member's content changed.
        seal: Mends what depends on the contents, such as a list of digests.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    for _ in range(draw.randint(1, 3)):
        name = draw.choice(list(members))
        way = draw.choice(["change", "change", "rename", "remove", "add"])
        if way == "change":
            members[name] = change_member(draw, name, members[name])
        elif way == "rename":
            members[draw.choice(NAMES)] = members.pop(name)
        elif way == "remove" and len(members) > 1:
            del members[name]
        else:
            members[draw.choice(NAMES)] = members[name]
    if seal is not None:
        seal(members)
    buffer = io.BytesIO()
    linked = draw.choice(list(members)) if draw.random() < 0.1 else None
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name or "x")
            info.filename = name
            info.compress_type = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            # A symbolic link to what its content says.
            info.external_attr = (0o120777 if name == linked else 0o100644) << 16
            archive.writestr(info, content)
            if draw.random() < 0.03:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of the second one, which is meant
                    archive.writestr(info, content[::-1])
    return buffer.getvalue()


def change_json(draw: random.Random, value: Any) -> Any:
    """Return a JSON value with one to three places changed."""
    value = json.loads(json.dumps(value))
    for _ in range(draw.randint(1, 3)):
        holder, place = _choose_place(draw, value)
        if holder is None:
            return draw.choice(VALUES)
        way = draw.random()
        if way < 0.15:
            del holder[place]
        elif way < 0.6:
            holder[place] = change_little(draw, holder[place])
        else:
            holder[place] = draw.choice(VALUES)
    return value


def change_little(draw: random.Random, value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + draw.choice([-1, 1, 2, 1000])
    if isinstance(value, float):
        return value * draw.choice([-1, 0.5, 1e6])
    if isinstance(value, str):
        token = draw.choice(TOKENS).decode(errors="ignore")
        place = draw.randrange(len(value) + 1)
        return value[:place] + token + value[place:]
    return value


def _choose_place(draw: random.Random, value: Any) -> tuple[Any, Any]:
    places = list(_find_places(value))
    return draw.choice(places) if places else (None, None)


def _find_places(value: Any) -> Sequence[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for place, item in list(items):
        found.append((value, place))
        if isinstance(item, dict | list):
            found += _find_places(item)
    return found
