"""``OwnModel``: a person's network with its layers, loss and inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    OwnLoss = str | Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class OwnModel:
    """A network with what belongs to it, as a person's function returns it.

    Attributes:
        model: The network; its weights do not matter, the checkpoints bring theirs.
        transform: From an example (a Pillow image, a text, or a table's row as a dictionary) to
            the network's input: a tensor, a tuple or a dictionary of tensors. It must give the
            same each time, so no random crops. Without one an image becomes a float tensor
            ``(C, H, W)`` from 0 to 1, and a row what the built-in networks see of it.
        loss: "cross_entropy", "mse", "binary_cross_entropy" (on logits), or a function
            ``(outputs, targets) -> (B,)``. ``None`` takes the first for classes and the second
            for numbers.
        collate: From a list of transformed inputs to a batch. Without one tensors are stacked;
            in dictionaries with an ``attention_mask``, shorter ones are padded.
        classes: The class names in the order of the network's outputs, where that is not the
            project's order.
        target_mean: For regression, what was subtracted from the targets in the training.
        target_std: What they were divided by after that.
        last_layer: Names of the modules (as in ``model.named_modules()``) that are the last layer,
            by whose self-influence suspects are ranked; ``None`` finds it: the last map from
            features to outputs.
    """

    model: nn.Module
    transform: Callable[[Any], Any] | None = None
    loss: OwnLoss | None = None
    collate: Callable[[list[Any]], Any] | None = None
    classes: tuple[str, ...] | list[str] | None = None
    target_mean: float = 0.0
    target_std: float = 1.0
    last_layer: str | tuple[str, ...] | list[str] | None = None

    @property
    def last_names(self) -> tuple[str, ...]:
        """Names of the last layer's modules; none where it is to be found."""
        if isinstance(self.last_layer, str):
            return (self.last_layer,)
        return tuple(self.last_layer or ())
