"""A plain chain of Linear layers at several checkpoints in one forward pass.

The examples are the same at every checkpoint, so the first layer's weights of all of them stand
side by side in one matrix product, and what follows is done once for all instead of once for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Modules that do not mix an example's numbers, and the container they stand in.
ELEMENTWISE = {
    *(nn.Sequential, nn.Flatten, nn.Identity, nn.Dropout, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.ReLU6, nn.Mish),
}


@dataclass(frozen=True)
class ChainOutput:
    """What the last layer took and returned at C checkpoints.

    Attributes:
        features: Shape ``(C, B, I)``.
        logits: Shape ``(C, B, K)``.
    """

    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Layer:
    """A Linear layer at C checkpoints.

    Attributes:
        weight: Shape ``(C, O, I)``.
        bias: Shape ``(C, O)``, if there is one.
    """

    weight: Tensor
    bias: Tensor | None

    def multiply_common(self, inputs: Tensor) -> Tensor:
        """Return ``(C, B, O)`` from inputs ``(B, I)``, which all checkpoints share."""
        bias = None if self.bias is None else self.bias.flatten()
        products: Tensor = nn.functional.linear(inputs, self.weight.flatten(0, 1), bias)
        return products.view(len(products), *self.weight.shape[:2]).transpose(0, 1)

    def multiply(self, inputs: Tensor) -> Tensor:
        """Return ``(C, B, O)`` from each checkpoint's own inputs, ``(C, B, I)``."""
        if self.bias is None:
            return torch.bmm(inputs, self.weight.mT)
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight.mT)


@dataclass(frozen=True)
class ChainWeights:
    """The weights of C checkpoints side by side.

    Attributes:
        count: Number of checkpoints C.
        layers: The Linear layers by name.
    """

    count: int
    layers: Mapping[str, Layer]


class Chain:
    """The layers of a network that is a plain chain, ending in a Linear layer.

    Args:
        steps: The layers in the order in which they act, with their names.

    Attributes:
        widest: Most numbers that a Linear layer returns for an example.
    """

    def __init__(self, steps: Sequence[tuple[str, nn.Module]]) -> None:
        kinds = [type(module) for _, module in steps]
        first = kinds.index(nn.Linear)
        self._before = [module for _, module in steps[:first]]
        self._first = steps[first][0]
        self._rest = steps[first + 1 :]
        self.widest = max(m.out_features for _, m in steps if isinstance(m, nn.Linear))

    def prepare(self, weights: Sequence[Mapping[str, Tensor]]) -> ChainWeights:
        """Put the weights of C checkpoints side by side.

        Args:
            weights: For each checkpoint, all parameters by name.
        """
        layers = [self._first, *(name for name, m in self._rest if type(m) is nn.Linear)]
        stacked: dict[str, Layer] = {}
        for layer in layers:
            names = [f"{layer}.{part}" if layer else part for part in ("weight", "bias")]
            weight, bias = (
                torch.stack([w[name] for w in weights]) if name in weights[0] else None
                for name in names
            )
            assert weight is not None  # noqa: S101 - a Linear layer has one
            stacked[layer] = Layer(weight, bias)
        return ChainWeights(len(weights), stacked)

    def run(self, weights: ChainWeights, inputs: Tensor) -> ChainOutput | None:
        """Return what reaches and leaves the last layer, at all checkpoints.

        Args:
            weights: What ``prepare`` returned.
            inputs: A batch.

        Returns:
            ``None`` where an example is more than one vector when it reaches the first layer.
        """
        for module in self._before:
            inputs = module(inputs)
        if inputs.dim() != 2:
            return None
        values = weights.layers[self._first].multiply_common(inputs)
        features = inputs.expand(weights.count, *inputs.shape)
        for name, module in self._rest:
            if type(module) is nn.Linear:
                features, values = values, weights.layers[name].multiply(values)
            elif type(module) is not nn.Flatten:  # vectors are flat already
                values = module(values)
        return ChainOutput(features, values)


def find_chain(model: nn.Module, last: nn.Module) -> Chain | None:
    """Return a model's layers if it is a plain chain that ends in ``last``.

    Args:
        model: Any module, in evaluation mode.
        last: The Linear layer whose outputs are the logits.
    """
    steps = list(_unroll("", model))
    if not steps or steps[-1][1] is not last:
        return None
    plain = all(type(module) is nn.Linear or type(module) in ELEMENTWISE for _, module in steps)
    flattens = [module for _, module in steps if isinstance(module, nn.Flatten)]
    usual = all((module.start_dim, module.end_dim) == (1, -1) for module in flattens)
    # Shared weights have one name only, and hooks want to see every call.
    names = len(list(model.named_parameters(remove_duplicate=False)))
    shares = len(list(model.parameters())) < names or len({id(m) for _, m in steps}) < len(steps)
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    return Chain(steps) if plain and usual and not shares and not hooked else None


def _unroll(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is not nn.Sequential:
        yield name, module
        return
    for key, child in module._modules.items():
        if child is not None:
            yield from _unroll(f"{name}.{key}" if name else key, child)
