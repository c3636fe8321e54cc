"""Read the browser code that lies beside the components."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


def read_assets(*names: str) -> str:
    """Return the text of scripts or style sheets of this folder, one after the other.

    A component is one script, so what several share is put before each.
    """
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)
