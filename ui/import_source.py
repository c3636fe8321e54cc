"""Where a file lies that the app is to read: a path on the server's machine, or an upload."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from tracin_core.files import expand_path
from tracin_core.housekeeping.uploads import remove_upload
from tracin_core.sources.formats import describe_importers
from ui.failures import told_on_page
from ui.plain_text import escape_markdown
from ui.session import get_workspace, system_account
from ui.uploads import MAX_MEGABYTES, hold_upload, list_upload_types, receive_upload

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
        format_func=lambda one: _PLACES[one],
        default="path",
        required=True,
        key=f"{name}-place",
    )
    if place == "upload":
        return _choose_upload(name, types, unpack=unpack)
    return _choose_path(name, label, example)


def forget_upload(name: str) -> None:
    """Let go of an upload, whose file belongs to a job from now on, and empty the uploader."""
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
    with told_on_page():
        return _whole_path(text)
    return None


def _whole_path(text: str) -> Path | None:
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
        with told_on_page(), st.spinner("Receiving the file"):
            path = receive_upload(get_workspace(), upload.name, upload, unpack=unpack)
            st.session_state[kept_key] = (upload.file_id, path)
            # Goes with the session, and lets the upload go with it.
            st.session_state[f"{name}-held"] = hold_upload(get_workspace(), path)
    found: tuple[str, Path] | None = st.session_state.get(kept_key)
    return None if found is None else found[1]
