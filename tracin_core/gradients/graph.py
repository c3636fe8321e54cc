"""What the autograd graph tells about the parameters that made a result."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


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


def find_readers(result: Tensor) -> dict[Any, list[Reader]]:
    """Return the operations that read each node in the gradient graph of ``result``.

    A leaf tensor is the node that would accumulate its gradient, with a ``variable``.
    """
    readers: dict[Any, list[Reader]] = {}
    waiting: list[Any] = [result.grad_fn] if result.grad_fn is not None else []
    while waiting:
        node = waiting.pop()
        for position, (source, output) in enumerate(node.next_functions):
            if source is None:
                continue
            if source not in readers:
                readers[source] = []
                waiting.append(source)
            readers[source].append(Reader(node, position, output))
    return readers


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
        for node, readers in find_readers(result).items()
        if hasattr(node, "variable")
    }
