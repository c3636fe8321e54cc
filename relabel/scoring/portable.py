"""What a worker opens anew instead of receiving it: networks, memory maps, the database.

A network travels as its description, so that a person's own, whose functions no other process can
import, is loaded from its file there; encoded examples as the paths of their files. Weights come
from the checkpoints. The paths must lead to the same files wherever a worker is. Imports torch.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from sqlalchemy import Engine, make_url

from relabel.db.engine import open_database
from relabel.fitting.network import MadeNetwork, TrainedNetwork, make_network
from relabel.models.user.config import OwnModelConfig
from relabel.runs.config import TargetScale
from relabel.workspace import DATABASE_VARIABLE
from tracin_core.errors import ConfigurationError
from tracin_core.portable import Portable

_Recipe = Mapping[str, Any]


def pack_portable(values: Mapping[str, Any], network: TrainedNetwork | None) -> tuple[Any, bytes]:
    """Return how a network is made, and some values around it, pickled.

    Args:
        values: By name. Parts of the network in them are left out.
        network: Whose parts they are; None pickles everything as it is.
    """
    file = io.BytesIO()
    _Pickler(file, network).dump(dict(values))
    return None if network is None else _describe(network), file.getvalue()


def open_portable(recipe: _Recipe | None, state: bytes) -> dict[str, Any]:
    """Return the values that ``pack_portable`` packed.

    Raises:
        ConfigurationError: If the file of a person's own network has changed meanwhile, or the
            database needs a password that this process does not have.
    """
    made = None if recipe is None else _make(recipe)
    values: dict[str, Any] = _Unpickler(io.BytesIO(state), made).load()
    return values


def _describe(network: TrainedNetwork) -> dict[str, Any]:
    config = network.model_config
    scale = network.target_scale
    return {
        "model": config.to_json(),
        "encoder": network.encoder.to_json(),
        # The driver has run this very file, because a person agreed to it.
        "agreed": config.sha256 if isinstance(config, OwnModelConfig) else False,
        "scale": None if scale is None else {"mean": scale.mean, "std": scale.std},
    }


def _make(recipe: _Recipe) -> MadeNetwork:
    scale = None if recipe["scale"] is None else TargetScale(**recipe["scale"])
    return make_network(recipe["model"], recipe["encoder"], recipe["agreed"]).scaled(scale)


class _Pickler(pickle.Pickler):
    """Leaves out what is opened anew."""

    def __init__(self, file: io.BytesIO, network: TrainedNetwork | None) -> None:
        super().__init__(file)
        self._network = network

    def persistent_id(self, found: Any) -> tuple[Any, ...] | None:
        network = self._network
        if network is not None:
            for name in ("model", "encoder"):
                if found is getattr(network, name):
                    return (name,)
            if isinstance(found, Portable) and found.value is network.loss:
                return ("loss", found.role)
        # A view of a part of one has another place in its file than it says.
        if isinstance(found, np.memmap) and isinstance(found.base, mmap.mmap):
            order = "C" if found.flags.c_contiguous else "F"
            place = (str(found.filename), found.dtype.str, found.shape, int(found.offset), order)
            return ("map", *place)
        if isinstance(found, Engine):
            return ("database", found.url.render_as_string(hide_password=True))
        return None

    def reducer_override(self, found: Any) -> Any:
        if isinstance(found, MappingProxyType):
            return MappingProxyType, (dict(found),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Opens what was left out."""

    def __init__(self, file: io.BytesIO, made: MadeNetwork | None) -> None:
        super().__init__(file)
        self._made = made

    def persistent_load(self, name: tuple[Any, ...]) -> Any:
        kind, *rest = name
        if kind == "map":
            path, dtype, shape, offset, order = rest
            return np.memmap(path, dtype, "r", offset, shape, order)
        if kind == "database":
            return open_database(_find_database(rest[0]))
        if kind == "loss":
            return Portable(self._made.loss, rest[0])  # type: ignore[union-attr]
        return getattr(self._made, kind)


def _find_database(url: str) -> str:
    """Return the URL of the database with its password, which does not travel."""
    if make_url(url).password is None:
        return url
    if DATABASE_VARIABLE in os.environ:
        return os.environ[DATABASE_VARIABLE]
    raise ConfigurationError(
        f"A worker reads examples from {url} and was not given its password. Expected the whole "
        f"address in its environment. Set {DATABASE_VARIABLE} where workers are started."
    )
