"""Parameters that no layer's rule covers, by the operations that read them.

In the trial, every operation that reads the parameter must have a rule, and its gradients must
tell where the examples are. In a batch, the same operations must be found again; where they are
not, the parameter is named as missing, and the fallback steps in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tracin_core.gradients.contributions import Contribution
from tracin_core.gradients.graph import Reader, find_readers
from tracin_core.gradients.layouts import Layout, find_layout
from tracin_core.gradients.operations import (
    OPERATIONS,
    Operand,
    differentiate_operation,
    find_axes,
    read_operand,
)
from tracin_core.gradients.reads import VIEWS, Read, find_reads, pull_back
from tracin_core.gradients.registry import UnsupportedUseError


@dataclass(frozen=True)
class KnownRead:
    """An operation that reads a parameter, as the trial saw it.

    Attributes:
        kind: Name of the operation.
        position: Which of its inputs the parameter is.
        layout: Where the examples are in its result.
    """

    kind: str
    position: int
    layout: Layout


@dataclass(frozen=True)
class OpenRead:
    """A read of this batch, with its operand taken out of the graph."""

    read: Read
    operand: Operand


Known = Mapping[str, Sequence[KnownRead]]
Opened = list[tuple[str, list[OpenRead]]]


def open_reads(result: Tensor, parameters: Mapping[str, Tensor], known: Known) -> Opened:
    """Find the known reads again in a batch's graph, before its backward pass.

    Args:
        result: The objective.
        parameters: Every known parameter, as it is in place.
        known: The reads of the trial.

    Returns:
        The reads of each parameter that is read by the same operations as in the trial.
    """
    readers, leaves = _read_graph(result)
    opened: Opened = []
    for name, expected in known.items():
        kinds = {read.kind for read in expected}
        try:
            reads = _open(readers, parameters[name], leaves, kinds)
        except UnsupportedUseError:
            continue
        if [_signature(item) for item in reads] == [(k.kind, k.position) for k in expected]:
            opened.append((name, reads))
    return opened


def open_candidates(result: Tensor, parameters: Mapping[str, Tensor]) -> Opened:
    """Find the ways in which rules may cover each parameter, likelier first.

    A look-up or a repetition may bring the examples in, or come before the operation that does.
    """
    readers, leaves = _read_graph(result)
    opened: Opened = []
    for name, parameter in parameters.items():
        for kinds in (OPERATIONS.keys(), OPERATIONS.keys() - VIEWS):
            try:
                opened.append((name, _open(readers, parameter, leaves, kinds)))
            except UnsupportedUseError:
                continue
    return opened


def take_deltas(
    opened: Opened, deltas: Iterable[Tensor | None]
) -> Iterator[tuple[str, list[OpenRead], list[Tensor | None]]]:
    """Yield each parameter's reads with the gradients at their results."""
    rest = iter(deltas)
    for name, reads in opened:
        yield name, reads, [next(rest) for _ in reads]


def learn_layouts(reads: Sequence[OpenRead], deltas: Sequence[Tensor | None]) -> list[KnownRead]:
    """Learn from the trial where the examples are in each operation's result.

    Raises:
        UnsupportedUseError: If that cannot be told.
    """
    known = []
    for item, delta in zip(reads, deltas, strict=True):
        if delta is None:
            raise UnsupportedUseError("the trial example does not reach every use")
        layout = find_layout(delta, find_axes(item.read, item.operand, delta))
        known.append(KnownRead(item.read.kind, item.read.position, layout))
    return known


def differentiate_reads(
    reads: Sequence[OpenRead],
    deltas: Sequence[Tensor | None],
    known: Sequence[KnownRead],
    parameter: Tensor,
    batch_size: int,
) -> list[Contribution]:
    """Return what each read contributes to the gradients of a parameter.

    Raises:
        UnsupportedUseError: If the examples are not where they were in the trial.
    """
    contributions = []
    for item, delta, expected in zip(reads, deltas, known, strict=True):
        if delta is not None:
            view = differentiate_operation(
                item.read, item.operand, delta, expected.layout, batch_size
            )
            contributions.append(pull_back(view, item.read, parameter))
    return contributions


def _open(
    readers: Mapping[Any, list[Reader]],
    parameter: Tensor,
    leaves: Mapping[int, Any],
    kinds: Collection[str],
) -> list[OpenRead]:
    leaf = leaves.get(id(parameter))
    if leaf is None:
        return []
    try:
        reads = find_reads(readers, parameter, leaf, kinds)
        return [OpenRead(read, read_operand(read)) for read in reads]
    except RuntimeError as error:
        # Autograd's own word where an operand was changed in place since.
        raise UnsupportedUseError(str(error).splitlines()[0]) from error


def _signature(item: OpenRead) -> tuple[str, int]:
    return item.read.kind, item.read.position


def _read_graph(result: Tensor) -> tuple[dict[Any, list[Reader]], dict[int, Any]]:
    readers = find_readers(result)
    leaves = {id(node.variable): node for node in readers if hasattr(node, "variable")}
    return readers, leaves
