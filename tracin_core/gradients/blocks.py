"""Proof from the gradient graph alone that the examples of a batch lie in their order.

The claim, for every tensor with gradients: of its numbers in their logical order, the first B-th
belongs to the first example, the second B-th to the second, and so on. Reshaping keeps it whatever
the shapes, because it keeps the order. Everything else must leave the first axis alone, whose size
is a multiple of B, and take its operands row by row. Plain and convolutional networks are proved so
at the price of a look at their graph; where one operation is in doubt, nothing is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

LEAF = "torch::autograd::AccumulateGrad"
RESHAPING = frozenset(
    {"View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze", "Alias", "Clone", "ToCopy"}
)
# Number by number, or row by row of the first axis.
ROWWISE = frozenset(
    """
    Abs AdaptiveAvgPool2D Add AvgPool2D Baddbmm Bmm Celu Clamp ClampMax ClampMin Cos Div Elu Erf Exp
    Gelu Hardshrink Hardsigmoid Hardswish Hardtanh LeakyRelu Log Log1P LogSigmoid MaskedFill
    MaxPool2DWithIndices Mish Mul Neg Pow Relu Rsqrt ScaledDotProductEfficientAttention
    ScaledDotProductFlashAttention ScaledDotProductFlashAttentionForCpu Sigmoid Silu Sin Softplus
    Softshrink Sqrt Sub Tanh Threshold Where
    """.split()  # noqa: SIM905
)
# The same, with parameters as the operands after the first so many.
WITH_WEIGHTS = {
    "Addmm": (1,),
    "Convolution": (0,),
    "Embedding": (),
    "Mm": (0,),
    "NativeBatchNorm": (0,),
    "NativeLayerNorm": (0,),
    "CudnnBatchNorm": (0,),
    "PreluKernel": (0,),
}
# Along axes that must not be the first.
ALONG_AXES = {
    "Cat": "dim",
    "LogSoftmax": "dim",
    "Mean": "dim",
    "Permute": "dims",
    "Select": "dim",
    "Slice": "dim",
    "Softmax": "dim",
    "Sum": "dim",
    "Transpose": ("dim0", "dim1"),
}
# What may stand between a parameter and the operation that reads it.
OF_PARAMETERS = RESHAPING | {"T", "Transpose", "Permute", "Expand", "Slice", "Select"}
_BUILT_IN = re.compile(r"(\w+?)Backward\d+")
_KINDS: dict[str, str] = {}


def keeps_blocks(node: Any, batch_size: int) -> bool:
    """Whether an operation of the gradient graph hands the claim on.

    Args:
        node: The operation; its saved tensors must still be there.
        batch_size: Number of examples B.
    """
    name = node.name()
    if name == LEAF:
        return True
    if getattr(getattr(node, "_forward_cls", None), "keeps_rows", False):
        return _takes_rows(node, batch_size, None, same_axes=False)
    kind = _KINDS.get(name)
    if kind is None:
        match = _BUILT_IN.fullmatch(name)
        kind = _KINDS[name] = "" if match is None else match[1]
    if kind in RESHAPING:
        return True
    if kind in ROWWISE:
        return _takes_rows(node, batch_size, None)
    if kind in WITH_WEIGHTS:
        return _takes_rows(node, batch_size, WITH_WEIGHTS[kind])
    if kind in ALONG_AXES and _spares_first_axis(node, ALONG_AXES[kind]):
        return _takes_rows(node, batch_size, None, same_axes=False)
    return is_of_parameters(node)


def is_of_parameters(node: Any) -> bool:
    """Whether a node is a parameter or a view of one, in which there is no example."""
    name = node.name()
    if name == LEAF:
        return True
    match = _BUILT_IN.fullmatch(name)
    if match is None or match[1] not in OF_PARAMETERS:
        return False
    return all(source is None or is_of_parameters(source) for source, _ in node.next_functions)


def _takes_rows(
    node: Any, batch_size: int, rows: Sequence[int] | None, *, same_axes: bool = True
) -> bool:
    """Whether results and operands have the same rows, as many as examples or a multiple.

    Args:
        node: The operation.
        batch_size: Number of examples B.
        rows: Positions of the operands with rows; ``None`` for all but parameters.
        same_axes: Whether operands must have as many axes as the result.
    """
    shape = node._input_metadata[0].shape
    if not shape or shape[0] % batch_size or not shape[0]:
        return False
    for position, (source, output) in enumerate(node.next_functions):
        if source is None:
            continue
        if rows is not None and position not in rows:
            if not is_of_parameters(source):
                return False
            continue
        if source.name() == LEAF or is_of_parameters(source):
            if rows is not None:
                return False
            continue
        own = source._input_metadata[output].shape
        if not own or own[0] != shape[0] or (same_axes and len(own) != len(shape)):
            return False
    return True


def _spares_first_axis(node: Any, names: str | tuple[str, str]) -> bool:
    """Whether none of the axes along which an operation works is the first."""
    try:
        found = [
            getattr(node, f"_saved_{name}")
            for name in ((names,) if isinstance(names, str) else names)
        ]
    except (AttributeError, RuntimeError):
        return False
    if isinstance(names, str) and names == "dims":
        # A permutation: the first axis must stay the first.
        return bool(found[0]) and found[0][0] == 0
    axes = [axis for one in found for axis in (one if isinstance(one, tuple | list) else (one,))]
    sources = [
        source._input_metadata[output].shape for source, output in node.next_functions if source
    ]
    # Autograd gives a negative axis as the unsigned number that has the same bits.
    signed = [axis - 2**64 if axis >= 2**63 else axis for axis in axes]
    return bool(axes) and all(
        axis % len(shape) != 0 if shape else False for axis in signed for shape in sources
    )
