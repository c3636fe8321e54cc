"""Bring batches to the device without waiting for them to arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from tracin_core.influence.batches import Batch


def send_batches(
    batches: Iterable[Batch], device: torch.device, check: Callable[[Batch], None]
) -> Iterator[Batch]:
    """Yield the batches in order, on the device or on their way there.

    On CUDA a batch goes through page-locked memory on a stream of its own: who asks for the next
    batch while the device is busy with the last has it read and sent meanwhile. Elsewhere a
    batch is simply moved.

    Args:
        batches: On the CPU, or wherever the examples are.
        device: Where to compute.
        check: Called with each batch before it is sent.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    for batch in batches:
        check(batch)
        yield batch.to(device) if stream is None else _send(batch, device, stream)


def _send(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    with torch.cuda.stream(stream):
        sent = batch.map(_pin).to(device)
    current = torch.cuda.current_stream(device)
    current.wait_event(stream.record_event())

    def keep(tensor: Tensor) -> Tensor:
        # Its memory belongs to the sending stream, which must not reuse it under the passes.
        tensor.record_stream(current)
        return tensor

    return sent.map(keep)


def _pin(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.device.type == "cpu" else tensor
