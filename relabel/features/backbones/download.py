"""Weights that libraries keep in caches of their own, fetched only where that is allowed."""

from __future__ import annotations

import os
from pathlib import Path

from tracin_core.errors import ConfigurationError


def find_torch_cache() -> Path:
    """Return the folder in which torch keeps the weights that it fetches."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or str(Path(base) / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def refuse_download(name: str, file: str, size: float) -> ConfigurationError:
    """Return the error for weights that are not here and may not be fetched.

    Args:
        name: Of the backbone.
        file: That is missing.
        size: In megabytes; 0 where it is not known.
    """
    told = f" ({size:,.0f} MB)" if size else ""
    return ConfigurationError(
        f"The weights of {name} are not on this machine: {file}{told} is missing. Agree to fetch "
        "them with --allow-download, or fetch the file on another machine and give it with "
        "--weights FILE, or choose another backbone with --features."
    )


def fetch(url: str, path: Path, digest: str | None, size: float) -> None:
    """Fetch a file as torchvision does; it is there whole or not at all. Imports torch.

    Args:
        url: Where it is published.
        path: Where it is put.
        digest: Beginning of its SHA-256, where that is known.
        size: In megabytes, for the message; 0 where it is not known.

    Raises:
        ConfigurationError: If it cannot be fetched, or is not the published one.
    """
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), digest, progress=False)
    except (OSError, RuntimeError, ValueError) as error:  # no connection, no such file, another
        told = f" ({size:,.0f} MB)" if size else ""
        raise ConfigurationError(
            f"{path.name}{told} could not be fetched from {url}: {error}. Try again, or fetch it "
            "on another machine and give it with --weights FILE."
        ) from error
