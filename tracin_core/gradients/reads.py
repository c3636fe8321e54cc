"""From a parameter through its views to the operations that read it, in the gradient graph.

Parameters that no layer's call reads (attention's projections, position embeddings, a weight
used functionally) leave their traces here: the graph names every operation that read them, and
keeps what that operation needs for its own gradient.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tracin_core.gradients.contributions import Contribution, Dense, Outer
from tracin_core.gradients.graph import Reader
from tracin_core.gradients.registry import UnsupportedUseError
from tracin_core.gradients.tables import Rows

# Operations that only rearrange, cut or look up a parameter, whatever the examples are. A few
# of them may also be what brings the examples in; the trial tells which.
TRANSPOSED = "TBackward0"
LOOKED_UP = "EmbeddingBackward0"
REPEATED = "ExpandBackward0"
CAST = "ToCopyBackward0"
RESHAPED = frozenset({"ViewBackward0", "UnsafeViewBackward0", "UnsqueezeBackward0"})
VIEWS = frozenset(
    f"{name}Backward0"
    for name in (
        *("T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Alias", "Clone"),
        *("Squeeze", "Unsqueeze", "Slice", "Select", "Split", "SplitWithSizes", "Unbind"),
        *("Expand", "Embedding", "ToCopy"),
    )
)


@dataclass(frozen=True)
class Read:
    """One operation that reads a parameter, or a view of it.

    Attributes:
        node: The operation, in the gradient graph.
        position: Which of its inputs the view is.
        shape: Shape of the view.
        views: What made the view, from the parameter on: operations and which result of each.
        looked_up: Indices and the one without gradient, where the view is rows looked up alike
            for all examples. Taken at once: a backward pass lets go of them.
    """

    node: Any
    position: int
    shape: torch.Size
    views: tuple[tuple[Any, int], ...] = ()
    looked_up: tuple[Tensor, int] | None = None

    @property
    def kind(self) -> str:
        """Name of the operation."""
        name: str = self.node.name()
        return name

    @property
    def edge(self) -> GradientEdge:
        """The operation's result in the gradient graph."""
        return GradientEdge(self.node, 0)


def find_reads(
    readers: Mapping[Any, list[Reader]], parameter: Tensor, leaf: Any, kinds: Collection[str]
) -> list[Read]:
    """Follow a parameter to all operations that read it or a view of it.

    Args:
        readers: Of the whole graph.
        parameter: The parameter.
        leaf: Its node.
        kinds: Names of the operations to stop at.

    Returns:
        The reads, in the order of execution.

    Raises:
        UnsupportedUseError: If another kind of operation reads it.
    """
    found = list(_follow(readers, leaf, 0, Read(leaf, 0, parameter.shape), kinds))
    return sorted(found, key=lambda read: (read.node._sequence_nr(), read.position))


def _follow(
    readers: Mapping[Any, list[Reader]],
    node: Any,
    output: int,
    so_far: Read,
    kinds: Collection[str],
) -> Iterator[Read]:
    for reader in readers.get(node, ()):
        if reader.output != output:
            continue
        kind = reader.node.name()
        if kind in kinds:
            yield replace(so_far, node=reader.node, position=reader.position)
        elif kind in VIEWS:
            looked_up = so_far.looked_up
            if kind == LOOKED_UP:
                looked_up = reader.node._saved_indices, reader.node._saved_padding_idx
            for index, result in enumerate(reader.node._input_metadata):
                views = (*so_far.views, (reader.node, index))
                view = Read(reader.node, 0, torch.Size(result.shape), views, looked_up)
                yield from _follow(readers, reader.node, index, view, kinds)
        else:
            raise UnsupportedUseError(f"no rule for {kind.removesuffix('0')}")


def pull_back(contribution: Contribution, read: Read, parameter: Tensor) -> Contribution:
    """Turn the gradients of a view into those of its parameter, factored where they were.

    Args:
        contribution: Gradients of the view.
        read: How the view was made.
        parameter: The parameter.

    Raises:
        UnsupportedUseError: If an outer product would have to be written out.
    """
    # A cast changes no gradient; gone through backwards it would round it to half precision.
    views = [view for view in read.views if view[0].name() != CAST]
    while views and isinstance(contribution, Outer):
        contribution = _pull_back_outer(contribution, *views.pop(), views, parameter)
    if not views:
        return contribution
    if not isinstance(contribution, Dense):
        raise UnsupportedUseError("a look-up in a view of the parameter")
    kinds = [node.name() for node, _ in views]
    if read.looked_up is not None and kinds[0] == LOOKED_UP and RESHAPED.issuperset(kinds[1:]):
        return _pull_back_lookup(contribution, *read.looked_up, parameter.shape)
    edge = GradientEdge(*views[-1])
    whole = [contribution.gradients]
    # Kept, because a trial differentiates the same graph again.
    (gradients,) = torch.autograd.grad(
        [edge], [parameter], whole, is_grads_batched=True, retain_graph=True
    )
    return Dense(gradients.detach(), parameter.shape)


def _pull_back_outer(
    outer: Outer, node: Any, output: int, earlier: list[tuple[Any, int]], parameter: Tensor
) -> Outer:
    kind = node.name()
    if kind == TRANSPOSED:
        return Outer(outer.inputs, outer.deltas, torch.Size(reversed(outer.shape)))
    if (
        kind in ("SplitBackward0", "SplitWithSizesBackward0")
        and not earlier
        and not node._saved_dim
    ):
        # Rows of the parameter, as attention to another sequence takes them: the other rows
        # have no gradient.
        first = (
            output * node._saved_split_size
            if kind == "SplitBackward0"
            else sum(node._saved_split_sizes[:output])
        )
        after = len(parameter) - first - outer.shape[0]
        deltas = torch.nn.functional.pad(outer.deltas, (first, after))
        return Outer(deltas, outer.inputs, parameter.shape)
    raise UnsupportedUseError(f"a matrix product with a view of the parameter ({kind})")


def _pull_back_lookup(
    contribution: Dense, indices: Tensor, padding: int, shape: torch.Size
) -> Rows:
    """Give the gradients of rows that all examples looked up alike to those rows."""
    deltas = contribution.gradients.reshape(contribution.batch_size, -1, shape[1])
    rows = indices.reshape(1, -1)
    return Rows(rows.expand(len(deltas), -1), deltas * (rows != padding).unsqueeze(2), shape)
