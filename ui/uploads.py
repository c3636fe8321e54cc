"""Where a file lies that the app is to read: a path on the server's machine, or an upload.

An upload is put into a folder of the workspace, unpacked with care, and removed afterwards.
"""

from __future__ import annotations

import itertools
import re
import secrets
import shutil
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO

import streamlit as st

from relabel.files import explain_disk_errors
from relabel.importers.addresses import is_address, refuse_address
from relabel.importers.formats.registry import IMPORTERS, describe_importers
from relabel.importers.preview import unpack_archive_apart
from relabel.importers.readers.backups import is_backup
from relabel.locks import FolderHold
from relabel.projects.uploads import FOLDER, remove_upload, upload_folder
from relabel.workspace import Workspace
from tracin_core.files import expand_path
from ui.failures import report_errors
from ui.session import get_workspace, system_account
from ui.wording import escape_markdown, segment_words

MAX_MEGABYTES = 500  # a browser's upload is held in memory; larger data is named by its path
_UNSAFE = re.compile(r"[^\w.() -]+")
_CHUNK = 2**20  # bytes
_UNPACKED = "-files"  # behind an archive's name: the folder with what was in it
_PARENTS = 2  # folders around a file that may be called after the data
# What tools, and people within one data set, call files and folders; places where any data lies.
_GENERIC = frozenset(
    {
        *("all", "annotation", "annotations", "at", "coco", "data", "dataset", "default", "image"),
        *("images", "img", "index", "instances", "label", "labeled", "labelled", "labels"),
        *("metadata", "output", "project", "result", "results", "sheet", "table"),
        *("split", "splits", "test", "train", "training", "val", "valid", "validation"),
        *("archive", "desktop", "documents", "download", "downloads", "export", "exported"),
        *("file", "files", "tmp", "upload"),
    }
)
_PLACES = {"path": "On this machine", "upload": "Upload"}


def choose_data() -> Path | None:
    """Draw the choice of the data to import; None until there is one."""
    types = list_upload_types()
    path = choose_file("import", "Path of a file or folder", "/home/ada/reviews.csv", types)
    if path is None:
        st.caption(
            f"What can be imported: {describe_importers()}. What was understood is shown first; "
            "nothing is written before you agree."
        )
    return path


def list_upload_types() -> list[str]:
    """Return the endings of files of data that may be uploaded, without the dot."""
    known = [ending for one in IMPORTERS.values() for ending in one.extensions]
    return list(dict.fromkeys(ending.removeprefix(".") for ending in (*known, ".gz", ".zip")))


def choose_file(
    name: str, label: str, example: str, types: Sequence[str] | None, *, unpack: bool = True
) -> Path | None:
    """Draw the choice of a path or an upload.

    Args:
        name: Keeps the choice apart from others, in keys.
        label: Of the path's field.
        example: A path as it may look.
        types: Endings that may be uploaded; None for any.
        unpack: Whether an uploaded archive of data is unpacked.

    Returns:
        Where it lies, or None until something is chosen.
    """
    place = st.segmented_control(
        "Where is it?",
        list(_PLACES),
        format_func=lambda one: segment_words(_PLACES[one]),
        default="path",
        required=True,
        key=f"{name}-place",
    )
    if place == "upload":
        return _choose_upload(name, types, unpack=unpack)
    return _choose_path(name, label, example)


def forget_upload(name: str) -> None:
    """Release an upload, whose file belongs to a job from now on, and empty the uploader."""
    for what in ("upload", "held"):
        st.session_state.pop(f"{name}-{what}", None)
    st.session_state[f"{name}-number"] = st.session_state.get(f"{name}-number", 0) + 1


def _choose_path(name: str, label: str, example: str) -> Path | None:
    typed = st.text_input(label, key=f"{name}-path", placeholder=example, persist_state="session")
    st.caption(
        f"On the machine that the app runs on ({escape_markdown(socket.gethostname())}), read with "
        f"the rights of its account {escape_markdown(system_account())}."
    )
    return read_path(typed or "")


def read_path(typed: str) -> Path | None:
    """Return a typed path, or None where there is none, or none that can be meant."""
    # Pasted from a file manager, a path often comes in quotes.
    text = typed.strip().strip("\"'")
    if not text:
        return None
    with report_errors():
        return _whole_path(text)
    return None


def _whole_path(text: str) -> Path | None:
    if is_address(text):
        raise refuse_address(Path(text))
    path = expand_path(text)
    if path.is_absolute():
        return path
    st.error(
        f"Found the path “{escape_markdown(text[:200])}”. Expected a whole one, from the top of "
        "the disk, as a file manager copies it."
    )
    return None


def _choose_upload(name: str, types: Sequence[str] | None, *, unpack: bool) -> Path | None:
    kept_key = f"{name}-upload"  # (the browser's name for the file, where it lies)
    upload = st.file_uploader(
        f"File ({', '.join(types)})" if types else "File",
        type=list(types) if types else None,
        key=f"{name}-uploader-{st.session_state.get(f'{name}-number', 0)}",
        max_upload_size=MAX_MEGABYTES,
    )
    st.caption(
        f"At most {MAX_MEGABYTES} MB; name larger data by its path. What is uploaded is removed "
        "when it has been taken in, or ten minutes after this page was closed."
    )
    kept = st.session_state.get(kept_key)
    if kept is not None and (upload is None or kept[0] != upload.file_id):
        remove_upload(get_workspace(), kept[1])
        del st.session_state[kept_key]
    if upload is None:
        return None
    if kept_key not in st.session_state:
        with report_errors(), st.spinner("Receiving the file"):
            path = receive_upload(get_workspace(), upload.name, upload, unpack=unpack)
            st.session_state[kept_key] = (upload.file_id, path)
            # Goes with the session, and lets the upload go with it.
            st.session_state[f"{name}-held"] = hold_upload(get_workspace(), path)
    found: tuple[str, Path] | None = st.session_state.get(kept_key)
    return None if found is None else found[1]


def receive_upload(
    workspace: Workspace, name: str, content: IO[bytes], *, unpack: bool = True
) -> Path:
    """Write an uploaded file into a folder of its own and unpack it if it is a zip of data.

    A backup stays as it is, whatever it is named and wherever it was uploaded.

    Args:
        workspace: Where the folder is made, under ``uploads``.
        name: The file's name as the browser gave it; untrusted.
        content: The file.
        unpack: Whether it is data, and an archive of it to be unpacked.

    Returns:
        What to import: the file, or what the archive holds.

    Raises:
        InputError: If the archive cannot be unpacked safely.
        WorkspaceError: If the disk is full.
    """
    folder = workspace.root / FOLDER / secrets.token_hex(8)
    path = folder / safe_name(name)
    with explain_disk_errors(folder):
        folder.mkdir(parents=True)
        hold = FolderHold(folder)
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(content, file, _CHUNK)
            if unpack and path.suffix.lower() == ".zip" and not is_backup(path):
                return _unpack(path)
            return path
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            hold.release()


def safe_name(name: str) -> str:
    """Return a name that is one plain file inside its folder on every system."""
    plain = _UNSAFE.sub("_", PurePosixPath(name.replace("\\", "/")).name).strip(" .")
    return plain[-120:].lstrip(" .") or "upload"


def name_of_data(workspace: Workspace, path: Path) -> str:
    """Return what data is called, for a project's name.

    A file or folder that is called like those of every data set, such as ``annotations.json`` or
    ``train``, says nothing: then the folder or the uploaded archive that it lies in does.

    Args:
        workspace: Where uploads lie.
        path: The data.
    """
    upload = upload_folder(workspace, path)
    if upload is None:
        own, names = path.name, [path.name, *_name_parents(path)]
    else:
        parts = list(path.relative_to(upload).parts) or [path.name]
        if (upload / parts[0]).is_dir():
            parts[0] = parts[0].removesuffix(_UNPACKED)
        own, names = parts[0], parts[::-1]
    return next((name for name in names if not _is_generic(name)), own)


def _name_parents(path: Path) -> list[str]:
    """Return the names of the folders around a file, nearest first, that a person chose."""
    home = Path.home()
    taken = itertools.takewhile(
        lambda folder: folder != home and folder not in home.parents, path.parents
    )
    return [folder.name for folder in itertools.islice(taken, _PARENTS)]


def _is_generic(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+", name.lower())
    return all(word in _GENERIC or f".{word}" in _endings() for word in words)


@cache
def _endings() -> frozenset[str]:
    return frozenset(f".{ending}" for ending in list_upload_types())


def hold_upload(workspace: Workspace, path: Path) -> FolderHold:
    """Keep an upload from being swept for as long as the result lives, as in a page's session."""
    folder = upload_folder(workspace, path)
    if folder is None:
        raise ValueError(f"{path} is no upload")
    return FolderHold(folder)


def _unpack(path: Path) -> Path:
    """Unpack an archive beside itself, remove it, and return what is to be imported."""
    found = unpack_archive_apart(path, path.with_name(f"{path.stem or 'upload'}{_UNPACKED}"))
    path.unlink()
    return found
