"""Per-example gradients of parameters outside the layers' rules, by the operations that read them.

Parameters that no layer's call reads (attention's projections, position embeddings, a weight used
functionally) leave their traces in the autograd graph: it names every operation that read them,
through whatever views, and keeps what that operation needs for its own gradient. Each rule here is
for one operation, as the rules of layers are for one layer: from the other operand and the
gradients at the result come those of what was read.

In the trial, every operation that reads the parameter must have a rule, and its gradients must
show where the examples are. In a batch, operations of the same kinds must read it, and show it
again or be known to move rows as in a batch that did; where they do not, the parameter is named as
missing, and the fallback steps in. ``Proofs`` keeps where the examples of a batch were proved to
lie, and which batches were looked at closer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tracin_core.gradients.factored import Contribution, Dense, Outer, SparseRows
from tracin_core.gradients.graph.ownership import Layout, MarkedGradients, find_layout
from tracin_core.gradients.graph.survey import GraphSurvey, Reader
from tracin_core.gradients.precision import widen
from tracin_core.gradients.rules.registry import UnsupportedUseError

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
class ParameterUse:
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


@dataclass(frozen=True)
class Operand:
    """What a rule needs beside the gradients at the operation's result.

    Attributes:
        other: The other factor, the indices of a look-up, or nothing.
        scale: A number that multiplies the parameter.
        is_product: Whether this is a product of matrices, with the parameter on the right.
    """

    other: Tensor | None = None
    scale: float = 1.0
    is_product: bool = False


@dataclass(frozen=True)
class FreeParameterUse:
    """An operation that reads a parameter, as the trial saw it.

    Attributes:
        kind: Name of the operation.
        position: Which of its inputs the parameter is.
    """

    kind: str
    position: int


@dataclass(frozen=True)
class OpenRead:
    """A read of this batch, with its operand taken out of the graph."""

    read: ParameterUse
    operand: Operand

    def list_axes(self) -> list[int]:
        """Return the axes of the operation's result that may hold the examples."""
        edge = self.read.edge
        shape = edge.node._input_metadata[edge.output_nr].shape
        return find_axes(self.read, self.operand, len(shape))


FreeParameters = Mapping[str, Sequence[FreeParameterUse]]
Opened = list[tuple[str, list[OpenRead]]]
# Where the examples are in each read's result; ``None`` where nothing reaches it.
Layouts = Sequence[Layout | None]
T = TypeVar("T")


def open_candidates(survey: GraphSurvey, parameters: Mapping[str, Tensor]) -> Opened:
    """Find the ways in which rules may cover each parameter, likelier first.

    A look-up or a repetition may bring the examples in, or come before the operation that does.
    """
    opened: Opened = []
    for name, parameter in parameters.items():
        for kinds in (OPERATIONS.keys(), OPERATIONS.keys() - VIEWS):
            try:
                opened.append((name, _open(survey, parameter, kinds)))
            except UnsupportedUseError:
                continue
    return opened


def open_reads(
    survey: GraphSurvey, parameters: Mapping[str, Tensor], known: FreeParameters
) -> Opened:
    """Find the known reads again in a batch's graph, before its backward pass.

    Args:
        survey: The batch's graph.
        parameters: Every known parameter, as it is in place.
        known: The reads of the trial.

    Returns:
        The reads of each parameter that only operations of the trial's kinds read.
    """
    opened: Opened = []
    for name, expected in known.items():
        kinds = {read.kind for read in expected}
        try:
            opened.append((name, _open(survey, parameters[name], kinds)))
        except UnsupportedUseError:
            continue
    return opened


def take_each(opened: Opened, values: Iterable[T]) -> Iterator[tuple[str, list[OpenRead], list[T]]]:
    """Yield each parameter's reads with what there is for each of them."""
    rest = iter(values)
    for name, reads in opened:
        yield name, reads, [next(rest) for _ in reads]


def describe_reads(reads: Sequence[OpenRead]) -> list[FreeParameterUse]:
    """Return what a later batch is compared with."""
    return [FreeParameterUse(item.read.kind, item.read.position) for item in reads]


def learn_layouts(
    reads: Sequence[OpenRead], marks: Sequence[MarkedGradients | None]
) -> list[Layout | None]:
    """Return where the examples are in each operation's result.

    Raises:
        UnsupportedUseError: If that cannot be told.
    """
    return [
        None if mark is None else find_layout(mark, item.list_axes())
        for item, mark in zip(reads, marks, strict=True)
    ]


def differentiate_reads(
    reads: Sequence[OpenRead],
    deltas: Sequence[Tensor | None],
    layouts: Layouts,
    parameter: Tensor,
    batch_size: int,
) -> list[Contribution]:
    """Return what each read contributes to the gradients of a parameter.

    Raises:
        UnsupportedUseError: If the examples are not where the layouts say.
    """
    contributions = []
    for item, delta, layout in zip(reads, deltas, layouts, strict=True):
        if delta is not None and layout is not None:
            view = differentiate_operation(item.read, item.operand, delta, layout, batch_size)
            contributions.append(pull_back(view, item.read, parameter))
    return contributions


def _open(survey: GraphSurvey, parameter: Tensor, kinds: Collection[str]) -> list[OpenRead]:
    leaf = survey.leaves.get(id(parameter))
    if leaf is None:
        return []
    try:
        reads = find_reads(survey.readers, parameter, leaf, kinds)
        return [OpenRead(read, read_operand(read)) for read in reads]
    except RuntimeError as error:
        # Autograd's own word where an operand was changed in place since.
        raise UnsupportedUseError(str(error).splitlines()[0]) from error


# More are forgotten at once: whoever meets so many meets each of them rarely.
MOST_KINDS = 4096
# Of batches of one kind the first is looked at, and then each whose number is so many times that
# of the one before: what a batch does with its examples may depend on their numbers alone.
SPACING = 4


@dataclass(frozen=True)
class Placement:
    """Where the examples of a batch are.

    Attributes:
        uses: In the output of each call of a layer; ``None`` where nothing reaches it.
        reads: By parameter, in the result of each operation that reads it.
    """

    uses: Sequence[Layout | None]
    reads: Mapping[str, Layouts]


class Proofs:
    """Which batches were seen, by their size and the ways their rows move.

    Attributes:
        notes: Why a parameter went one example at a time in some batch, by its name.
    """

    def __init__(self) -> None:
        self._seen: Counter[tuple[int, Hashable]] = Counter()
        self.notes: dict[str, str] = {}

    def is_due(self, batch_size: int, signature: Hashable | None) -> bool:
        """Return whether a batch is to be compared with its halves, and count it as seen."""
        if signature is None:
            return True
        if len(self._seen) >= MOST_KINDS:
            self._seen.clear()
        self._seen[batch_size, signature] += 1
        count = self._seen[batch_size, signature]
        while count % SPACING == 0:
            count //= SPACING
        return count == 1


def find_reads(
    readers: Mapping[Any, list[Reader]], parameter: Tensor, leaf: Any, kinds: Collection[str]
) -> list[ParameterUse]:
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
    found = list(_follow(readers, leaf, 0, ParameterUse(leaf, 0, parameter.shape), kinds))
    return sorted(found, key=lambda read: (read.node._sequence_nr(), read.position))


def _follow(
    readers: Mapping[Any, list[Reader]],
    node: Any,
    output: int,
    so_far: ParameterUse,
    kinds: Collection[str],
) -> Iterator[ParameterUse]:
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
                view = ParameterUse(reader.node, 0, torch.Size(result.shape), views, looked_up)
                yield from _follow(readers, reader.node, index, view, kinds)
        else:
            raise UnsupportedUseError(f"no rule for {kind.removesuffix('0')}")


def pull_back(contribution: Contribution, read: ParameterUse, parameter: Tensor) -> Contribution:
    """Return the parameter's gradients from those of a view of it, factored where they were.

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
) -> SparseRows:
    """Return gradients by row of a table from which all examples looked up the same rows."""
    deltas = contribution.gradients.reshape(contribution.batch_size, -1, shape[1])
    rows = indices.reshape(1, -1)
    return SparseRows(rows.expand(len(deltas), -1), deltas * (rows != padding).unsqueeze(2), shape)


def read_operand(read: ParameterUse) -> Operand:
    """Return what a rule needs; before the backward pass, which gives it back.

    Raises:
        UnsupportedUseError: If no rule covers this use.
        RuntimeError: If the operand was changed in place since.
    """
    return OPERATIONS[read.kind](read.node, read.position)


def find_axes(read: ParameterUse, operand: Operand, dim: int) -> list[int]:
    """Return the axes of an operation's result, of ``dim`` axes, that may hold the examples."""
    if operand.is_product:
        return [0]
    if read.kind == LOOKED_UP:
        return list(range(dim - 1))
    aligned = _align(read.shape, dim)
    return [axis for axis, size in enumerate(aligned) if size == 1]


def differentiate_operation(
    read: ParameterUse, operand: Operand, deltas: Tensor, layout: Layout, batch_size: int
) -> Contribution:
    """Return the gradients of what an operation read, for each example.

    Args:
        read: The operation.
        operand: Its other operand.
        deltas: Gradients at its result.
        layout: Where the examples are in the result.
        batch_size: Number of examples B.

    Returns:
        Gradients of the parameter's view, shape ``(B, *read.shape)``.

    Raises:
        UnsupportedUseError: If the examples are not where the layout says.
    """
    deltas, other = widen((deltas, operand.other))
    if operand.is_product:
        inputs = layout.arrange(other, batch_size)
        return Outer(inputs, layout.arrange(deltas, batch_size), read.shape)
    if read.kind == LOOKED_UP:
        rows = layout.arrange(deltas, batch_size).reshape(batch_size, -1, read.shape[1])
        indices = layout.arrange(other, batch_size).reshape(batch_size, -1)
        kept = (indices != read.node._saved_padding_idx).unsqueeze(2)
        return SparseRows(indices, rows * kept, read.shape)
    if other is not None:
        deltas = deltas * other
    summed = layout.arrange(deltas, batch_size).sum(1)
    aligned = _align(read.shape, deltas.dim())
    del aligned[layout.axis]
    repeated = [axis for axis, size in enumerate(aligned, 1) if size == 1]
    if repeated:
        summed = summed.sum(repeated)
    if operand.scale != 1:
        summed = summed * operand.scale
    return Dense(summed.reshape(batch_size, *read.shape), read.shape)


def _align(shape: torch.Size, dim: int) -> list[int]:
    """Return a shape with ones in front, as it is broadcast to ``dim`` axes."""
    return [1] * (dim - len(shape)) + list(shape)


def _read_addmm(node: Any, position: int) -> Operand:
    if position == 0:
        return Operand(scale=node._saved_beta)
    if position == 2 and node._saved_alpha == 1:
        return Operand(node._saved_mat1, is_product=True)
    raise UnsupportedUseError("the parameter is the left factor of a product")


def _read_mm(node: Any, position: int) -> Operand:
    if position == 1:
        return Operand(node._saved_self, is_product=True)
    raise UnsupportedUseError("the parameter is the left factor of a product")


def _read_add(node: Any, position: int) -> Operand:
    return Operand(scale=node._saved_alpha if position else 1)


def _read_subtract(node: Any, position: int) -> Operand:
    return Operand(scale=-node._saved_alpha if position else 1)


def _read_multiply(node: Any, position: int) -> Operand:
    return Operand(node._saved_self if position else node._saved_other)


OPERATIONS: dict[str, Callable[[Any, int], Operand]] = {
    "AddmmBackward0": _read_addmm,
    "MmBackward0": _read_mm,
    "AddBackward0": _read_add,
    "SubBackward0": _read_subtract,
    "MulBackward0": _read_multiply,
    LOOKED_UP: lambda node, position: Operand(node._saved_indices),
    REPEATED: lambda node, position: Operand(),
}
