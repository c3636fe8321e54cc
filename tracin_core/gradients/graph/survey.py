"""The autograd graph of a batch: what reads which parameter, and how its operations move rows.

A ``GraphSurvey`` answers what a result was made from. ``describe_movement`` answers which batches
must be looked at one by one: batches of one description went through the same operations and,
where those move rows by what the data say (indexing, routing, packed sequences), by the same
indices. It proves nothing of where the examples lie: numbers that are no indices (masks, one-hot
rows, zeros) may move or mix them too. It only names the batches that need not all be compared with
their halves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tracin_core.gradients.graph.example_tracing import follow_examples, keeps_written
from tracin_core.gradients.graph.places import ListedRows, Place


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
            rows in the same ways, the unclear ones left out; ``None`` where that need not be told.
        unclear: Operations of which nobody can tell how they move rows.
        root: The operation that gave the result, and which of its results that is.
        batch_size: Number of examples B, where it was given.
    """

    readers: dict[Any, list[Reader]]
    signature: Hashable | None = None
    unclear: tuple[Any, ...] = ()
    root: tuple[Any, int] | None = None
    batch_size: int | None = None

    @cached_property
    def leaves(self) -> dict[int, Any]:
        """The nodes of leaf tensors, by the ``id`` of the tensor."""
        return {id(node.variable): node for node in self.readers if hasattr(node, "variable")}

    @cached_property
    def places(self) -> dict[Any, Place | ListedRows | None]:
        """Where the examples are in each operation's results, as far as the graph proves it."""
        # Of a single example there is nothing to be followed.
        if self.root is None or self.batch_size is None or self.batch_size < 2:
            return {}
        return follow_examples(self.list_backwards(), self.root, self.batch_size)

    def list_backwards(self) -> list[Any]:
        """Return the operations so that all that read a result come before what gave it.

        Their own numbers do not say it: several threads number apart, and autograd makes the
        operation of a view anew when it is next read after a change in place.
        """
        unread = {node: len(readers) for node, readers in self.readers.items()}
        waiting = [] if self.root is None else [self.root[0]]
        order = []
        while waiting:
            node = waiting.pop()
            order.append(node)
            for source, _ in node.next_functions:
                if source is not None:
                    unread[source] -= 1
                    if not unread[source]:
                        waiting.append(source)
        return order

    def leads_only_to(self, node: Any, ends: Collection[Any], most: int) -> bool:
        """Return whether all ways from an operation's results lead to ``ends``, and are short.

        Args:
            node: The operation.
            ends: Other operations.
            most: Operations on all the ways together.
        """
        seen, waiting = {node}, [node]
        while waiting:
            current = waiting.pop()
            following = [reader.node for reader in self.readers.get(current, ())]
            if not following or len(seen) > most:
                return False
            fresh = {one for one in following if one not in ends} - seen
            seen |= fresh
            waiting += fresh
        return True

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
    waiting, parts, unclear = [root], [], []
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
        if batch_size is not None:
            movement = describe_movement(node, batch_size)
            if movement is None:
                unclear.append(node)
            parts.append((movement, tuple(sources)))
    signature = None if batch_size is None else hash(tuple(parts))
    return GraphSurvey(readers, signature, tuple(unclear), (root, result.output_nr), batch_size)


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


# Operations whose rows go where the shapes say. A look-up in a table is one of them: its result
# lies as its indices do, whatever the indices are.
BY_SHAPE = frozenset(  # one a word, since one a line would be two hundred lines
    """
    Abs Acos Acosh AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D AdaptiveMaxPool3D Add
    Addbmm Addcdiv Addcmul Addmm Addmv Addr Alias Amax Amin Angle Asin Asinh Atan Atan2
    Atanh AvgPool2D AvgPool3D Baddbmm BatchNorm BinaryCrossEntropy BinaryCrossEntropyWithLogits Bmm
    Cat Celu Clamp ClampMax ClampMin Clone Col2Im Complex Concat Conj ConjPhysical ConstantPadNd
    Convolution ConvolutionOverrideable Copy Copysign Cos Cosh Cross CudnnBatchNorm CudnnConvolution
    Cumsum Diagonal Dist Div Dot Elu Embedding EmbeddingBag Erf Erfc Erfinv Exp Exp2 Expand Expm1
    FakeQuantizePerTensorAffineCachemask FftC2C FftC2R FftR2C Fill Flip Floor Fmod Frac FusedRmsNorm
    Gelu Glu Hardshrink Hardsigmoid Hardswish Hardtanh Huber HuberLoss Hypot
    Im2Col Imag IndexFill InfinitelyDifferentiableGelu InstanceNorm Kldiv L1Loss LeakyRelu Lerp
    LiftFresh Linear LinalgVectorNorm Log Log10 Log1P Log2 LogNdtr LogSigmoid LogSoftmax Logaddexp
    Logaddexp2 Logcumsumexp Logit Logsumexp MaskedFill Matmul MaxPool2DWithIndices
    MaxPool3DWithIndices Max Maximum Mean Min Minimum Mish MiopenBatchNorm MkldnnConvolution
    MkldnnRnnLayer Mm Mse MseLoss Mul Mv NanToNum NativeBatchNorm NativeDropout NativeGroupNorm
    NativeLayerNorm Neg
    NllLoss NllLoss2D NllLossNd Norm Permute PixelShuffle PixelUnshuffle Polygamma Pow PreluKernel
    Prod Reciprocal Real ReflectionPad1D ReflectionPad2D ReflectionPad3D Relu Relu6 Remainder Renorm
    Repeat ReplicationPad1D ReplicationPad2D ReplicationPad3D ReshapeAlias Resolve Round Rsqrt Rsub
    SafeSoftmax ScaledDotProductAttentionMath ScaledDotProductCudnnAttention
    ScaledDotProductEfficientAttention ScaledDotProductFlashAttention
    ScaledDotProductFlashAttentionForCpu ScaledDotProductFusedAttentionOverrideable Selu Sgn Sigmoid
    Sign Silu Sin Sinc Sinh SlowConv2D SlowConv3D SlowConvDilated2D SlowConvDilated3D
    SlowConvTranspose2D SmoothL1Loss SoftMarginLoss Softmax SoftmaxBackwardData Softplus Softshrink
    SpecialErfcx SpecialNdtr Sqrt Square Squeeze Stack Std StdMean Sub Sum T Tan Tanh ThnnConv2D
    Threshold ToCopy Trace Transpose Tril Triu Trunc UnsafeView Unfold Unsqueeze UpsampleBicubic2D
    UpsampleBicubic2DAa UpsampleBilinear2D UpsampleBilinear2DAa UpsampleLinear1D UpsampleNearest1D
    UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D
    UpsampleTrilinear3D Var VarMean View ViewAsComplex ViewAsReal Where Xlogy
    """.split()  # noqa: SIM905
)
# Operations that move by numbers in the program, which may come from the data: the numbers.
BY_NUMBERS = {
    "AsStrided": ("size", "stride", "storage_offset"),
    "Flip": ("dims",),
    "Narrow": ("dim", "start", "length"),
    "Roll": ("dims", "shifts"),
    "Rot90": ("dims", "k"),
    "Select": ("dim", "index"),
    "Slice": ("dim", "start", "end", "step"),
    "Split": ("dim", "split_size"),
    "SplitWithSizes": ("dim", "split_sizes"),
    "Unbind": ("dim",),
    "UnsafeSplit": ("dim", "split_size"),
    "UnsafeSplitWithSizes": ("dim", "split_sizes"),
}
# Operations that move along one axis by a tensor of indices, and the attribute that holds it.
ALONG_AXIS = {
    "Gather": "index",
    "IndexAdd": "index",
    "IndexCopy": "index",
    "IndexSelect": "index",
    "Kthvalue": "indices",
    "Median": "indices",
    "Mode": "indices",
    "Scatter": "index",
    "ScatterAdd": "index",
    "Sort": "indices",
    "Take": "index",
    "Topk": "indices",
}
MASKED = {"MaskedScatter": "mask", "MaskedSelect": "mask"}
LEAF = "torch::autograd::AccumulateGrad"
_BUILT_IN = re.compile(r"(\w+?)Backward\d+")


def describe_movement(node: Any, batch_size: int) -> Hashable | None:
    """Describe how an operation of the gradient graph moves rows.

    Args:
        node: The operation; its saved tensors must still be there.
        batch_size: Number of examples B.

    Returns:
        Two equal descriptions mean that rows went the same ways; ``None`` where nobody can tell.
    """
    name = node.name()
    # A Function written in Python that says so of itself.
    if getattr(getattr(node, "_forward_cls", None), "keeps_rows", False):
        return str(name)
    # Where the rows of what it brings in go, it does not tell.
    if keeps_written(node) and all(source is None for source, _ in node.next_functions[1:]):
        return (name, node._wrapped_node.name())
    kind = _KINDS.get(name)
    if kind is None:
        kind = _KINDS[name] = _find_kind(name)
    if kind == "by shape":
        return str(name)
    describe = _DESCRIPTIONS.get(kind)
    if describe is None:
        return None
    try:
        found = describe(node, batch_size)
    except (AttributeError, RuntimeError):
        # Another version's attribute, or an index that was changed in place since.
        return None
    return (name, found)


def _find_kind(name: str) -> str:
    if name == LEAF:
        return "by shape"
    match = _BUILT_IN.fullmatch(name)
    # A Function of the user's own is called "...Backward", without a number.
    if match is None:
        return "unknown"
    kind = match[1]
    if kind in BY_NUMBERS or kind in ALONG_AXIS or kind in MASKED or kind in ("Index", "IndexPut"):
        return kind
    return "by shape" if kind in BY_SHAPE else "unknown"


def _describe_numbers(names: tuple[str, ...]) -> Callable[[Any, int], Hashable]:
    attributes = [f"_saved_{name}" for name in names]

    def describe(node: Any, batch_size: int) -> Hashable:
        return tuple(getattr(node, attribute) for attribute in attributes)

    return describe


def _describe_axis(attribute: str) -> Callable[[Any, int], Hashable]:
    def describe(node: Any, batch_size: int) -> Hashable:
        sizes = _source_sizes(node)
        axis = getattr(node, "_saved_dim", None)
        if sizes is not None and axis is not None:
            # An unsigned number: Python's own is negative from the last axis on.
            axis = axis if axis < len(sizes) else axis - 2**64 + len(sizes)
            # Within the examples: they lie along the first axis, and not along this one too.
            if axis > 0 and sizes[0] == batch_size and sizes[axis] != batch_size:
                return ("within", axis)
        return (axis, _digest(getattr(node, f"_saved_{attribute}")))

    return describe


def _describe_index(node: Any, batch_size: int) -> Hashable:
    indices = node._saved_indices
    first = indices[0] if indices else None
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    if first is not None and sizes is not None and sizes[0] == batch_size:
        # One row of each example in its turn, as in ``hidden[arange(B), lengths - 1]``.
        own = torch.arange(batch_size, device=first.device)
        if first.numel() == batch_size and torch.equal(first.flatten(), own):
            return "one of each"
    return tuple(None if index is None else _digest(index) for index in indices)


def _describe_mask(attribute: str) -> Callable[[Any, int], Hashable]:
    return lambda node, batch_size: _digest(getattr(node, f"_saved_{attribute}"))


def _source_sizes(node: Any) -> tuple[int, ...] | None:
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    return None if sizes is None else tuple(sizes)


def _digest(index: Tensor) -> Hashable:
    """Return what two tensors of indices share only if they are equal."""
    return tuple(index.shape), hash(index.detach().cpu().contiguous().numpy().tobytes())


_KINDS: dict[str, str] = {}
_DESCRIPTIONS: dict[str, Callable[[Any, int], Hashable]] = {
    **{kind: _describe_numbers(names) for kind, names in BY_NUMBERS.items()},
    **{kind: _describe_axis(attribute) for kind, attribute in ALONG_AXIS.items()},
    **{kind: _describe_mask(attribute) for kind, attribute in MASKED.items()},
    "Index": _describe_index,
    "IndexPut": _describe_index,
}
