"""What the autograd graph tells about the parameters and the examples that made a result."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor

from tracin_core.gradients.blocks import Place, follow_examples
from tracin_core.gradients.movement import describe_movement


class Reader(NamedTuple):
    """One operation that reads another's result.

    Attributes:
        node: The operation.
        position: Which of its inputs it is.
        output: Which result of the other it reads.
    """

    node: Any
    position: int
    output: int


@dataclass(frozen=True)
class GraphSurvey:
    """The gradient graph of a batch.

    Attributes:
        readers: The operations that read each node. A leaf tensor is the node that would
            accumulate its gradient, with a ``variable``.
        signature: Equal for two batches of one size only where the same operations moved their
            rows in the same ways; ``None`` where that cannot be told, or need not.
        root: The operation that gave the result, and which of its results that is.
        batch_size: Number of examples B, where it was given.
    """

    readers: dict[Any, list[Reader]]
    signature: Hashable | None = None
    root: tuple[Any, int] | None = None
    batch_size: int | None = None

    @cached_property
    def leaves(self) -> dict[int, Any]:
        """The nodes of leaf tensors, by the ``id`` of the tensor."""
        return {id(node.variable): node for node in self.readers if hasattr(node, "variable")}

    @cached_property
    def places(self) -> dict[Any, Place | None]:
        """Where the examples are in each operation's results, as far as the graph proves it."""
        # Of a single example there is nothing to be followed.
        if self.root is None or self.batch_size is None or self.batch_size < 2:
            return {}
        return follow_examples((self.root[0], *self.readers), self.root, self.batch_size)

    def count_reads(self, parameter: Tensor) -> int:
        """Return how many operations read a leaf tensor."""
        return len(self.readers.get(self.leaves.get(id(parameter)), ()))


def survey_graph(result: Tensor, batch_size: int | None = None) -> GraphSurvey:
    """Walk the gradient graph of ``result`` once, before its backward pass.

    Args:
        result: A tensor with a gradient graph.
        batch_size: Number of examples B; without it no signature is taken.
    """
    readers: dict[Any, list[Reader]] = {}
    root = result.grad_fn
    if root is None:
        return GraphSurvey(readers)
    numbers = {root: 0}
    waiting, parts = [root], []
    is_told = batch_size is not None
    while waiting:
        node = waiting.pop()
        sources = []
        for position, (source, output) in enumerate(node.next_functions):
            if source is None:
                continue
            if source not in numbers:
                numbers[source] = len(numbers)
                readers[source] = []
                waiting.append(source)
            readers[source].append(Reader(node, position, output))
            sources.append((position, numbers[source], output))
        if is_told and batch_size is not None:
            movement = describe_movement(node, batch_size)
            is_told = movement is not None
            parts.append((movement, tuple(sources)))
    signature = hash(tuple(parts)) if is_told else None
    return GraphSurvey(readers, signature, (root, result.output_nr), batch_size)


def find_parameter_uses(result: Tensor) -> dict[int, list[int]]:
    """Find every place where a leaf tensor enters the computation of ``result``.

    Args:
        result: A tensor with a gradient graph.

    Returns:
        For each leaf by ``id``: the sequence number of each operation that reads it. Autograd
        numbers operations in the order of execution.
    """
    return {
        id(node.variable): [reader.node._sequence_nr() for reader in readers]
        for node, readers in survey_graph(result).readers.items()
        if hasattr(node, "variable")
    }
