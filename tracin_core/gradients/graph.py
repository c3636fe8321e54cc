"""What the autograd graph tells about the parameters that made a result."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def find_parameter_uses(result: Tensor) -> dict[int, list[int]]:
    """Find every place where a leaf tensor enters the computation of ``result``.

    Args:
        result: A tensor with a gradient graph.

    Returns:
        For each leaf by ``id``: the sequence number of each operation that reads it. Autograd
        numbers operations in the order of execution.
    """
    uses: dict[int, list[int]] = {}
    waiting: list[Any] = [result.grad_fn] if result.grad_fn is not None else []
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        for source, _ in node.next_functions:
            if source is None:
                continue
            leaf = getattr(source, "variable", None)
            if leaf is not None:
                uses.setdefault(id(leaf), []).append(node._sequence_nr())
            elif source not in seen:
                seen.add(source)
                waiting.append(source)
    return uses
