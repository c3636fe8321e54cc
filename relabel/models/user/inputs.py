"""The inputs of a person's own network: from an example, and from many a batch.

An input is a tensor, or a tuple or dictionary of tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from relabel.features.image import read_image
from relabel.models.user.code import explain_own_code_errors
from relabel.models.user.config import OwnModelConfig
from tracin_core.errors import ConfigurationError, InputError
from tracin_core.own_model import OwnModel

if TYPE_CHECKING:
    from PIL.Image import Image

    from relabel.features.encoding import Encoder
    from relabel.features.records import Content


# What tokenizers call the ids of the words, and which of them are not padding.
TOKENS = "input_ids"
MASK = "attention_mask"


def as_tensors(value: Any) -> Any:
    """Return tensors, arrays and numbers as tensors, in the structure they came in.

    Raises:
        ConfigurationError: If there is something else.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray | np.number | bool | int | float):
        return torch.as_tensor(value)
    if isinstance(value, Mapping):
        return {str(name): as_tensors(item) for name, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(v, bool | int | float) for v in value):
        return torch.tensor(value)
    if isinstance(value, tuple | list) and value:
        return tuple(as_tensors(item) for item in value)
    raise ConfigurationError(
        f"It returned {'nothing' if value is None else f'a {type(value).__name__}'}; expected a "
        "tensor, or a tuple or dictionary of tensors. End the transform of an image with "
        "torchvision's ToTensor(), and that of a text with a tokenizer."
    )


def stack_inputs(items: Sequence[Any], positions: Sequence[int], *, padding: int = 0) -> Any:
    """Return a batch, examples along the first axis of each tensor.

    In dictionaries with an ``attention_mask`` shorter sequences are padded at the end: the mask
    keeps the padding from changing anything.

    Args:
        items: B inputs, alike in structure.
        positions: Where they are in their split, for messages.
        padding: Id of the word that stands for padding.

    Raises:
        ConfigurationError: If they do not fit together.
    """
    first = items[0]
    if isinstance(first, Mapping):
        _require_same("keys", [_list_keys(item) for item in items], positions)
        return {
            name: _join([item[name] for item in items], positions, name, MASK in first, padding)
            for name in first
        }
    if isinstance(first, tuple):
        sizes = [len(i) if isinstance(i, tuple) else None for i in items]
        _require_same("number of tensors", sizes, positions)
        return tuple(_stack([item[at] for item in items], positions) for at in range(len(first)))
    return _stack(items, positions)


def _list_keys(item: Any) -> list[str]:
    return list(item) if isinstance(item, Mapping) else []


def _join(
    values: Sequence[Any], positions: Sequence[int], name: str, is_masked: bool, padding: int
) -> Tensor:
    """Stack one entry of dictionaries, padded where a mask tells what is padding."""
    lists = all(isinstance(value, Tensor) and value.dim() == 1 for value in values)
    if not (is_masked and lists) or len({value.shape for value in values}) == 1:
        return _stack(values, positions)
    filling = float(padding) if name == TOKENS else 0.0
    return pad_sequence(list(values), batch_first=True, padding_value=filling)


def _stack(values: Sequence[Any], positions: Sequence[int]) -> Tensor:
    if not all(isinstance(value, Tensor) for value in values):
        raise ConfigurationError(
            "The transform nests its tensors more than once; expected a tensor, or one tuple or "
            "dictionary of tensors. Make it flat, or pass a collate function that does."
        )
    _require_same("shape", [tuple(value.shape) for value in values], positions)
    return torch.stack(list(values))


def _require_same(what: str, found: Sequence[Any], positions: Sequence[int]) -> None:
    other = next((index for index, value in enumerate(found) if value != found[0]), None)
    if other is not None:
        raise ConfigurationError(
            f"The input of the example at position {positions[other]} has the {what} "
            f"{found[other]}, that at position {positions[0]} {found[0]}; expected the same for "
            "all. Make them alike in the transform (images by torchvision's Resize, texts by "
            f"padding, or by a dictionary with an {MASK}), or pass a collate function."
        )


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
        with explain_own_code_errors(Path(self.config.file), "The transform"):
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
        with explain_own_code_errors(Path(self.config.file), "The function collate"):
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
    """Check that an example becomes the same input twice.

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
    """Remove the batch axis that ``tokenizer(text, return_tensors="pt")`` puts before."""
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
