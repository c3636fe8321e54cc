"""Half precision where it saves time, single and double precision wherever numbers are added up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tracin_core.gradients.nested import map_tensors

HALF = (torch.bfloat16, torch.float16)

# How many numbers single precision adds up before double precision takes over. Of 10 million equal
# numbers added in single precision one after the other, 1.5% were lost; of 1,024, 8e-7.
RUN = 1024


def widen(value: Any) -> Any:
    """Return a tensor, or a structure of tensors, with half precision turned into single."""
    return map_tensors(_widen_one, value)


def match_dtype(inputs: Tensor, deltas: Tensor) -> Tensor:
    """Return a layer's inputs in the number type that it computed with.

    Args:
        inputs: As they were passed; under autocast the layer rounds them itself.
        deltas: Gradients at its outputs.
    """
    if deltas.dtype in HALF:
        return inputs.to(deltas.dtype)
    return _widen_one(inputs)


def add_wide(values: Tensor, axes: int | list[int]) -> Tensor:
    """Return sums over some axes, added up and returned in single precision at least."""
    return values.sum(axes, dtype=torch.float32 if values.dtype in HALF else None)


def multiply_wide(left: Tensor, right: Tensor) -> Tensor:
    """Return a batch of matrix products, added up and returned in single precision at least.

    Of two half precision numbers single precision holds the product exactly. On a GPU the
    units for half precision take a fifth of the time and round their sums a little more: 3e-6
    of the result was measured, a thousandth of what half precision inputs cost.
    """
    if left.dtype in HALF and left.dtype == right.dtype and left.device.type == "cuda":
        return torch.bmm(left, right, out_dtype=torch.float32)
    return torch.bmm(_widen_one(left), _widen_one(right))


def add_runs(values: Tensor, axis: int) -> Tensor:
    """Return sums over an axis, added up in double precision where the device has it."""
    return values.sum(axis, dtype=None if values.device.type == "mps" else torch.float64)


def multiply_long(left: Tensor, right: Tensor) -> Tensor:
    """Return all dot products of rows, however long, as exactly as short ones.

    A matrix product in single precision adds up in single precision: of rows of 10 million numbers
    it loses 1e-4 of the result. Here runs of numbers are multiplied, and their results added up
    in double precision, which takes a few percent longer.

    Args:
        left: Shape ``(n, K)``.
        right: Shape ``(m, K)``.

    Returns:
        Shape ``(n, m)``, in single precision at least.
    """
    length = left.shape[1]
    if length <= RUN:
        return multiply_wide(left.unsqueeze(0), right.mT.unsqueeze(0))[0]
    whole = length - length % RUN
    cut = [rows[:, :whole].reshape(len(rows), -1, RUN) for rows in (left, right)]
    runs = multiply_wide(cut[0].transpose(0, 1), cut[1].permute(1, 2, 0))
    total = add_runs(runs, 0)
    if whole < length:
        total = total + multiply_long(left[:, whole:], right[:, whole:])
    return total.to(runs.dtype)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Disable what rounds numbers behind the caller's back, and restore it afterwards.

    That is an autocast around the call, and TF32: by default cuDNN convolutions keep 10 of
    float32's 23 bits on newer GPUs, an error of 1e-3 where scores promise 1e-5.
    """
    cudnn: Any = torch.backends.cudnn
    kinds: tuple[Any, ...] = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


@contextmanager
def half_precision(device: torch.device) -> Iterator[None]:
    """Compute in bfloat16 what autocast lets a device compute so."""
    mkldnn: Any = torch.backends.mkldnn
    # oneDNN has no bfloat16 kernels for processors without AVX-512, and for recurrent layers it
    # fails instead of saying so; PyTorch's own kernels run anywhere.
    unfit = device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    before = mkldnn.enabled
    try:
        if unfit:
            mkldnn.enabled = False
        # Weights are new tensors in every pass: a cache of their casts would only grow.
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            yield
    finally:
        if unfit:
            mkldnn.enabled = before


def _widen_one(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor
