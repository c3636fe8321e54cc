"""A person's own network: the file, the function, the checkpoints, and their consent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from relabel.db.project_rules import Project
from relabel.fitting.options import WorkOptions
from relabel.models.user.code import suggest_functions
from relabel.models.user.config import (
    Consent,
    describe_own_model,
    hash_source,
    needs_consent,
    read_source,
)
from relabel.text import counted
from tracin_core.errors import ConfigurationError
from ui.session import system_account
from ui.uploads import read_path
from ui.wording import escape_markdown, moment_text

_WIDE = 520  # CSS pixels
# Lines of a file that are shown, those that fit without scrolling, and the height of more.
_LINES_SHOWN, _TALL, _HEIGHT = 500, 16, 320


def draw_own_model(project: Project) -> WorkOptions | None:
    """Draw what a person's own network needs; None until all of it is there and agreed to."""
    file = _draw_path("Python file", "own-file", "/home/ada/my_model.py")
    if file is None:
        return None
    try:
        source = read_source(file)
    except ConfigurationError as error:
        st.error(escape_markdown(str(error)))
        return None
    function = _choose_function(file, suggest_functions(source))
    folder = _draw_path(
        "Folder with checkpoints (leave it empty to train here)",
        "own-checkpoints",
        "/home/ada/lightning_logs/version_0/checkpoints",
    )
    rate = None
    if folder is not None:
        rate = st.number_input(
            "Learning rate, where the files lack it",
            min_value=0.0,
            value=None,
            format="%g",
            key="own-rate",
            placeholder="from the files",
            help="Only where checkpoints are to be weighted by it, as the paper does; scores are "
            "made without it, too.",
            width=260,
        )
    if function is None:
        return None
    agreed = draw_consent(file, source, place="train")
    if not agreed:
        return None
    try:
        model = describe_own_model(
            f"{file}:{function}",
            kind=project.kind,  # type: ignore[arg-type]
            task=project.task,  # type: ignore[arg-type]
            classes=project.classes,
        )
    except ConfigurationError as error:
        st.error(escape_markdown(str(error)))
        return None
    return WorkOptions(
        model=f"{model.file}:{model.function}",
        checkpoints=None if folder is None else str(folder),
        learning_rate_of_checkpoints=rate,
        run_my_code=agreed,
    )


def _draw_path(label: str, key: str, example: str) -> Path | None:
    typed = st.text_input(label, key=key, placeholder=example, persist_state="session", width=_WIDE)
    return read_path(typed or "")


def _choose_function(file: Path, functions: list[str]) -> str | None:
    if not functions:
        st.error(
            f"{escape_markdown(file.name)} defines no function. Expected one that returns the "
            "network. Add it, and press Enter in the path again."
        )
        return None
    return st.selectbox(
        "Function that returns the network", functions, key=f"own-function-{file}", width=_WIDE
    )


def draw_consent(file: Path, source: bytes, *, place: str) -> str | None:
    """Draw the consent to run a file, given anew for every file and for one that has changed.

    Args:
        file: The person's file.
        source: Its content, which is what they agree to.
        place: Part of the page, as several may ask.

    Returns:
        The digest of the content, once they have agreed.
    """
    digest = hash_source(source)
    agreed = st.checkbox(
        f"Run {escape_markdown(str(file))} as a program. It can do whatever the account "
        f"“{escape_markdown(system_account())}” can do on this machine, so run only what you know.",
        key=f"own-consent-{place}-{digest}-{file}",
    )
    if not agreed:
        st.caption("Without this the network cannot be made. Checkpoint files alone run nothing.")
    _show_source(file, source, digest, place=place)
    return digest if agreed else None


def _show_source(file: Path, source: bytes, digest: str, *, place: str) -> None:
    """Draw what exactly is agreed to, folded away."""
    lines = source.decode("utf-8", "replace").splitlines()
    with st.expander(f"What {escape_markdown(file.name)} holds", key=f"own-source-{place}"):
        changed = moment_text(datetime.fromtimestamp(file.stat().st_mtime, UTC))
        st.caption(
            f"{counted(len(lines), 'line')}, changed {changed}, SHA-256 {digest[:16]}… Your "
            "consent is for this content: once the file changes, you are asked again."
        )
        text = "\n".join(lines[:_LINES_SHOWN])
        st.code(text, language="python", height="content" if len(lines) < _TALL else _HEIGHT)
        if len(lines) > _LINES_SHOWN:
            further = counted(len(lines) - _LINES_SHOWN, "further line is", "further lines are")
            st.caption(f"{further} not shown.")


def agree_to_network(model: object, *, place: str) -> Consent:
    """Draw the consent where a saved network is a person's own; the built-in ones need none.

    Args:
        model: A network's saved configuration.
        place: As for ``draw_consent``.

    Returns:
        True where none is needed; else the digest of the file that they agreed to run, or False.
    """
    if not needs_consent(model) or not isinstance(model, Mapping):
        return True
    file, saved = Path(str(model.get("file"))), str(model.get("sha256"))
    try:
        source = read_source(file)
    except ConfigurationError as error:
        st.warning(escape_markdown(str(error)))
        return False
    if hash_source(source) != saved:
        st.warning(
            f"{escape_markdown(str(file))} has changed since this network was made (SHA-256 was "
            f"{saved[:8]}…, is {hash_source(source)[:8]}…), and is not run as it is now. Put it "
            "back as it was, or score anew with “My own network” under “Train a model”."
        )
        return False
    return draw_consent(file, source, place=place) or False
