"""Trace where a batch's examples lie, from their objectives back through the autograd graph.

The objectives themselves lie in order. From there backwards, each operation has a rule for where
in its operands the numbers are whose gradients come from an example's numbers in its result.
Nothing but shapes and the program's own numbers enter, and what an operation might move by its
data, or mix, is unknown, with all that is behind it. So what is found is proved for this batch, at
the price of a look at its graph: for most networks, at the output of every layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from tracin_core.gradients.graph.places import Axis, ListedRows, Place, find_axis

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """An operation, from the one of its results that gradients come from.

    Attributes:
        node: The operation.
        output: Which of its results.
        shape: Shape of that result.
        axis: Where the examples are in it.
        operands: Shapes of the operands with gradients, by position.
        size: Number of examples B.
    """

    node: Any
    output: int
    shape: Shape
    axis: Axis
    operands: Mapping[int, Shape]
    size: int


# A step -> for each operand its axis that is the result's axis of the examples, or the place
# itself; others are unknown.
Rule = Callable[[Step], Mapping[int, "int | Place | ListedRows"]]
LEAF = "torch::autograd::AccumulateGrad"
# An operation in place on a view: from the tensor viewed to itself, with the view changed.
WRITTEN_IN_PLACE = "torch::autograd::CopySlices"
COPIED = "torch::autograd::CopyBackwards"
RESHAPING = frozenset(
    {"View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze", "Alias", "Clone", "ToCopy"}
)
# Number by number; smaller operands are repeated along the axes that they lack.
BY_NUMBER = frozenset(
    """
    Abs Acos Add Addcdiv Addcmul Asin Atan Atan2 Celu Clamp ClampMax ClampMin Cos Cosh Div Elu Erf
    Erfc Exp Exp2 Expand Expm1 Gelu Hardshrink Hardsigmoid Hardswish Hardtanh LeakyRelu Lerp Log
    Log10 Log1P Log2 LogSigmoid Logaddexp MaskedFill Maximum Minimum Mish Mul NanToNum NativeDropout
    Neg Pow PreluKernel Reciprocal Relu Relu6 Rsqrt Rsub Selu Sigmoid Silu Sin Sinh Softplus
    Softshrink Sqrt Square Sub Tan Tanh Threshold Tril Triu Where Xlogy
    """.split()  # noqa: SIM905
)
# The same, where the reduction is none.
LOSSES = frozenset(
    {
        *("BinaryCrossEntropy", "BinaryCrossEntropyWithLogits", "Huber", "HuberLoss", "Kldiv"),
        *("L1Loss", "MseLoss", "SmoothL1Loss", "SoftMarginLoss"),
    }
)
# Row by row of the first axis, and the operands that have those rows; the others are weights.
BY_ROW: dict[str, tuple[int, ...]] = {
    "AdaptiveAvgPool2D": (0,),
    "AdaptiveAvgPool3D": (0,),
    "AdaptiveMaxPool2D": (0,),
    "AvgPool2D": (0,),
    "AvgPool3D": (0,),
    "Convolution": (0,),
    "ConvolutionOverrideable": (0,),
    "CudnnConvolution": (0,),
    "MaxPool2DWithIndices": (0,),
    "MaxPool3DWithIndices": (0,),
    "NativeGroupNorm": (0,),
    "PixelShuffle": (0,),
    "PixelUnshuffle": (0,),
    "ReflectionPad2D": (0,),
    "ReplicationPad2D": (0,),
    "UpsampleBicubic2D": (0,),
    "UpsampleBilinear2D": (0,),
    "UpsampleNearest1D": (0,),
    "UpsampleNearest2D": (0,),
}
# Along axes that the examples must not lie on, which stay (as of one number, or as they were).
ALONG = {
    "Cat": "dim",
    "Cumsum": "dim",
    "Flip": "dims",
    "Glu": "dim",
    "LogSoftmax": "dim",
    "Roll": "dims",
    "SafeSoftmax": "dim",
    "Slice": "dim",
    "Softmax": "dim",
    "Sort": "dim",
    "Split": "dim",
    "SplitWithSizes": "dim",
    "Topk": "dim",
    "UnsafeSplit": "dim",
    "UnsafeSplitWithSizes": "dim",
}
# The same, which go, or may go.
REDUCING = {
    **dict.fromkeys(("Amax", "Amin", "LinalgVectorNorm", "Logsumexp", "Max", "Mean"), "dim"),
    **dict.fromkeys(("Median", "Min", "Norm", "Prod", "Select", "Std", "Sum", "Unbind"), "dim"),
    "Var": "dim",
}
ATTENTION = frozenset(
    {
        *("ScaledDotProductEfficientAttention", "ScaledDotProductFlashAttention"),
        *("ScaledDotProductFlashAttentionForCpu", "ScaledDotProductCudnnAttention"),
    }
)
# So many whole numbers are exact in sixteen bits.
MOST_OWNERS = 256
# Their results lie in memory as their shapes say, from its start on.
CONTIGUOUS = frozenset({"Addmm", "Baddbmm", "Bmm", "Mm"})
_BUILT_IN = re.compile(r"(\w+?)Backward\d+")
_FOUND: dict[str, str] = {}


def follow_examples(
    nodes: Iterable[Any], root: tuple[Any, int], batch_size: int
) -> dict[Any, Place | ListedRows | None]:
    """Follow the examples from their objectives, shape ``(B,)``, through the gradient graph.

    Args:
        nodes: All operations behind the objectives, all that read a result before what gave it.
        root: The operation that gave the objectives, and which of its results they are.
        batch_size: Number of examples B, at least two.

    Returns:
        By operation and number of the result: where the examples are, ``None`` if unknown.
    """
    places: dict[Any, Place | ListedRows | None] = {root: Place(1, 1)}
    for node in nodes:
        if node.name() == LEAF:
            continue
        if all(0 in result.shape for result in node._input_metadata):
            continue  # no gradient comes through an empty part, such as ``vectors[..., width:]``
        found = _step_back(node, places, batch_size)
        for position, (source, output) in enumerate(node.next_functions):
            if source is None:
                continue
            key = (source, output)
            place = found.get(position)
            places[key] = place if places.get(key, place) == place else None
    return places


def _step_back(
    node: Any, places: Mapping[Any, Place | ListedRows | None], batch_size: int
) -> dict[int, Place | ListedRows | None]:
    """Return where the examples are in an operation's operands, by position."""
    results = [
        (output, places[node, output])
        for output in range(len(node._input_metadata))
        if (node, output) in places
    ]
    known = [
        (output, place)
        for output, place in results
        if place is not None and not node._input_metadata[output].is_nested_tensor
    ]
    if not known or len(known) < len(results):
        return {}
    operands = {
        position: tuple(source._input_metadata[output].shape)
        for position, (source, output) in enumerate(node.next_functions)
        if source is not None and source.name() != LEAF
    }
    if not operands:
        return {}
    answers = [
        _step_from(
            node, output, tuple(node._input_metadata[output].shape), place, operands, batch_size
        )
        for output, place in known
    ]
    if any(answer != answers[0] for answer in answers):
        return {}
    return answers[0]


def _step_from(
    node: Any,
    output: int,
    shape: Shape,
    place: Place | ListedRows,
    operands: Mapping[int, Shape],
    batch_size: int,
) -> dict[int, Place | ListedRows | None]:
    kind = _find_kind(node)
    if keeps_written(node):
        return _follow_written(node, shape, place, operands, batch_size)
    if kind in RESHAPING:
        whole = prod(shape)
        fitting = {at: own for at, own in operands.items() if prod(own) == whole}
        if isinstance(place, ListedRows):
            fitting = {at: own for at, own in fitting.items() if own[:1] == shape[:1]}
        return dict.fromkeys(fitting, place)
    axis = find_axis(shape, place, batch_size)
    rule = _RULES.get(kind)
    if getattr(getattr(node, "_forward_cls", None), "keeps_rows", False):
        rule = _by_row  # a Function written in Python that says so of itself
    if axis is None or rule is None:
        return {}
    step = Step(node, output, shape, axis, operands, batch_size)
    try:
        found = rule(step)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        # Another form of the operation or another version's, an operand without gradients, a
        # number without axes, or one that was changed in place since.
        return {}
    places: dict[int, Place | ListedRows | None] = {}
    for at, index in found.items():
        if isinstance(index, Place | ListedRows):
            places[at] = index
        elif at in operands and 0 <= index < len(own := operands[at]):
            # Where the sizes differ, one row stands for several examples.
            places[at] = axis.place(own, index) if own[index] == shape[axis.index] else None
    return places


def _find_kind(node: Any) -> str:
    """Return the name of an operation of torch's own, without what all names share."""
    name = node.name()
    kind = _FOUND.get(name)
    if kind is None:
        match = _BUILT_IN.fullmatch(name)
        # A Function of the user's own is called "...Backward", without a number.
        kind = _FOUND[name] = "" if match is None else match[1]
    return kind


def keeps_written(node: Any) -> bool:
    """Return whether an operation changes a view in place, each number by itself.

    Whatever the view is, each number of the tensor viewed then stays its example's.
    """
    if node.name() != WRITTEN_IN_PLACE:
        return False
    inner = getattr(node, "_wrapped_node", None)
    return inner is not None and (inner.name() == COPIED or _find_kind(inner) in BY_NUMBER)


def _follow_written(
    node: Any,
    shape: Shape,
    place: Place | ListedRows,
    operands: Mapping[int, Shape],
    batch_size: int,
) -> dict[int, Place | ListedRows | None]:
    found: dict[int, Place | ListedRows | None] = {0: place} if 0 in operands else {}
    is_copied = node._wrapped_node.name() == COPIED and 1 in operands
    # Owners are to pass exactly in any type of numbers.
    if not is_copied or isinstance(place, ListedRows) or batch_size > MOST_OWNERS:
        return found
    # Where the view lies is not told, but the formula takes from it what it is given.
    numbers = torch.arange(float(batch_size), device=node._input_metadata[0].device)
    owners = numbers.view(1, -1, 1).expand(place.before, -1, place.after).reshape(shape)
    try:
        with torch.no_grad():
            taken = node(owners)[1]
    except RuntimeError:
        return found  # a backward pass has let go of it, or the tensor is of another kind
    for axis, size in enumerate(taken.shape if taken.shape == operands[1] else ()):
        inner = size // batch_size
        if size and size == inner * batch_size:
            expected = numbers.repeat_interleave(inner).view(-1, *[1] * (taken.dim() - axis - 1))
            if bool((taken == expected).all()):
                found[1] = Axis(axis, 1, inner).place(operands[1], axis)
                break
    return found


def _by_number(step: Step) -> dict[int, int]:
    size = len(step.shape)
    found = {}
    for at, own in step.operands.items():
        aligned = (1,) * (size - len(own)) + own
        if all(one in (1, whole) for one, whole in zip(aligned, step.shape, strict=True)):
            found[at] = step.axis.index - (size - len(own))
    return found


def _by_number_unreduced(step: Step) -> dict[int, int]:
    return {} if step.node._saved_reduction else _by_number(step)


def _by_row(step: Step) -> dict[int, int]:
    return dict.fromkeys(step.operands, 0) if step.axis.index == 0 else {}


def _by_row_of(positions: tuple[int, ...]) -> Rule:
    return lambda step: dict.fromkeys(positions, 0) if step.axis.index == 0 else {}


def _along(attribute: str) -> Rule:
    def follow(step: Step) -> dict[int, int]:
        axes = _read_axes(step.node, attribute, len(step.shape))
        if not axes or step.axis.index in axes:
            return {}
        size = len(step.shape)
        return {at: step.axis.index for at, own in step.operands.items() if len(own) == size}

    return follow


def _reducing(attribute: str) -> Rule:
    def follow(step: Step) -> dict[int, int]:
        size = len(step.operands[0])
        axes = _read_axes(step.node, attribute, size)
        is_kept = len(step.shape) == size
        left = [axis for axis in range(size) if is_kept or axis not in axes]
        if not axes or len(left) != len(step.shape) or left[step.axis.index] in axes:
            return {}
        return {0: left[step.axis.index]}

    return follow


def _permute(step: Step) -> dict[int, int]:
    order = [axis % len(step.shape) for axis in _sign(step.node._saved_dims)]
    return {0: order[step.axis.index]}


def _transpose(step: Step) -> dict[int, int]:
    size = len(step.shape)
    first, second = (axis % size for axis in _sign((step.node._saved_dim0, step.node._saved_dim1)))
    return {0: {first: second, second: first}.get(step.axis.index, step.axis.index)}


def _stack(step: Step) -> dict[int, int]:
    (axis,) = _read_axes(step.node, "dim", len(step.shape))
    if axis == step.axis.index:
        return {}
    return dict.fromkeys(step.operands, step.axis.index - (axis < step.axis.index))


def _pad(step: Step) -> dict[int, int]:
    padded = len(step.node._saved_pad) // 2
    return {0: step.axis.index} if step.axis.index < len(step.shape) - padded else {}


def _multiply(left: int) -> Rule:
    """Rows of the left factor, or columns of the right one."""

    def follow(step: Step) -> dict[int, int]:
        found = {left + step.axis.index: step.axis.index}
        if left:  # what is added, repeated along the axes that it lacks
            added = _by_number(step).get(0)
            found |= {} if added is None else {0: added}
        return found

    return follow


def _multiply_batches(left: int) -> Rule:
    def follow(step: Step) -> dict[int, int]:
        index = step.axis.index
        found = {left: 0, left + 1: 0} if index == 0 else {left + index - 1: index}
        if left:
            added = _by_number(step).get(0)
            found |= {} if added is None else {0: added}
        return found

    return follow


def _attend(step: Step) -> dict[int, int]:
    if step.output or len(step.shape) != 4 or step.axis.index > 1:
        return {}
    return dict.fromkeys((0, 1, 2), step.axis.index)


def _normalize_batch(step: Step) -> dict[int, int]:
    # With the statistics of the batch, examples would meet.
    return {} if step.node._saved_training or step.axis.index else {0: 0}


def _normalize_layer(step: Step) -> dict[int, int]:
    kept = len(step.shape) - len(step.node._saved_normalized_shape)
    return {0: step.axis.index} if step.axis.index < kept else {}


def _look_up_loss(step: Step) -> dict[int, int]:
    return {} if step.node._saved_reduction or step.axis.index else {0: 0}


def _gather(step: Step) -> dict[int, int]:
    (axis,) = _read_axes(step.node, "dim", len(step.shape))
    return {} if axis == step.axis.index else {0: step.axis.index}


def _pick_rows(step: Step) -> Mapping[int, int | Place | ListedRows]:
    """Rows of a table by their numbers or a mask, as in ``hidden[arange(B), lengths - 1]``."""
    indices = step.node._saved_indices
    first = next(at for at, index in enumerate(indices) if index is not None)
    if any(index is None for index in indices[first:]):
        return {}
    if first:  # axes in front of those that are picked from stay
        return {0: step.axis.index} if step.axis.index < first else {}
    if len(indices) == 1 and indices[0].dtype == torch.bool:
        indices = indices[0].nonzero(as_tuple=True)
    if any(index.dim() != 1 for index in indices):
        return {}
    return _take_rows(step, indices[0], 0)


def _select_rows(step: Step) -> Mapping[int, int | Place | ListedRows]:
    (axis,) = _read_axes(step.node, "dim", len(step.shape))
    if axis != step.axis.index:
        return {0: step.axis.index}
    return {} if axis else _take_rows(step, step.node._saved_index, 0)


def _take_rows(step: Step, index: Tensor, position: int) -> dict[int, Place | ListedRows]:
    """Find whose the rows of an operand are, each of which is taken for one example alone."""
    own, wanted = step.operands[position], _list_owners(step)
    if wanted is None or index.shape != wanted.shape or not own[0]:
        return {}
    taken = (index % own[0]).cpu()
    each, rest = divmod(own[0], step.size)
    if each and not rest and torch.equal(taken // each, wanted):
        return {position: Place(1, each * prod(own[1:]))}
    owners = torch.full((own[0],), step.size).scatter_(0, taken, wanted)
    # Every row is taken, and whose it is, all agree on who take it.
    is_own = bool((owners < step.size).all()) and torch.equal(owners[taken], wanted)
    return {position: ListedRows(tuple(owners.tolist()))} if is_own else {}


def _add_rows(step: Step) -> dict[int, Any]:
    """Rows added to those of a table by their numbers, as graph networks and experts do."""
    (axis,) = _read_axes(step.node, "dim", len(step.shape))
    if axis != step.axis.index:
        return {0: step.axis.index, 1: step.axis.index}
    found: dict[int, Any] = {0: step.axis.index}
    owners, index = _list_owners(step), step.node._saved_index.cpu()
    if owners is None or 1 not in step.operands or index.dim() != 1:
        return found
    own = step.operands[1]
    each, rest = divmod(own[0], step.size)
    if each and not rest and torch.equal(owners[index], torch.arange(own[0]) // each):
        found[1] = Place(1, each * prod(own[1:]))
    return found


def _list_owners(step: Step) -> Tensor | None:
    """Return the example of each row of the result, if they lie along the first axis."""
    if step.axis.index:
        return None
    if step.axis.rows is not None:
        return torch.tensor(step.axis.rows.owners)
    return torch.arange(step.shape[0]) // step.axis.inner % step.size


def _multiply_stack(step: Step) -> dict[int, int]:
    """Rows that meet a matrix each, of a stack, where every row meets one."""
    ends = step.node._saved_offs
    is_full = len(step.shape) == 2 and ends is not None and int(ends[-1]) == step.shape[0]
    return {0: 0} if is_full and not step.axis.index and len(step.operands[0]) == 2 else {}


def _run_recurrent(step: Step) -> dict[int, int]:
    node = step.node
    if len(node._saved_batch_sizes) or len(step.operands[0]) != 3:
        return {}  # a packed sequence
    own = 0 if node._saved_batch_first and node.name().startswith("Cudnn") else 1
    # The states have the examples before their features.
    expected = own if step.output == 0 else len(step.shape) - 2
    return {0: own} if step.axis.index == expected else {}


def _follow_strides(step: Step) -> Mapping[int, int | Place]:
    """Return places behind a view by strides, as autograd writes a view changed in place."""
    ((source, _),) = step.node.next_functions
    while keeps_written(source):
        source = source.next_functions[0][0]
    if source.name() == "MeanBackward1":
        return _name_strides(step)
    return _place_strides(step) if _find_kind(source) in CONTIGUOUS else {}


def _name_strides(step: Step) -> dict[int, int]:
    """Return axes through what pooling to one pixel does with the strides of channels-last data."""
    own, node = step.operands[0], step.node
    if len(own) != 4 or own != step.shape or own[2:] != (1, 1) or node._saved_storage_offset:
        return {}
    is_same = tuple(node._saved_size) == own and tuple(node._saved_stride[:2]) == (own[1], 1)
    return {0: step.axis.index} if is_same else {}


def _place_strides(step: Step) -> dict[int, Place]:
    """Return the place in a contiguous tensor of which the result is a view by strides."""
    index, inner = step.axis.index, step.axis.inner
    sizes, strides = tuple(step.node._saved_size), tuple(step.node._saved_stride)
    # Each example has so many numbers together, and all of them this many times.
    after = inner * strides[index]
    period = step.size * after
    before, rest = divmod(prod(step.operands[0]), period)
    if step.axis.outer != 1 or rest:
        return {}
    last = (step.node._saved_storage_offset or 0) % period + (inner - 1) * strides[index]
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        if axis != index and stride % period:
            last += (size - 1) * stride
    # What the view holds of the first example then ends before the next one's begins.
    return {0: Place(before, after)} if last < after else {}


def _read_axes(node: Any, attribute: str, size: int) -> set[int]:
    value = getattr(node, f"_saved_{attribute}")
    return {axis % size for axis in _sign(value if isinstance(value, tuple | list) else (value,))}


def _sign(axes: Iterable[int]) -> list[int]:
    """Return axes as signed: autograd gives a negative one as the unsigned of the same bits."""
    return [axis - 2**64 if axis >= 2**63 else axis for axis in axes]


_RULES: dict[str, Rule] = {
    **dict.fromkeys(BY_NUMBER, _by_number),
    **dict.fromkeys(LOSSES, _by_number_unreduced),
    **{kind: _by_row_of(positions) for kind, positions in BY_ROW.items()},
    **{kind: _along(attribute) for kind, attribute in ALONG.items()},
    **{kind: _reducing(attribute) for kind, attribute in REDUCING.items()},
    **dict.fromkeys(ATTENTION, _attend),
    **dict.fromkeys(("NllLoss", "NllLoss2D"), _look_up_loss),
    **dict.fromkeys(("NativeBatchNorm", "CudnnBatchNorm"), _normalize_batch),
    **dict.fromkeys(("MkldnnRnnLayer", "CudnnRnn"), _run_recurrent),
    "Addmm": _multiply(1),
    "AsStrided": _follow_strides,
    "Baddbmm": _multiply_batches(1),
    "Bmm": _multiply_batches(0),
    "ConstantPadNd": _pad,
    "Gather": _gather,
    "GroupedMm": _multiply_stack,
    "Index": _pick_rows,
    "IndexAdd": _add_rows,
    "IndexSelect": _select_rows,
    "Mm": _multiply(0),
    "NativeLayerNorm": _normalize_layer,
    "Permute": _permute,
    "Stack": _stack,
    "T": lambda step: {0: 1 - step.axis.index} if len(step.shape) == 2 else {},
    "Transpose": _transpose,
}
