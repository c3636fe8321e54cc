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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tracin_core.errors import GradientError
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
# Numbers of a batch that are kept of a parameter until it is asked for.
MOST_FOUND = 1 << 22
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
    views = list_views(read)
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


def list_views(read: ParameterUse) -> list[tuple[Any, int]]:
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


class RowStore:
    """Numbers of a batch's examples that come up while others are computed.

    Args:
        batch_size: Number of examples B.
    """

    def __init__(self, batch_size: int) -> None:
        self._is_known = [False] * batch_size
        self._values: Tensor | None = None

    def put(self, start: int, values: Tensor) -> None:
        """Keep the numbers of the examples from ``start`` on, shape ``(b, ...)``."""
        if self._values is None:
            self._values = values.new_empty(len(self._is_known), *values.shape[1:])
        stop = start + len(values)
        self._values[start:stop] = values
        self._is_known[start:stop] = [True] * len(values)

    def get(self, start: int, stop: int) -> Tensor | None:
        """Return the numbers of some examples, or ``None`` if some are not known."""
        if self._values is None or not all(self._is_known[start:stop]):
            return None
        return self._values[start:stop]


@dataclass
class Sources:
    """Tensors made of parameters, with each example's gradients there.

    Attributes:
        batch_size: Number of examples B.
        gradients: By operation that made the tensor, and which of its results it is: what the
            operations that read it contribute.
        read_at: Where the gradients come from.
        parameters: Those that the tensors were made of, by name.
    """

    batch_size: int
    gradients: dict[tuple[Any, int], list[Contribution]] = field(default_factory=dict)
    read_at: set[tuple[Any, int]] = field(default_factory=set)
    parameters: dict[str, Tensor] = field(default_factory=dict)
    _found: dict[str, RowStore] = field(default_factory=dict)

    @property
    def key(self) -> frozenset[tuple[Any, int]]:
        """Equal for parameters of which the same tensors were made."""
        return frozenset(self.read_at)

    @property
    def device(self) -> torch.device:
        """Where the gradients are."""
        return next(iter(self.gradients.values()))[0].device

    def add(
        self, contribution: Contribution, made_by: tuple[Any, int], read_at: tuple[Any, int]
    ) -> None:
        """Add what an operation that reads such a tensor gives."""
        self.gradients.setdefault(made_by, []).append(contribution)
        self.read_at.add(read_at)

    def pull_back(self, name: str, start: int, stop: int) -> Tensor:
        """Return a parameter's gradients for some examples, shape ``(b, *shape)``.

        Raises:
            GradientError: If autograd cannot go that way.
        """
        known = self._found[name].get(start, stop) if name in self._found else None
        if known is not None:
            return known
        shapes = [parts[0].shape for parts in self.gradients.values()]
        shapes += [parameter.shape for parameter in self.parameters.values()]
        largest = max(shape.numel() for shape in shapes)
        step = max(1, choose_chunks(self.device).gradients // max(1, largest))
        chunks = [self._pull_back(name, i, min(i + step, stop)) for i in range(start, stop, step)]
        return chunks[0] if len(chunks) == 1 else torch.cat(chunks)

    def _pull_back(self, name: str, start: int, stop: int) -> Tensor:
        edges = [GradientEdge(*made_by) for made_by in self.gradients]
        wholes = [_add_up(parts, start, stop) for parts in self.gradients.values()]
        found = dict(
            zip(
                self.parameters,
                _differentiate(edges, list(self.parameters.values()), wholes),
                strict=True,
            )
        )
        wanted = found.pop(name)
        for other, gradients in found.items():
            # Asked for next; what is large is computed again rather than held.
            if self.batch_size * gradients[0].numel() <= MOST_FOUND:
                self._found.setdefault(other, RowStore(self.batch_size)).put(start, gradients)
        return wanted


def _add_up(parts: Sequence[Contribution], start: int, stop: int) -> Tensor:
    """Return the whole gradients of some examples, summed over contributions."""
    total = parts[0].narrow(start, stop).instantiate()
    for part in parts[1:]:
        total = total + part.narrow(start, stop).instantiate()
    return total


@dataclass(frozen=True)
class PulledBack(Contribution):
    """Gradients of a parameter by way of what is made of it, not yet computed.

    Attributes:
        sources: The gradients of what is made of it, for the whole batch.
        name: The parameter.
        start: The first example.
        stop: The one after the last.
    """

    sources: Sources
    name: str
    start: int
    stop: int

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        """Shape of the parameter."""
        return self.sources.parameters[self.name].shape

    @property
    def batch_size(self) -> int:
        """Number of examples B."""
        return self.stop - self.start

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.sources.device

    @property
    def is_factored(self) -> bool:
        """Never: what is known of the norms there says nothing of the parameter's."""
        return False

    @property
    def is_plain(self) -> bool:
        """Never: it needs the batch's graph."""
        return False

    def narrow(self, start: int, stop: int) -> PulledBack:
        """Return the same for the examples ``start`` to ``stop``."""
        stop = min(self.start + stop, self.stop)
        return PulledBack(self.sources, self.name, self.start + start, stop)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, *shape)``."""
        return self.sources.pull_back(self.name, self.start, self.stop)


def holds_whole(contribution: Contribution) -> bool:
    """Return whether gradients are held whole, of the parameter or of what is made of it."""
    if isinstance(contribution, PulledBack):
        parts = contribution.sources.gradients.values()
        return any(isinstance(part, Dense) for each in parts for part in each)
    return isinstance(contribution, Dense)


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
        raise GradientError(
            "What a model makes of its parameters cannot be differentiated for one example "
            f"({str(error).splitlines()[0]}); expected formulas that autograd can go back through "
            "again. Leave those parameters out (`layers`), or mend the function of them."
        ) from error
    return [torch.stack(items) for items in zip(*rows, strict=True)]
