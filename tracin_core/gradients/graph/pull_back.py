"""From the gradients of tensors made of parameters back to those of the parameters.

Tables that are looked up and added to every example's scores, weights merged from factors or
divided by their norms, a small network over positions: what is made of parameters alone meets the
examples at operations that repeat it for each of them (``operations``). From each example's
gradient there, autograd's own formulas lead back to the parameters, for all examples at once.

They lead back along every path. So nothing that was made behind one of those operations may lie
on the way back from another: it would be counted twice. ``check_apart`` proves it for a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tracin_core.gradients.factored import Contribution, Dense, Outer, SparseRows, choose_chunks
from tracin_core.gradients.graph.operations import (
    CAST,
    LOOKED_UP,
    TRANSPOSED,
    ParameterUse,
)
from tracin_core.gradients.graph.stacks import StackedOuter
from tracin_core.gradients.rules.registry import UnsupportedUseError

# As many operations may be behind a tensor that is made of parameters. A network over positions
# has a dozen for each of its layers; a hidden state of the model has all that came before it.
MOST_BEHIND = 2000
# Larger gradients of one example go back on their own on a processor: mapped over the examples, the
# backward pass of standardised kernels took 1.1 to 45 times as long.
MAPPED = 4096
RESHAPED = frozenset({"ViewBackward0", "UnsafeViewBackward0", "UnsqueezeBackward0"})
SPLIT = frozenset({"SplitBackward0", "SplitWithSizesBackward0"})


def check_apart(reads: Iterable[ParameterUse]) -> None:
    """Check that no tensor read was made from the result of another read.

    Args:
        reads: All reads of one parameter.

    Raises:
        UnsupportedUseError: If one was, or too much is behind it to tell.
    """
    reads = list(reads)
    met = {read.node for read in reads}
    seen: set[Any] = set()
    waiting = [read.views[-1][0] for read in reads if read.passed]
    while waiting:
        node = waiting.pop()
        if node in met or len(seen) > MOST_BEHIND:
            raise UnsupportedUseError("what is made of the parameter is mixed with the examples")
        for source, _ in node.next_functions:
            if source is not None and source not in seen:
                seen.add(source)
                waiting.append(source)


def pull_back_views(
    contribution: Contribution, read: ParameterUse, parameter: Tensor
) -> Contribution | None:
    """Return the parameter's gradients from those of a view of it, factored where they were.

    Args:
        contribution: Gradients of the view.
        read: How the view was made.
        parameter: The parameter.

    Returns:
        ``None`` where autograd's formulas are needed.
    """
    views = _list_views(read)
    if read.passed:
        return None
    if isinstance(contribution, StackedOuter) and len(views) == 1 and _turns_matrices(views[0][0]):
        return contribution.transpose()
    while views and isinstance(contribution, Outer):
        turned = _pull_back_outer(contribution, *views[-1], views[:-1], parameter)
        if turned is None:
            return None
        contribution = turned
        views.pop()
    if not views:
        return contribution
    kinds = [node.name() for node, _ in views]
    if (
        isinstance(contribution, Dense)
        and read.looked_up is not None
        and kinds[0] == LOOKED_UP
        and RESHAPED.issuperset(kinds[1:])
    ):
        return _pull_back_lookup(contribution, *read.looked_up, parameter.shape)
    return None


def _list_views(read: ParameterUse) -> list[tuple[Any, int]]:
    """Return what the tensor was made by, without the casts that come last.

    A cast changes no gradient; gone through backwards it would round it to half precision.
    """
    views = list(read.views)
    if not read.passed:
        return [view for view in views if view[0].name() != CAST]
    while views and views[-1][0].name() == CAST:
        views.pop()
    return views


def _pull_back_outer(
    outer: Outer, node: Any, output: int, earlier: list[tuple[Any, int]], parameter: Tensor
) -> Outer | None:
    kind = node.name()
    if kind == TRANSPOSED or (kind == "PermuteBackward0" and _is_transposition(node)):
        return Outer(outer.inputs, outer.deltas, torch.Size(reversed(outer.shape)))
    if kind not in SPLIT or earlier or node._saved_dim:
        return None
    # Rows of the parameter, as attention to another sequence takes them: the other rows have no
    # gradient.
    first = (
        output * node._saved_split_size
        if kind == "SplitBackward0"
        else sum(node._saved_split_sizes[:output])
    )
    after = len(parameter) - first - outer.shape[0]
    deltas = torch.nn.functional.pad(outer.deltas, (first, after))
    return Outer(deltas, outer.inputs, parameter.shape)


def _turns_matrices(node: Any) -> bool:
    """Return whether a view is of a stack's matrices, transposed."""
    if node.name() != "TransposeBackward0":
        return False
    return {axis % 3 for axis in (_sign(node._saved_dim0), _sign(node._saved_dim1))} == {1, 2}


def _sign(axis: int) -> int:
    """Return an axis as signed: autograd gives a negative one as the unsigned of the same bits."""
    return axis - 2**64 if axis >= 2**63 else axis


def _is_transposition(node: Any) -> bool:
    return [_sign(axis) % 2 for axis in node._saved_dims] == [1, 0]


def _pull_back_lookup(
    contribution: Dense, indices: Tensor, padding: int, shape: torch.Size
) -> SparseRows:
    """Return gradients by row of a table from which all examples looked up the same rows."""
    deltas = contribution.gradients.reshape(contribution.batch_size, -1, shape[1])
    rows = indices.reshape(1, -1)
    return SparseRows(rows.expand(len(deltas), -1), deltas * (rows != padding).unsqueeze(2), shape)


@dataclass
class Sources:
    """Tensors made of parameters, with each example's gradients there.

    Attributes:
        gradients: By operation that made the tensor, and which of its results it is.
        read_at: Where the gradients come from.
    """

    gradients: dict[tuple[Any, int], Tensor] = field(default_factory=dict)
    read_at: set[tuple[Any, int]] = field(default_factory=set)

    @property
    def key(self) -> frozenset[tuple[Any, int]]:
        """Equal for parameters of which the same tensors were made."""
        return frozenset(self.read_at)

    def add(self, contribution: Contribution, read: ParameterUse) -> None:
        """Add what an operation that reads such a tensor gives."""
        made_by = _list_views(read)[-1]
        gradients = contribution.instantiate()
        if made_by in self.gradients:
            gradients = self.gradients[made_by] + gradients
        self.gradients[made_by] = gradients
        self.read_at.add((read.node, read.position))

    def pull_back(self, parameters: Mapping[str, Tensor]) -> dict[str, Dense]:
        """Return the gradients of the parameters that all these tensors were made of.

        Raises:
            UnsupportedUseError: If autograd cannot go that way.
        """
        edges = [GradientEdge(*made_by) for made_by in self.gradients]
        wholes = list(self.gradients.values())
        largest = max(value.numel() for value in (*(w[0] for w in wholes), *parameters.values()))
        step = max(1, choose_chunks(wholes[0].device).gradients // max(1, largest))
        parts = zip(*(torch.split(whole, step) for whole in wholes), strict=True)
        found = [_differentiate(edges, list(parameters.values()), part) for part in parts]
        joined = [torch.cat(items) for items in zip(*found, strict=True)]
        return {
            name: Dense(gradients, parameter.shape)
            for (name, parameter), gradients in zip(parameters.items(), joined, strict=True)
        }


def _differentiate(
    edges: list[GradientEdge], parameters: list[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor]:
    """Return each parameter's gradients, shape ``(b, *shape)``."""

    def run(outputs: Sequence[Tensor], batched: bool) -> list[Tensor]:
        size = (len(outputs[0]),) if batched else ()
        # Kept, because other parameters and a trial differentiate the same graph again.
        found = torch.autograd.grad(
            edges,
            parameters,
            list(outputs),
            is_grads_batched=batched,
            retain_graph=True,
            allow_unused=True,
        )
        return [
            parameter.new_zeros((*size, *parameter.shape)) if value is None else value.detach()
            for value, parameter in zip(found, parameters, strict=True)
        ]

    numbers = sum(one[0].numel() for one in gradients)
    if gradients[0].is_cuda or numbers <= MAPPED:
        try:
            with warnings.catch_warnings():
                # torch's word on the speed of formulas that it maps one after the other.
                warnings.filterwarnings("ignore", message="There is a performance drop")
                return run(gradients, True)
        except RuntimeError as error:
            # Not every operation's formula can be mapped over examples; one by one they go.
            if isinstance(error, torch.OutOfMemoryError) or "memory" in str(error):
                raise
    try:
        rows = [run(row, False) for row in zip(*gradients, strict=True)]
    except RuntimeError as error:
        raise UnsupportedUseError(str(error).splitlines()[0]) from error
    return [torch.stack(items) for items in zip(*rows, strict=True)]
