"""The last layer's gradients from forward passes alone, at one or at all checkpoints together.

Under softmax cross-entropy the gradient at the logits is ``p - onehot(y)``. Where the logits
are what a Linear layer returned, its gradient is ``(p - onehot(y)) a^T``, and nothing has to be
differentiated.

A plain chain of layers that ends in a Linear one goes through all C checkpoints in one forward
pass: the examples are the same, so the first layer's weights of all checkpoints stand side by side
in one matrix product, and what follows is done once for all instead of once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.capture.batching import Batch
from tracin_core.gradients.factored import Contribution, Dense, Outer
from tracin_core.gradients.graph.free_parameters import Proofs
from tracin_core.gradients.hooks import CapturedPass, CoveredLayer, Objective
from tracin_core.gradients.inspection import refuse_company
from tracin_core.gradients.module_states import WeightSlots
from tracin_core.gradients.nested import call_model
from tracin_core.gradients.plan import Plan
from tracin_core.gradients.precision import widen
from tracin_core.losses import cross_entropy, differentiate_cross_entropy, get_logits


class HeadRunner:
    """Captures a head at some checkpoints: together in a plain chain, else one after the other.

    Args:
        model: The model.
        slots: Where its weights hang.
        read_weights: Returns a checkpoint's tensors by name, on the device.
    """

    def __init__(
        self,
        model: nn.Module,
        slots: WeightSlots,
        read_weights: Callable[[int], Mapping[str, Tensor]],
    ) -> None:
        self._model, self._slots, self._read_weights = model, slots, read_weights
        self._chain: Chain | None = None
        self._proofs = Proofs()
        self._side_by_side: dict[tuple[int, ...], ChainWeights] = {}

    def open(self, plan: Plan) -> Chain | None:
        """Return the model's layers as they are now, if it is a plain chain."""
        self._chain = None if plan.head is None else find_chain(self._model, plan.head.layer)
        return self._chain

    def capture(
        self, head: CoveredLayer, batch: Batch, checkpoints: Sequence[int], parts: Sequence[Batch]
    ) -> list[CapturedPass] | None:
        """Return a pass over the batch for each checkpoint.

        Args:
            head: The last layer.
            batch: Examples, on the device.
            checkpoints: Which; several only where ``open`` found a chain.
            parts: The same examples as they go through the model.

        Returns:
            ``None`` where a forward pass is not enough after all.

        Raises:
            GradientError: If an example's logits change with the other examples.
        """
        if len(checkpoints) > 1 and self._chain is not None:
            weights = self._put_side_by_side(self._chain, tuple(checkpoints))
            found = capture_chain(self._chain, weights, head, batch, parts)
            if found is not None:
                return found
        passes = []
        for index in checkpoints:
            with self._slots.hold(self._read_weights(index)):
                captured = capture_head(self._model, head, batch, parts)
                if captured is None:
                    return None
                self._refuse_company(captured.outputs, parts, index)
            passes.append(captured)
        return passes

    def _refuse_company(self, logits: Tensor, parts: Sequence[Batch], checkpoint: int) -> None:
        """Check now and then that examples do not change each other's logits; a chain's cannot."""
        start = 0
        for part in parts:
            if self._chain is None and self._proofs.is_due(part.size, checkpoint):
                refuse_company(self._model, part.inputs, logits[start : start + part.size])
            start += part.size

    def _put_side_by_side(self, chain: Chain, checkpoints: tuple[int, ...]) -> ChainWeights:
        """Return the checkpoints' weights as the chain takes them; the latest are kept."""
        if checkpoints not in self._side_by_side:
            weights = [self._read_weights(index) for index in checkpoints]
            self._side_by_side = {checkpoints: chain.prepare(weights)}
        return self._side_by_side[checkpoints]


def mark_head(model: nn.Module, plan: Plan, objective: Objective, trial: Batch) -> Plan:
    """Return the plan with its ``head``, if a forward pass is seen to be enough.

    Args:
        model: In evaluation mode, with the weights of interest in place.
        plan: A confirmed plan.
        objective: What is differentiated.
        trial: A few examples.
    """
    if objective is not cross_entropy or plan.fallback or plan.known or len(plan.layers) != 1:
        return plan
    head = plan.layers[0]
    if type(head.layer) is not nn.Linear or capture_head(model, head, trial, [trial]) is None:
        return plan
    return replace(plan, head=head)


@torch.no_grad()
def capture_head(
    model: nn.Module, head: CoveredLayer, batch: Batch, parts: Sequence[Batch]
) -> CapturedPass | None:
    """Run forward passes and write the head's gradients down, for all of them at once.

    Args:
        model: In evaluation mode, with the weights of interest in place.
        head: The layer.
        batch: Examples, on the device.
        parts: The same examples as they go through the model.

    Returns:
        What ``capture_pass`` returns; ``None`` if the logits are not simply the head's output,
        or the targets are not class indices.
    """
    if not _has_class_indices(batch):
        return None
    calls: list[tuple[Any, Any, int]] = []
    handle = head.layer.register_forward_hook(
        lambda _, args, output: calls.append((args, output, output._version))
    )
    try:
        returned = [call_model(model, part.inputs) for part in parts]
    finally:
        handle.remove()
    logits = [get_logits(outputs) for outputs in returned]
    if len(calls) != len(logits):
        return None
    for own, (args, output, version) in zip(logits, calls, strict=True):
        # A change in place keeps the tensor and makes its numbers others than the layer's.
        if output is not own or output._version != version or own.dim() != 2 or not args:
            return None
    features = _join([args[0] for args, _, _ in calls])
    return HeadPasses(head, features, _join(logits), batch.targets).take(0)


@torch.no_grad()
def capture_chain(
    chain: Chain, weights: ChainWeights, head: CoveredLayer, batch: Batch, parts: Sequence[Batch]
) -> list[CapturedPass] | None:
    """Capture the head at several checkpoints at once, where the model is a plain chain.

    Args:
        chain: The model.
        weights: Of the checkpoints.
        head: The last layer.
        batch: Examples, on the device.
        parts: The same examples as they go through the model.

    Returns:
        A pass for each checkpoint; ``None`` as in ``capture_head``.
    """
    if not _has_class_indices(batch) or not isinstance(batch.inputs, Tensor):
        return None
    outputs = []
    for part in parts:
        output = chain.run(weights, part.inputs)
        if output is None:
            return None
        outputs.append(output)
    features = _join([output.features for output in outputs], axis=1)
    logits = get_logits(_join([output.logits for output in outputs], axis=1))
    passes = HeadPasses(head, features.flatten(0, 1), logits.flatten(0, 1), batch.targets)
    return [passes.take(index) for index in range(weights.count)]


class HeadPasses:
    """Passes of the same B examples at C checkpoints, whose arithmetic is done once for all.

    Args:
        head: The last layer.
        features: What it took, shape ``(C * B, I)``.
        logits: What it returned, shape ``(C * B, K)``.
        labels: Class indices of the B examples.
    """

    def __init__(
        self, head: CoveredLayer, features: Tensor, logits: Tensor, labels: Tensor
    ) -> None:
        self._head, self._logits, self._labels = head, logits, labels.flatten()
        count = len(logits) // max(1, len(self._labels))
        deltas = differentiate_cross_entropy(logits, self._labels.repeat(count))
        shape = torch.Size((logits.shape[1], features.shape[1]))
        self._whole = WholeHead(deltas.unsqueeze(1), widen(features).unsqueeze(1), shape)

    def take(self, index: int) -> CapturedPass:
        """Return the pass at one checkpoint."""
        size = len(self._labels)
        start, stop = index * size, (index + 1) * size
        logits = self._logits[start:stop]
        factors = self._whole.narrow(start, stop)
        found: dict[str, Contribution] = {
            "weight": factors,
            "bias": Dense(factors.deltas[:, 0], factors.shape[:1], factors.delta_norms),
        }
        gradients = {name: [found[local]] for local, name in self._head.parameters.items()}
        return CapturedPass(logits, lambda: cross_entropy(logits, self._labels), gradients)


class WholeHead(Outer):
    """The head's gradients at all checkpoints; norms are taken for all rows when one is asked."""

    @cached_property
    def norms(self) -> Tensor:
        """Squared norms of the weight's gradients, shape ``(C * B,)``."""
        return super().squared_norms()

    def narrow(self, start: int, stop: int) -> HeadRows:
        """Return some rows, which share the norms."""
        deltas, inputs = self.deltas[start:stop], self.inputs[start:stop]
        return HeadRows(deltas, inputs, self.shape, self, start)


@dataclass(frozen=True)
class HeadRows(Outer):
    """Some rows of the head's gradients.

    Attributes:
        whole: What they are part of.
        first: Where they begin in it.
    """

    whole: WholeHead
    first: int

    def delta_norms(self) -> Tensor:
        """Return the squared norm of each example's ``deltas``, shape ``(B,)``."""
        return self.whole.delta_norms()[self.first : self.first + self.batch_size]

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``."""
        return self.whole.norms[self.first : self.first + self.batch_size]


def _has_class_indices(batch: Batch) -> bool:
    labels = batch.targets
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        return False
    return len(labels) == labels.numel()


def _join(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=axis)


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


# Modules that do not mix an example's numbers, and the container they stand in.
ELEMENTWISE = {
    *(nn.Sequential, nn.Flatten, nn.Identity, nn.Dropout, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.ReLU6, nn.Mish),
}


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
        """Return the weights of C checkpoints side by side.

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
class ChainWeights:
    """The weights of C checkpoints side by side.

    Attributes:
        count: Number of checkpoints C.
        layers: The Linear layers by name.
    """

    count: int
    layers: Mapping[str, Layer]


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
