"""Parameters that no layer's rule covers, by the operations that read them.

In the trial, every operation that reads the parameter must have a rule, and its gradients must
tell where the examples are. In a batch, operations of the same kinds must read it, and tell again
or be known to move rows as in a batch that told; where they do not, the parameter is named as
missing, and the fallback steps in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from tracin_core.gradients.contributions import Contribution
from tracin_core.gradients.graph import GraphSurvey
from tracin_core.gradients.layouts import Layout, find_layout
from tracin_core.gradients.operations import (
    OPERATIONS,
    Operand,
    differentiate_operation,
    find_axes,
    read_operand,
)
from tracin_core.gradients.owners import MarkedGradients
from tracin_core.gradients.reads import VIEWS, Read, find_reads, pull_back
from tracin_core.gradients.registry import UnsupportedUseError


@dataclass(frozen=True)
class KnownRead:
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

    read: Read
    operand: Operand

    def list_axes(self) -> list[int]:
        """Return the axes of the operation's result that may hold the examples."""
        edge = self.read.edge
        shape = edge.node._input_metadata[edge.output_nr].shape
        return find_axes(self.read, self.operand, len(shape))


Known = Mapping[str, Sequence[KnownRead]]
Opened = list[tuple[str, list[OpenRead]]]
# Where the examples are in each read's result; ``None`` where nothing reaches it.
Layouts = Sequence[Layout | None]
T = TypeVar("T")


def open_reads(survey: GraphSurvey, parameters: Mapping[str, Tensor], known: Known) -> Opened:
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


def take_each(opened: Opened, values: Iterable[T]) -> Iterator[tuple[str, list[OpenRead], list[T]]]:
    """Yield each parameter's reads with what there is for each of them."""
    rest = iter(values)
    for name, reads in opened:
        yield name, reads, [next(rest) for _ in reads]


def describe_reads(reads: Sequence[OpenRead]) -> list[KnownRead]:
    """Return what a later batch is compared with."""
    return [KnownRead(item.read.kind, item.read.position) for item in reads]


def learn_layouts(
    reads: Sequence[OpenRead], marks: Sequence[MarkedGradients | None]
) -> list[Layout | None]:
    """Learn where the examples are in each operation's result.

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
