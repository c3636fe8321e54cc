"""Read the browser code that lies beside the components."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


def read_asset(name: str) -> str:
    """Return the text of a script or style sheet of this folder."""
    return (_FOLDER / name).read_text(encoding="utf-8")
