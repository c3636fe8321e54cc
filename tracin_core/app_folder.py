"""Where the screens lie: ``app.py`` with ``ui/``, ``pages/`` and ``.streamlit/``."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# The wheel puts them into the package (pyproject.toml), where nobody else's `ui` can be meant.
_INSTALLED = _PACKAGE / "_app"


def find_app_folder() -> Path:
    """Return the folder of ``app.py``: inside an installed package, else the checkout's own.

    Run as ``python FOLDER/app.py``, it finds its modules and Streamlit its configuration from
    any working directory.
    """
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
