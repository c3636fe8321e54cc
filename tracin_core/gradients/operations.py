"""Per-example gradients of layers with a ``forward`` of their own, by the operations they call.

A class derived from a normalisation or a convolution, or one that resembles it, calls the same
operation in its own way: channels last, an activation behind it, standardised weights before it.
The autograd graph of every batch names that operation, what it was called with, and the way
there from a parameter. So nothing about the class is guessed, and a branch that the data choose
is seen in the graph of the batch that takes it.

Where an operation reads not a parameter but a result of some (a standardised, normalised or
masked weight), its gradients are those of the result, and ``PulledBack`` takes them through the
rest of the graph to the parameters, a few examples at a time. They are exact whatever that
function is: it is common to all examples, and each example's part is its derivative times the
example's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from tracin_core.gradients.factored import Contribution, Dense, split
from tracin_core.gradients.graph.survey import GraphSurvey
from tracin_core.gradients.precision import add_wide, match_dtype, widen
from tracin_core.gradients.rules.conv import ConvolutionCall, Kernel
from tracin_core.gradients.rules.registry import Rule, UnsupportedUseError

# Operations between a parameter and the one that reads it: weight standardisation written out has
# about ten. What goes on for longer is no function of weights but the network itself.
MOST_STEPS = 32
# Gradients of a function's other parameters that are kept until they are asked for, in numbers.
MOST_KEPT = 16_000_000
EXAMPLES, WEIGHT, BIAS = 0, 1, 2
CAST = "ToCopyBackward0"

# Gradients at the operation's result -> those of the operand, examples first.
Differentiate = Callable[[Tensor], Contribution]


class OperationUse(NamedTuple):
    """One operation that reads a parameter, or a function of parameters alone.

    Attributes:
        node: The operation.
        position: Which of its inputs that is.
        edge: The function's result in the gradient graph; ``None`` for the parameter itself.
    """

    node: Any
    position: int
    edge: tuple[Any, int] | None


def find_operations(survey: GraphSurvey, parameter: Tensor) -> list[OperationUse]:
    """Follow a parameter to all operations that apply it, or a function of it, to the examples.

    Args:
        survey: The batch's graph.
        parameter: As it is in place.

    Raises:
        UnsupportedUseError: If some way from the parameter leads elsewhere.
    """
    leaf = survey.leaves.get(id(parameter))
    found: dict[tuple[Any, int, int], OperationUse] = {}
    waiting, met = [] if leaf is None else [leaf], {leaf}
    while waiting:
        node = waiting.pop()
        readers = survey.readers.get(node, ())
        if not readers or len(met) > MOST_STEPS:
            raise UnsupportedUseError("it is read by operations without a rule")
        for reader in readers:
            if _applies(reader.node, reader.position):
                edge = None if node is leaf else (node, reader.output)
                use = OperationUse(reader.node, reader.position, edge)
                found[reader.node, reader.position, reader.output] = use
            elif reader.node not in met:
                met.add(reader.node)
                waiting.append(reader.node)
    return list(found.values())


def is_read_by_operations(survey: GraphSurvey, parameter: Tensor) -> bool:
    """Return whether every read of a parameter ends in an operation with a rule."""
    try:
        return bool(find_operations(survey, parameter))
    except UnsupportedUseError:
        return False


def _applies(node: Any, position: int) -> bool:
    """Return whether an operation takes an input as its weight and another from the examples."""
    known = OPERATIONS.get(node.name())
    if known is None or position not in known.positions:
        return False
    source, _ = node.next_functions[EXAMPLES]
    return not _is_made_of_parameters(source)


def _is_made_of_parameters(node: Any) -> bool:
    """Return whether a result depends on leaf tensors alone, within few operations.

    An input without gradients may hold the examples, so with one the answer is no.
    """
    waiting, met = [node], {node}
    while waiting:
        one = waiting.pop()
        if one is None or len(met) > MOST_STEPS:
            return False
        sources = {source for source, _ in one.next_functions} - met
        met |= sources
        waiting += sources
    return True


@dataclass(frozen=True)
class Function:
    """A function of parameters that one operation takes as its weight.

    Attributes:
        edge: Its result in the gradient graph.
        parameters: Those that are wanted, by name.
        kept: Gradients that were computed beside those asked for, by name and first example.
    """

    edge: tuple[Any, int]
    parameters: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def pull_back(self, name: str, start: int, results: Contribution) -> Tensor:
        """Return a parameter's gradients from those of the result.

        Args:
            name: The parameter.
            start: Number of the first example.
            results: Gradients of the result, as many as fit the memory whole.
        """
        known = self.kept.pop((name, start), None)
        if known is not None and len(known) == results.batch_size:
            return known
        whole = results.instantiate()
        kind = self.edge[0]._input_metadata[self.edge[1]].dtype
        # One after the other: mapped, the same took 1.1 to 45 times as long on a processor.
        # The graph is kept, because other chunks need it, and a trial differentiates it again.
        found = [
            torch.autograd.grad(
                [GradientEdge(*self.edge)],
                list(self.parameters.values()),
                [gradient.to(kind)],
                retain_graph=True,
            )
            for gradient in whole
        ]
        for each, rows in zip(self.parameters, zip(*found, strict=True), strict=True):
            gradients = torch.stack(rows)
            if each == name:
                wanted = gradients
            elif gradients.numel() + sum(v.numel() for v in self.kept.values()) <= MOST_KEPT:
                self.kept[each, start] = gradients
        return wanted


@dataclass(frozen=True)
class PulledBack(Contribution):
    """Gradients of a parameter by way of a function of it.

    Attributes:
        inner: Gradients of the function's result.
        function: The function.
        name: The parameter's name.
        shape: Its shape.
        start: Number of the first example.
    """

    inner: Contribution
    function: Function
    name: str
    shape: torch.Size
    start: int = 0

    @property
    def batch_size(self) -> int:
        """Number of examples B."""
        return self.inner.batch_size

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.inner.device

    @property
    def is_factored(self) -> bool:
        """Never: what is known of the result's norms says nothing of the parameter's."""
        return False

    def narrow(self, start: int, stop: int) -> PulledBack:
        """Return the same for the examples ``start`` to ``stop``."""
        inner = self.inner.narrow(start, stop)
        return PulledBack(inner, self.function, self.name, self.shape, self.start + start)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, *shape)``."""
        parts, start = [], self.start
        for part in split(self.inner):
            parts.append(self.function.pull_back(self.name, start, part))
            start += part.batch_size
        return torch.cat(parts)


@dataclass(frozen=True)
class Operation:
    """How the gradients of an operation's weights are computed.

    Attributes:
        open: Takes what is needed out of the node before the backward pass gives it back.
        positions: Inputs that are weights; the examples come by the first.
    """

    open: Callable[[Any, int], Differentiate]
    positions: tuple[int, ...] = (WEIGHT, BIAS)


def _open_batch_norm(node: Any, position: int) -> Differentiate:
    if node._saved_training:
        raise UnsupportedUseError("BatchNorm in training mode mixes the examples of a batch")
    inputs, eps = node._saved_input, node._saved_eps
    mean, variance = node._saved_running_mean, node._saved_running_var

    def differentiate(deltas: Tensor) -> Contribution:
        if position == BIAS:
            return _sum_space(deltas)
        normalized = F.batch_norm(widen(inputs), widen(mean), widen(variance), eps=eps)
        return _sum_space(widen(deltas) * normalized)

    return differentiate


def _open_group_norm(node: Any, position: int) -> Differentiate:
    inputs, groups = node._saved_input, node._saved_group
    mean, scale = node._saved_result1, node._saved_result2

    def differentiate(deltas: Tensor) -> Contribution:
        if position == BIAS:
            return _sum_space(deltas)
        grouped = widen(inputs).reshape(len(inputs), groups, -1)
        normalized = (grouped - mean.unsqueeze(2)) * scale.unsqueeze(2)
        return _sum_space(widen(deltas) * normalized.reshape(inputs.shape))

    return differentiate


def _sum_space(values: Tensor) -> Dense:
    """Sum ``(B, channels, ...)`` over the axes after the channels."""
    return Dense(add_wide(values.flatten(2), 2) if values.dim() > 2 else values, values.shape[1:2])


def _open_layer_norm(node: Any, position: int) -> Differentiate:
    inputs, mean, scale = node._saved_input, node._saved_result1, node._saved_result2
    shape = torch.Size(node._saved_normalized_shape)

    def differentiate(deltas: Tensor) -> Contribution:
        values = widen(deltas)
        if position == WEIGHT:
            values = values * ((widen(inputs) - mean) * scale)
        return Dense(values.reshape(len(values), -1, *shape).sum(1), shape)

    return differentiate


def _open_convolution(node: Any, position: int) -> Differentiate:
    inputs, shape = node._saved_input, node._saved_weight.shape
    call = ConvolutionCall(
        tuple(shape[2:]),
        tuple(node._saved_stride),
        tuple(node._saved_padding),
        tuple(node._saved_dilation),
        node._saved_groups,
    )
    is_transposed = node._saved_transposed

    def differentiate(deltas: Tensor) -> Contribution:
        if position == BIAS:
            return _sum_space(deltas)
        values = match_dtype(inputs, deltas)
        # The transposed one takes gradients to where the other takes inputs, and the other way.
        pair = (deltas, values) if is_transposed else (values, deltas)
        return Kernel(*pair, call, shape)

    return differentiate


OPERATIONS: dict[str, Operation] = {
    "NativeBatchNormBackward0": Operation(_open_batch_norm),
    "NativeGroupNormBackward0": Operation(_open_group_norm),
    "NativeLayerNormBackward0": Operation(_open_layer_norm),
    "ConvolutionBackward0": Operation(_open_convolution),
}


@dataclass(frozen=True)
class Opened:
    """A use of this batch, with what it needs taken out of the graph.

    Attributes:
        differentiate: Gives the gradients of the operand.
        function: Of what the operand is one, if it is.
        name: The parameter's name in the model.
        shape: Its shape.
    """

    differentiate: Differentiate
    function: Function | None
    name: str
    shape: torch.Size

    def apply(self, deltas: Tensor) -> Contribution:
        """Return what the use contributes to its parameter, for gradients at the result."""
        found = self.differentiate(deltas)
        if self.function is not None:
            return PulledBack(found, self.function, self.name, self.shape)
        return found


def operation_gradients(
    layer: nn.Module, arguments: tuple[Any, ...], deltas: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of the parameter that one operation read."""
    local, opened = arguments
    return {local: opened.apply(deltas)}


BY_OPERATION = Rule(nn.Module, operation_gradients, lambda layer: None, takes_half=True)


def open_operations(
    survey: GraphSurvey, parameters: Mapping[str, Tensor], missing: dict[str, str]
) -> Iterator[tuple[str, GradientEdge, Opened]]:
    """Yield every operation that reads one of the parameters, before the backward pass.

    Args:
        survey: The batch's graph.
        parameters: By name, as they are in place.
        missing: Where parameters are noted of which some read has no rule, and why.
    """
    functions: dict[OperationUse, Function] = {}
    # The largest first: the small gradients are then taken along with the large one's.
    for name, parameter in sorted(parameters.items(), key=lambda item: -item[1].numel()):
        try:
            opened = [
                (use, _open(use, name, parameter, functions))
                for use in find_operations(survey, parameter)
            ]
        except (UnsupportedUseError, RuntimeError) as error:
            # Autograd's own word where an operand was changed in place since.
            missing[name] = str(error).splitlines()[0]
            continue
        for use, reading in opened:
            yield name, GradientEdge(use.node, 0), reading


def _open(
    use: OperationUse,
    name: str,
    parameter: Tensor,
    functions: dict[OperationUse, Function],
) -> Opened:
    function = None
    edge = use.edge
    if edge is not None and edge[0].name() == CAST:
        # Gone through backwards it would round to half precision.
        edge = edge[0].next_functions[0]
    if edge is not None and not hasattr(edge[0], "variable"):
        # Of this use alone: others of the same result have other gradients.
        function = functions.setdefault(use, Function(edge))
        function.parameters[name] = parameter
    differentiate = OPERATIONS[use.node.name()].open(use.node, use.position)
    return Opened(differentiate, function, name, parameter.shape)
