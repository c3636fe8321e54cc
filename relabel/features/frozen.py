"""Examples as the features that a frozen network makes of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from relabel.features.backbones.registry import (
    Backbone,
    BackboneRequest,
    FoundBackbone,
    find_backbone,
    load_backbone,
)
from relabel.features.records import Content
from relabel.text import Kind
from tracin_core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from torch import Tensor

# Backbones that stay in memory: a job needs one, a person looks at one or two runs at a time.
LOADED_BACKBONES = 2
# Features that are the same for all examples would be divided by zero.
SMALLEST_SPREAD = 1e-6
# Rows that are measured at a time, so that large caches need not be in memory.
ROWS_MEASURED = 4096
# The largest number that half precision has; no trained network's features come near it.
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class FeatureEncoder:
    """How an example becomes the features of a frozen network.

    What is stored are the features as the network makes them, in half precision; what a head
    takes are these standardised, each row then scaled to length one. With rows of one length an
    example's self-influence tells how wrong its label looks, and not how large its features are.

    Attributes:
        of: "image" or "text".
        backbone: Name of the frozen network.
        weights: Local file that a person gave; None where its published weights are used.
        weights_sha256: Digest of what its weights are read from.
        size: Pixels of its input's side, or most words that it reads; 0 for all.
        mean: Of every feature over the train split, subtracted; length ``D``.
        std: Standard deviations, divided by; length ``D``.
    """

    # Examples that are lost at most where the work is killed: about a second of it.
    rows_at_once: ClassVar[int] = 64

    of: Kind
    backbone: str
    weights: str | None = None
    weights_sha256: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or not min(self.std) > 0:
            raise ConfigurationError(
                f"Found {len(self.mean)} means and {len(self.std)} deviations of features, "
                "expected as many of both, the deviations positive. Train the project again."
            )

    @property
    def num_inputs(self) -> int:
        """Return how many features ``D`` an example has."""
        return len(self.mean)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Return the shape of what ``read`` returns."""
        return (self.num_inputs,)

    @property
    def stored_type(self) -> str:
        """Return the number type of what ``read`` returns, as NumPy names it."""
        return "float16"

    def encode(self, content: Content) -> Tensor:
        """Return an example as a head takes it, float32, shape ``(D,)``.

        Raises:
            InputError: If it cannot be read.
            ConfigurationError: If the network's weights are not at hand any more.
        """
        import torch

        return self.to_inputs(torch.from_numpy(self.read(content)))

    def read(self, content: Content) -> npt.NDArray[np.float16]:
        """Return the features of an example as they are stored, shape ``(D,)``.

        Raises:
            InputError: If it cannot be read.
            ConfigurationError: If the network's weights are not at hand any more.
        """
        row: npt.NDArray[np.float16] = self.read_many([content])[0]
        return row

    def read_many(self, contents: Sequence[Content]) -> npt.NDArray[np.float16]:
        """Return the features of some examples as they are stored, shape ``(B, D)``.

        Raises:
            InputError: If one cannot be read.
            ConfigurationError: If the network's weights are not at hand any more.
        """
        features = _open_backbone(self).compute(contents)
        if not np.isfinite(features).all():
            raise InputError(
                f"The backbone {self.backbone} makes numbers that are not finite of an example. "
                "Choose another one with --features."
            )
        return np.clip(features, -_LARGEST, _LARGEST).astype(np.float16)

    def to_inputs(self, stored: Tensor) -> Tensor:
        """Return what was read, one example or a batch of them, as a head takes it.

        Each row has the length one, or zero where every feature is at its mean.
        """
        import torch

        mean = torch.tensor(self.mean, dtype=torch.float32)
        std = torch.tensor(self.std, dtype=torch.float32)
        rows = (stored.to(torch.float32) - mean) / std
        return torch.nn.functional.normalize(rows, dim=-1)

    def measured(self, rows: npt.NDArray[np.float16]) -> FeatureEncoder:
        """Return the encoder that standardises by the train split.

        Args:
            rows: Of the train split as they are stored, shape ``(N, D)``; at least one.
        """
        total = np.zeros(self.num_inputs)
        for start in range(0, len(rows), ROWS_MEASURED):
            total += rows[start : start + ROWS_MEASURED].astype(np.float64).sum(axis=0)
        mean = total / len(rows)
        squares = np.zeros(self.num_inputs)
        for start in range(0, len(rows), ROWS_MEASURED):
            part = rows[start : start + ROWS_MEASURED].astype(np.float64)
            squares += ((part - mean) ** 2).sum(axis=0)
        std = np.sqrt(squares / len(rows)) + SMALLEST_SPREAD
        return replace(self, mean=_as_numbers(mean), std=_as_numbers(std))

    def cache_identity(self) -> dict[str, Any]:
        """Return what decides the stored rows: not where the weights lie, nor mean and spread."""
        return {
            "kind": "features",
            "of": self.of,
            "backbone": self.backbone,
            "weights_sha256": self.weights_sha256,
            "size": self.size,
        }

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return self.cache_identity() | {
            "weights": self.weights,
            "mean": list(self.mean),
            "std": list(self.std),
        }


def begin_features(
    kind: Kind, name: str = "auto", *, weights: str | None = None, allow_download: bool = False
) -> FeatureEncoder:
    """Return an encoder of a backbone that is at hand, which standardises nothing yet.

    Args:
        kind: "image" or "text".
        name: Of the backbone; "auto" for the best one that is at hand.
        weights: Local file in the place of its published weights.
        allow_download: Whether those may be fetched.

    Raises:
        ConfigurationError: If it is not at hand, or the weights are of another network.
    """
    found = find_backbone(kind, name, weights=weights, allow_download=allow_download)
    digest = found.hash()
    loaded = _load(found, digest)
    return FeatureEncoder(
        of=kind,
        backbone=found.request.name,
        weights=weights,
        weights_sha256=digest,
        size=loaded.size,
        mean=(0.0,) * loaded.dim,
        std=(1.0,) * loaded.dim,
    )


def _as_numbers(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Return numbers in single precision, as JSON writes them shortest."""
    return tuple(float(np.format_float_positional(value)) for value in values.astype(np.float32))


_loaded: OrderedDict[tuple[str, str], Backbone] = OrderedDict()
_loading = threading.Lock()


def _open_backbone(encoder: FeatureEncoder) -> Backbone:
    """Return an encoder's backbone, from memory if it was used lately.

    Raises:
        ConfigurationError: If its weights are missing, or not those that it was trained with.
    """
    with _loading:
        loaded = _loaded.get((encoder.backbone, encoder.weights_sha256))
    if loaded is not None:
        return loaded
    request = BackboneRequest(name=encoder.backbone, weights=encoder.weights)
    found = find_backbone(encoder.of, request.name, weights=request.weights)
    digest = found.hash()
    if digest != encoder.weights_sha256:
        raise ConfigurationError(
            f"The weights of {encoder.backbone} in {found.files[0]} have changed: their SHA-256 "
            f"begins with {digest[:12]}, expected {encoder.weights_sha256[:12]}. Put back the file "
            "that the project was trained with, or train it again."
        )
    return _load(found, digest)


def _load(found: FoundBackbone, digest: str) -> Backbone:
    """Put a backbone into memory, in the place of one that was not used lately."""
    key = (found.request.name, digest)
    with _loading:
        if key not in _loaded:
            _loaded[key] = load_backbone(found)
        _loaded.move_to_end(key)
        while len(_loaded) > LOADED_BACKBONES:
            _loaded.popitem(last=False)
        return _loaded[key]
