"""A model that cannot take the number type of its inputs says so with both types named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from tracin_core.errors import GradientError
from tracin_core.gradients.structure import find_tensors


@contextmanager
def number_types_explained(model: nn.Module, inputs: Any) -> Iterator[None]:
    """Explain what torch raises about number types while the model runs.

    Args:
        model: The model.
        inputs: What it is given.

    Raises:
        GradientError: In place of torch's ``RuntimeError`` about a type.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).partition("\n")[0]
        if "type" not in text:
            raise
        given, own = _list_types(find_tensors(inputs)), _list_types(model.parameters())
        raise GradientError(
            f"The model raised {type(error).__name__} ({text}). Inputs are {given}, its weights "
            f"{own}; expected the number type it was trained with. Convert the inputs in the data "
            "set: input.float() for numbers (NumPy's are float64 unless made otherwise), "
            "input.long() for what is looked up in a table."
        ) from error


def _list_types(tensors: Iterator[Tensor]) -> str:
    found = dict.fromkeys(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
    return " and ".join(found) or "none"
