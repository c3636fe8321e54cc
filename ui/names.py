"""Names that are suggested for new projects."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import count

_SLUG_LENGTH = 40  # characters of a suggested name
_ENDINGS = re.compile(r"(\.(csv|tsv|txt|parquet|jsonl|ndjson|json|npz|zip|tar|gz|arrow))+$")


def suggest_slug(name: str, taken: Collection[str] = ()) -> str:
    """Return a free name for a project, made of a file's or folder's name."""
    stem = _ENDINGS.sub("", name.lower())
    slug = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:_SLUG_LENGTH].strip("-") or "my-data"
    numbered = (f"{slug}-{number}" for number in count(2))
    return slug if slug not in taken else next(one for one in numbered if one not in taken)
