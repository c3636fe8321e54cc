"""Per-example gradients of embedding tables: only the rows looked up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.gradients.factored import BagGradients, Contribution, SparseRows
from tracin_core.gradients.rules.registry import UnsupportedUseError, gradient_rule


def _refuse_embedding(layer: nn.Embedding) -> str | None:
    if layer.scale_grad_by_freq:
        return "scale_grad_by_freq counts over the whole batch"
    return None


def _refuse_bag(layer: nn.EmbeddingBag) -> str | None:
    if layer.mode == "max":
        return "EmbeddingBag with mode='max'"
    if layer.scale_grad_by_freq:
        return "scale_grad_by_freq counts over the whole batch"
    return None


@gradient_rule(nn.Embedding, refuses=_refuse_embedding)
def embedding_gradients(
    layer: nn.Embedding, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of the rows that each example looked up.

    Args:
        layer: The table, ``V`` rows of ``E`` numbers.
        arguments: The indices, shape ``(B, ...)``.
        output_gradients: Shape ``(B, ..., E)``.

    Returns:
        ``weight`` as rows; nothing reaches ``padding_idx``.
    """
    batch_size = len(arguments[0])
    indices = arguments[0].reshape(batch_size, -1).long()
    deltas = output_gradients.reshape(batch_size, -1, layer.embedding_dim)
    if layer.padding_idx is not None:
        deltas = deltas * (indices != layer.padding_idx).unsqueeze(2)
    return {"weight": SparseRows(indices, deltas, layer.weight.shape)}


@gradient_rule(nn.EmbeddingBag, refuses=_refuse_bag)
def embedding_bag_gradients(
    layer: nn.EmbeddingBag, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of the rows in each example's bag.

    Args:
        layer: The table, ``V`` rows of ``E`` numbers, summed or averaged over a bag.
        arguments: The indices ``(B, T)``, or ``(total,)`` with offsets ``(B,)``; then
            optionally offsets and weights per index.
        output_gradients: Shape ``(B, E)``.

    Returns:
        ``weight`` as bags; nothing reaches ``padding_idx``.

    Raises:
        UnsupportedUseError: If the weights per index need gradients of their own.
    """
    indices, offsets, weights = (*arguments, None, None)[:3]
    if weights is not None and weights.requires_grad:
        raise UnsupportedUseError("per_sample_weights are trained")
    if indices.dim() == 1:
        indices, present = _pad_bags(layer, indices, offsets, len(output_gradients))
        if weights is not None:
            weights = weights.new_zeros(present.shape).masked_scatter(present, weights)
    else:
        present = torch.ones_like(indices, dtype=torch.bool)
    if layer.padding_idx is not None:
        present = present & (indices != layer.padding_idx)
    scale = present.to(output_gradients.dtype)
    if weights is not None:
        scale = scale * weights
    if layer.mode == "mean":
        # An empty bag is zero whatever the table holds, so its gradient is zero too.
        scale = scale / scale.sum(1, keepdim=True).clamp_min(1)
    return {"weight": BagGradients(indices.long(), scale, output_gradients, layer.weight.shape)}


def _pad_bags(
    layer: nn.EmbeddingBag, indices: Tensor, offsets: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Return bags laid end to end as a ``(B, T)`` table, and a mask of what is present."""
    starts = offsets[:batch_size].long()
    stops = torch.cat([offsets[1:].long(), offsets.new_tensor([len(indices)]).long()])[:batch_size]
    lengths = stops - starts
    slots = torch.arange(int(lengths.max()) if batch_size else 0, device=indices.device)
    present = slots < lengths.unsqueeze(1)
    places = (starts.unsqueeze(1) + slots).clamp_max(max(0, len(indices) - 1))
    padded = indices[places] if len(indices) else places
    return torch.where(present, padded, torch.zeros_like(padded)), present
