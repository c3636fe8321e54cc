"""Per-example gradients of parameters outside the layers' rules, by the operations that read them.

Parameters that no layer's call reads (attention's projections, position embeddings, a weight used
functionally) leave their traces in the autograd graph: it names every operation that read them,
through whatever was made of them before, and keeps what that operation needs for its own gradient.
An operation that brings a parameter, or a tensor made of it, to every example is a *read*. Which
operations those are, the trial finds: the first on each way whose result shows the examples.

In a batch, the same ways must lead to reads, and the examples must show again in their results;
where they do not, the parameter is named as missing, and the fallback steps in. ``Proofs`` keeps
which batches were looked at closer.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tracin_core.gradients.factored import Contribution
from tracin_core.gradients.graph.operations import (
    LOOKED_UP,
    OPERATIONS,
    VIEWS,
    Operand,
    ParameterUse,
    differentiate_operation,
    find_axes,
    read_operand,
)
from tracin_core.gradients.graph.ownership import (
    Layout,
    MarkedGradients,
    find_layout,
    name_layout,
)
from tracin_core.gradients.graph.pull_back import (
    PulledBack,
    Sources,
    check_apart,
    holds_whole,
    list_views,
    pull_back_views,
)
from tracin_core.gradients.graph.standardised import (
    RowGains,
    StandardisedRead,
    open_standardised,
)
from tracin_core.gradients.graph.survey import GraphSurvey, Reader
from tracin_core.gradients.rules.registry import UnsupportedUseError

# Operations between a parameter and its reads. A network over positions, a merged weight and a
# norm have a few dozen; beyond, the parameter was not what all examples share.
MOST_PASSED = 96


@dataclass(frozen=True)
class FreeParameterUse:
    """An operation that reads a parameter, as the trial saw it.

    Attributes:
        path: Names of the operations from the parameter to the one that reads it, without views
            on the way.
        numbers: In a whole gradient that has to be written out for each example, 0 if none.
    """

    path: tuple[str, ...]
    numbers: int = 0

    @property
    def kind(self) -> str:
        """Name of the operation."""
        return self.path[-1]


@dataclass(frozen=True)
class KnownReads:
    """What a parameter went through in the trial.

    Attributes:
        reads: The operations that read it.
        ways: Names of the operations from the parameter to each that was no read, and that one.
        instead: Why a rule that a person registered is not used for it; "" if there is none.
    """

    reads: tuple[FreeParameterUse, ...]
    ways: frozenset[tuple[str, ...]] = frozenset()
    instead: str = ""

    @property
    def written_numbers(self) -> int:
        """Numbers in a whole gradient that has to be written out for each example."""
        return max((read.numbers for read in self.reads), default=0)


@dataclass(frozen=True)
class OpenRead:
    """A read of this batch, with its operand taken out of the graph."""

    read: ParameterUse
    operand: Operand

    def list_axes(self) -> list[int]:
        """Return the axes of the operation's result that may hold the examples."""
        return find_axes(self.read, self.operand, len(_shape_of(self.read)))


FreeParameters = Mapping[str, KnownReads]
Opened = list[tuple[str, list[OpenRead]]]
# Where the examples are in each read's result; ``None`` where nothing reaches it.
Layouts = Sequence[Layout | None]
Gradients = dict[str, list[Contribution]]
T = TypeVar("T")


def list_possible(survey: GraphSurvey, parameters: Mapping[str, Tensor]) -> dict[Any, GradientEdge]:
    """Return the results that marks must tell of before it is known what reads the parameters.

    Args:
        survey: The graph of the trial.
        parameters: By name.

    Returns:
        By operation: its result, where the graph alone does not prove the examples' places.
    """
    edges: dict[Any, GradientEdge] = {}
    for parameter in parameters.values():
        leaf = survey.leaves.get(id(parameter))
        seen, waiting = {leaf}, deque([leaf])
        while waiting and len(seen) <= MOST_PASSED:
            for reader in survey.readers.get(waiting.popleft(), ()):
                node = reader.node
                if node in seen or survey.places.get((node, 0)) is not None:
                    continue
                seen.add(node)
                waiting.append(node)
                if node.name() in OPERATIONS:
                    edges[node] = GradientEdge(node, 0)
    return edges


def open_candidates(
    survey: GraphSurvey,
    parameters: Mapping[str, Tensor],
    marks: Mapping[Any, MarkedGradients | None],
) -> tuple[Opened, dict[str, frozenset[tuple[str, ...]]]]:
    """Find what reads each parameter in the trial: the first operations that show the examples.

    Args:
        survey: The graph of the trial.
        parameters: By name.
        marks: What ``list_possible`` asked for.

    Returns:
        The reads, and the ways to what was none of them, by parameter.
    """
    opened: Opened = []
    ways = {}
    for name, parameter in parameters.items():
        # Of one example's gradients alone it cannot be told what the others share.
        for least in (2, 0):
            finder = _Finder(survey, marks, least)
            try:
                opened.append((name, _open(survey, parameter, finder)))
            except UnsupportedUseError:
                continue
            ways[name] = frozenset(finder.ways)
            break
    return opened, ways


@dataclass(frozen=True)
class _Finder:
    """Decides in the trial where the examples come in."""

    survey: GraphSurvey
    marks: Mapping[Any, MarkedGradients | None]
    least: int
    ways: set[tuple[str, ...]] = field(default_factory=set)

    def __call__(self, use: ParameterUse) -> bool:
        is_read = self._is_read(use)
        if not is_read:
            self.ways.add(use.path)
        return is_read

    def _is_read(self, use: ParameterUse) -> bool:
        is_proved = self.survey.places.get((use.node, 0)) is not None
        if use.kind in OPERATIONS:
            mark = self.marks.get(use.node)
            if not is_proved and use.node in self.marks and mark is None:
                return True  # nothing reaches it
            try:
                item = OpenRead(use, read_operand(use))
                if locate_read(item, self.survey) is not None:
                    return True
                if mark is not None and find_layout(mark, item.list_axes(), self.least):
                    return True
            except UnsupportedUseError:
                # It may come before the operation that has a rule.
                if is_proved:
                    raise
        if is_proved:
            raise UnsupportedUseError(f"no rule for {use.kind.removesuffix('0')}")
        return False


def open_reads(
    survey: GraphSurvey, parameters: Mapping[str, Tensor], known: FreeParameters
) -> Opened:
    """Find the known reads again in a batch's graph, before its backward pass.

    Args:
        survey: The batch's graph.
        parameters: Every known parameter, as it is in place.
        known: The reads of the trial.

    Returns:
        The reads of each parameter to which only the trial's ways lead.
    """
    opened: Opened = []
    for name, expected in known.items():
        try:
            opened.append((name, _open(survey, parameters[name], _Follower(survey, expected))))
        except UnsupportedUseError:
            continue
    return opened


class _Follower:
    """Decides in a batch where the examples come in: where they did in the trial."""

    def __init__(self, survey: GraphSurvey, expected: KnownReads) -> None:
        self._survey = survey
        self._paths = {read.path for read in expected.reads}
        self._ways = expected.ways

    def __call__(self, use: ParameterUse) -> bool:
        goes_on = use.path in self._ways
        if use.path in self._paths:
            # Of a layer that is called with and without examples, the graph tells which call it is.
            return not goes_on or self._survey.places.get((use.node, 0)) is not None
        if goes_on or use.kind in VIEWS:
            return False
        raise UnsupportedUseError(f"no rule for {use.kind.removesuffix('0')}")


def take_each(opened: Opened, values: Iterable[T]) -> Iterator[tuple[str, list[OpenRead], list[T]]]:
    """Yield each parameter's reads with what there is for each of them."""
    rest = iter(values)
    for name, reads in opened:
        yield name, reads, [next(rest) for _ in reads]


def describe_reads(
    reads: Sequence[OpenRead], parameter: Tensor, found: Sequence[Contribution]
) -> tuple[FreeParameterUse, ...]:
    """Return what a later batch is compared with.

    Args:
        reads: Of a parameter.
        parameter: The parameter.
        found: What they contributed to its gradients.
    """
    is_written = any(holds_whole(item) for item in found)
    numbers: dict[tuple[str, ...], int] = {}
    for read, operand in ((item.read, item.operand) for item in reads):
        own = read.shape.numel() if operand.is_product and read.views and is_written else 0
        whole = max(own, parameter.numel()) if own else 0
        numbers[read.path] = max(whole, numbers.get(read.path, 0))
    return tuple(FreeParameterUse(path, whole) for path, whole in numbers.items())


def locate_read(item: OpenRead, survey: GraphSurvey) -> Layout | None:
    """Return where the examples are in an operation's result, if the graph alone proves it."""
    place = survey.places.get((item.read.node, 0))
    if place is None or survey.batch_size is None:
        return None
    return name_layout(_shape_of(item.read), place, item.list_axes(), survey.batch_size)


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


def has_passed(opened: Opened) -> bool:
    """Return whether a parameter's gradients lead back through more than views of it."""
    return any(item.read.passed for _, reads in opened for item in reads)


def differentiate_reads(
    opened: Opened,
    deltas: Sequence[Tensor | None],
    layouts: Mapping[str, Layouts],
    parameters: Mapping[str, Tensor],
    batch_size: int,
    missing: dict[str, str],
) -> Gradients:
    """Return what the reads contribute to the gradients of each parameter.

    Args:
        opened: The reads of each parameter.
        deltas: Gradients at their results.
        layouts: Where the examples are in these, by parameter.
        parameters: By name.
        batch_size: Number of examples B.
        missing: Parameters left out; those that cannot be differentiated are added.
    """
    gradients: Gradients = {}
    groups: dict[Hashable, Sources] = {}
    done: dict[tuple[Any, int], Contribution] = {}
    standardised: dict[tuple[Any, int], StandardisedRead | None] = {}
    for name, reads, found in take_each(opened, deltas):
        if name not in layouts or name in missing:
            continue
        gradients[name], sources = [], Sources(batch_size)
        try:
            for item, delta, layout in zip(reads, found, layouts[name], strict=True):
                if delta is None or layout is None:
                    continue
                place = (item.read.node, item.read.position)
                if place not in done:
                    done[place] = differentiate_operation(
                        item.read, item.operand, delta, layout, batch_size
                    )
                direct = pull_back_views(done[place], item.read, parameters[name])
                if direct is None:
                    if place not in standardised:
                        standardised[place] = open_standardised(done[place], item.read)
                    behind = standardised[place]
                    direct = _follow_back(done[place], item.read, behind, parameters[name], sources)
                if direct is not None:
                    gradients[name].append(direct)
        except UnsupportedUseError as error:
            missing[name] = str(error)
            continue
        if sources.gradients:
            sources = groups.setdefault(sources.key, sources)
            sources.parameters[name] = parameters[name]
            gradients[name].append(PulledBack(sources, name, 0, batch_size))
    # The largest first: what else was made of the same is found on the way.
    order = sorted(gradients, key=lambda name: -parameters[name].numel())
    return {name: gradients[name] for name in order if name not in missing}


def _follow_back(
    contribution: Contribution,
    read: ParameterUse,
    standardised: StandardisedRead | None,
    parameter: Tensor,
    sources: Sources,
) -> Contribution | None:
    """Return the gradients of a standardised kernel; else note where autograd's formulas begin."""
    made_by = list_views(read)[-1]
    if standardised is not None:
        if standardised.kernel is parameter:
            return standardised.gradients
        contribution, made_by = standardised.gains, standardised.made_by
        if hasattr(made_by[0], "variable"):
            return RowGains(standardised.gradients, parameter.shape)
    sources.add(contribution, made_by, (read.node, read.position))
    return None


def _open(
    survey: GraphSurvey, parameter: Tensor, is_read: Callable[[ParameterUse], bool]
) -> list[OpenRead]:
    leaf = survey.leaves.get(id(parameter))
    if leaf is None:
        return []
    try:
        reads = find_reads(survey.readers, parameter, leaf, is_read)
        check_apart(reads)
        return [OpenRead(read, read_operand(read)) for read in reads]
    except RuntimeError as error:
        # Autograd's own word where an operand was changed in place since.
        raise UnsupportedUseError(str(error).splitlines()[0]) from error


def _shape_of(read: ParameterUse) -> torch.Size:
    """Return the shape of the result of the operation that reads."""
    return torch.Size(read.node._input_metadata[0].shape)


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
    readers: Mapping[Any, list[Reader]],
    parameter: Tensor,
    leaf: Any,
    is_read: Callable[[ParameterUse], bool],
) -> list[ParameterUse]:
    """Follow a parameter, and what is made of it, to all operations that read it.

    Args:
        readers: Of the whole graph.
        parameter: The parameter.
        leaf: Its node.
        is_read: Whether an operation is such a one; else what it makes is followed.

    Returns:
        The reads, in the order of execution.

    Raises:
        UnsupportedUseError: If they are too far away, or ``is_read`` raises it.
    """
    found: dict[tuple[Any, int], ParameterUse] = {}
    passed: set[Any] = set()
    waiting = deque([(leaf, 0, ParameterUse(leaf, 0, parameter.shape))])
    while waiting:
        source, output, so_far = waiting.popleft()
        for node, position, which in readers.get(source, ()):
            if which != output or (node, position) in found:
                continue
            use = replace(so_far, node=node, position=position)
            if is_read(use):
                found[node, position] = use
            elif node not in passed:
                passed.add(node)
                waiting.extend(_list_results(use))
        if len(passed) > MOST_PASSED:
            raise UnsupportedUseError("too much is made of the parameter")
    return sorted(found.values(), key=lambda read: (read.node._sequence_nr(), read.position))


def _list_results(use: ParameterUse) -> Iterator[tuple[Any, int, ParameterUse]]:
    """Yield what an operation makes of what it read."""
    node, kind = use.node, use.kind
    looked_up = use.looked_up
    if kind == LOOKED_UP:
        looked_up = node._saved_indices, node._saved_padding_idx
    for index, result in enumerate(node._input_metadata):
        made = ParameterUse(
            node,
            0,
            torch.Size(result.shape),
            (*use.views, (node, index)),
            use.passed if kind in VIEWS else use.path,
            looked_up,
        )
        yield node, index, made
