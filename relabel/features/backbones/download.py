"""Weights that libraries keep in caches of their own, fetched only where that is allowed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from relabel.features.backbones.registry import require
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


def find_hub_file(name: str, repository: str, file: str, *, allow_download: bool) -> Path:
    """Return a file of a repository of the Hugging Face hub, from its cache on this machine.

    Args:
        name: Of the backbone.
        repository: Owner and name.
        file: In it.
        allow_download: Whether it may be fetched.

    Raises:
        ConfigurationError: If it is not there and may not, or cannot, be fetched.
    """
    hub = require("huggingface_hub", "keeps these weights", "huggingface_hub")
    kept = hub.try_to_load_from_cache(repository, file)
    if isinstance(kept, str):
        return Path(kept)
    if not allow_download:
        raise refuse_download(name, f"{repository}/{file}", 0.0)
    try:
        return Path(hub.hf_hub_download(repository, file))
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreachable(f"{repository}/{file}", error) from error


def find_hub_folder(
    name: str, repository: str, patterns: Sequence[str], *, allow_download: bool
) -> Path:
    """Return the folder with a repository's files on this machine.

    Args:
        name: Of the backbone.
        repository: Owner and name.
        patterns: Of the files that are needed.
        allow_download: Whether they may be fetched.

    Raises:
        ConfigurationError: If they are not there and may not, or cannot, be fetched.
    """
    hub = require("huggingface_hub", "keeps these weights", "huggingface_hub")
    here_alone = not allow_download
    try:
        folder = hub.snapshot_download(
            repository, allow_patterns=list(patterns), local_files_only=here_alone
        )
    except (OSError, ValueError, RuntimeError) as error:
        if here_alone:
            raise ConfigurationError(
                f"The model {repository} of {name} is not on this machine. Agree to fetch it with "
                "--allow-download, or fetch its folder on another machine and give it as "
                "--features transformers:FOLDER."
            ) from error
        raise _unreachable(repository, error) from error
    return Path(folder)


def _unreachable(what: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{what} could not be fetched from the Hugging Face hub: {str(error)[:300]}. Try again, or "
        "fetch it on another machine and copy it here."
    )
