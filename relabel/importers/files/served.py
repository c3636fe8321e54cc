"""Find the files of pictures that an annotation tool names by the address it served them at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from relabel.importers.columns.column_names import PICTURES
from relabel.importers.files.locating import list_folder

# What Label Studio puts before the name of an uploaded file, so that names differ.
_UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-(?=.)")
_FOLDERS = 20  # below the root, each of which may hold the pictures


def find_served(root: Path, address: str) -> str:
    """Return the path below a folder of the picture that was served at an address.

    The whole path is looked for first, then what remains of it without its first folders, in the
    folder itself and in those in it. A picture that lies at several such places is none of them.

    Args:
        root: The folder.
        address: As ``/data/upload/3/1f2e3d4c-cat.jpg``, ``/data/local-files/?d=pets/cat.jpg``,
            an address with a host, or a path.

    Returns:
        The path, with "/" between folders; where no picture is found, the address's own path if a
        tool served it, else the address.
    """
    parts = _split_address(address)
    if not parts or ".." in parts:
        return address
    folders = ["", *(f"{name}/" for name in list_folder(root)[0][:_FOLDERS])]
    for tail in _list_tails(parts):
        found = [folder + tail for folder in folders if _is_file(root / (folder + tail))]
        if len(found) == 1:
            return found[0]
        if found:
            break
    return "/".join(parts) if address.startswith("/data/") else address


def names_picture(value: object) -> bool:
    """Return whether a cell is the path or address of a picture."""
    if not isinstance(value, str):
        return False
    parts = _split_address(value)
    return bool(parts) and PurePosixPath(parts[-1]).suffix.lower() in PICTURES


def _split_address(address: str) -> tuple[str, ...]:
    """Return the folders and the name in an address; nothing where it cannot name a file."""
    if address.startswith("data:") or len(address) > 2000 or "\x00" in address or "\n" in address:
        return ()
    try:
        split = urlsplit(address.replace("\\", "/"))
        is_address = bool(split.scheme or address.startswith("/data/"))
        named = parse_qs(split.query).get("d", [""])[0] if is_address else ""
        path = named or (unquote(split.path) if is_address else address.replace("\\", "/"))
    except ValueError:
        return ()
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _list_tails(parts: tuple[str, ...]) -> Iterator[str]:
    """Yield a path, and what remains of it without its first folders, the longest first."""
    for start in range(len(parts)):
        tail = parts[start:]
        yield "/".join(tail)
        plain = _UPLOAD_MARK.sub("", tail[-1], count=1)
        if plain != tail[-1]:
            yield "/".join((*tail[:-1], plain))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
