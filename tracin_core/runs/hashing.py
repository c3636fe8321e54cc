"""What a run was made from, as short digests: files, program, configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import tracin_core

_PACKAGE = Path(tracin_core.__file__).parent
# Packages that decide what the numbers are; a change of the screens or the database is no
# reason to score again.
_SCORING_PACKAGES = (
    "examples",
    "fitting",
    "gradients",
    "influence",
    "models",
    "runs",
    "scoring",
    "training",
)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON object, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def describe_code_version() -> str:
    """Return the program's version and a digest of the modules that decide the scores."""
    digest = hashlib.sha256()
    for package in _SCORING_PACKAGES:
        for path in sorted((_PACKAGE / package).rglob("*.py")):
            digest.update(path.relative_to(_PACKAGE).as_posix().encode())
            digest.update(path.read_bytes())
    return f"{tracin_core.__version__}+{digest.hexdigest()[:12]}"


def make_run_key(digest: str, created_at: datetime) -> str:
    """Name a run after its day and what it was made from, such as ``20260102-1a2b3c4d``."""
    return f"{created_at:%Y%m%d}-{digest[:8]}"
