"""From an example to the input of a person's own network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tracin_core.errors import ConfigurationError, InputError
from tracin_core.examples.images import read_image
from tracin_core.models.own import OwnModelConfig
from tracin_core.models.own_batches import TOKENS, as_tensors, stack_inputs
from tracin_core.models.own_code import own_code_explained
from tracin_core.own_model import OwnModel

if TYPE_CHECKING:
    from PIL.Image import Image

    from tracin_core.examples.encoding import Encoder
    from tracin_core.examples.records import Content


@dataclass(frozen=True, eq=False)
class OwnEncoder:
    """What makes the inputs of a person's network, in place of a built-in encoder.

    Attributes:
        own: The network with the person's transform.
        config: Where it comes from.
        rows: For tables without a transform, the encoder of the built-in networks.
    """

    own: OwnModel
    config: OwnModelConfig
    rows: Encoder | None = None

    def encode(self, content: Content) -> Any:
        """Return an example as a tensor, tuple or dictionary of tensors, without a batch axis.

        Raises:
            InputError: If the image is damaged.
            ConfigurationError: If the transform raises, or returns what no network takes.
        """
        if self.own.transform is None:
            return self._encode_by_default(content)
        given = read_image(content, channels=None) if isinstance(content, bytes) else content
        with own_code_explained(Path(self.config.file), "The transform"):
            made = self.own.transform(dict(given) if isinstance(given, Mapping) else given)
            return _drop_tokenizer_axis(as_tensors(made))

    def encode_batch(self, contents: Iterable[Content], positions: Sequence[int]) -> Any:
        """Return examples as a batch, examples along the first axis of each tensor.

        Args:
            contents: B examples.
            positions: Where they are in their split, for messages.

        Raises:
            InputError: If an image is damaged.
            ConfigurationError: If the transform or ``collate`` raises, or what the examples
                became does not fit into one batch.
        """
        items = [self.encode_at(c, p) for c, p in zip(contents, positions, strict=True)]
        return self.join(items, positions)

    def join(self, items: list[Any], positions: Sequence[int]) -> Any:
        """Return inputs as a batch, as ``encode_batch`` does.

        Args:
            items: B inputs, as ``encode`` made them.
            positions: Where they are in their split, for messages.

        Raises:
            ConfigurationError: If ``collate`` raises, or they do not fit into one batch.
        """
        if self.own.collate is None:
            padding = getattr(getattr(self.own.model, "config", None), "pad_token_id", None)
            return stack_inputs(items, positions, padding=padding or 0)
        with own_code_explained(Path(self.config.file), "The function collate"):
            return as_tensors(self.own.collate(items))

    def to_json(self) -> dict[str, Any]:
        """Return what ``open_own_encoder`` makes an equal encoder of, beside the network."""
        return {"kind": "own", "rows": None if self.rows is None else self.rows.to_json()}

    def encode_at(self, content: Content, position: int) -> Any:
        """Return an example as ``encode`` does; errors say at which position it is.

        Raises:
            InputError: If the image is damaged.
            ConfigurationError: If the transform raises, or returns what no network takes.
        """
        try:
            return self.encode(content)
        except InputError as error:
            raise InputError(f"Example at position {position}: {error}") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"Example at position {position}: {error}") from error

    def _encode_by_default(self, content: Content) -> Any:
        if isinstance(content, bytes):
            return _image_to_tensor(read_image(content, channels=None))
        if self.rows is not None:
            return self.rows.encode(content)  # type: ignore[arg-type]
        raise ConfigurationError(
            f"The network {self.config.title} comes without a transform; texts need one, because "
            "only you know how your training made numbers of them. Return "
            "tracin_core.OwnModel(network, transform=function), where the function takes a text."
        )


def check_repeatable(encoder: OwnEncoder, content: Content) -> None:
    """See that an example becomes the same input twice.

    Raises:
        ConfigurationError: If the transform has chance in it.
    """
    first, second = (_flatten(encoder.encode(content)) for _ in range(2))
    if len(first) != len(second) or any(
        a.shape != b.shape or not torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(first, second, strict=True)
    ):
        raise ConfigurationError(
            f"The transform of {encoder.config.title} made two different inputs of one example; "
            "expected the same each time, or scores would depend on chance. Return the "
            "transform of your evaluation, without random crops, flips or noise."
        )


def _image_to_tensor(image: Image) -> Tensor:
    """Return float32 ``(C, H, W)`` from 0 to 1."""
    import numpy as np

    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    pixels = pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.permute(2, 0, 1)
    return pixels.to(torch.float32) / 255.0


def _drop_tokenizer_axis(made: Any) -> Any:
    """Take off the batch axis that ``tokenizer(text, return_tensors="pt")`` puts before."""
    if not isinstance(made, dict) or TOKENS not in made:
        return made
    tensors = list(made.values())
    if all(isinstance(t, Tensor) and t.dim() == 2 and len(t) == 1 for t in tensors):
        return {name: value[0] for name, value in made.items()}
    return made


def _flatten(value: Any) -> list[Tensor]:
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in _flatten(item)]
    if isinstance(value, tuple):
        return [tensor for item in value for tensor in _flatten(item)]
    return [value]
