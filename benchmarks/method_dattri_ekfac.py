"""Why dattri's EK-FAC differs from ours: its numbers rebuilt, with the three things it does.

It takes the labels as given; it multiplies by its matrices of eigenvectors where their transposes
belong; and it cuts a layer's weight and bias as one run of numbers into rows of inputs and a one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.method_peer_calls import EKFAC_DAMPING, make_dattri_task, take_last
from tracin_core import TracIn


def rebuild_dattri(tracin: TracIn, train: Any, test: Any) -> float:
    """Return the relative difference of dattri's EK-FAC from this construction of it."""
    from dattri.algorithm import IFAttributorEKFAC

    task = make_dattri_task(take_last(tracin), [tracin.checkpoints[-1].weights])
    peer = IFAttributorEKFAC(task, device="cpu", damping=EKFAC_DAMPING)
    whole = DataLoader(train, batch_size=len(train))
    peer.cache(whole)
    theirs = peer.attribute(whole, DataLoader(test, batch_size=len(test))).detach()
    ours = torch.zeros_like(theirs)
    for place in (0, 2):
        left, right = (_differentiate(tracin, place, part) for part in (train, test))
        inputs, outputs = peer.cached_q[str(place)]

        def rotate(rows: Tensor, a: Tensor = inputs, s: Tensor = outputs) -> Tensor:
            return s @ rows @ a.t()

        eigenvalues = rotate(left).square().mean(0)
        scaled = rotate(_cut(left)) / (eigenvalues + EKFAC_DAMPING)
        ours += scaled.flatten(1) @ rotate(_cut(right)).flatten(1).t()
    return float((ours - theirs).norm() / theirs.norm())


def _differentiate(tracin: TracIn, place: int, examples: Any) -> Tensor:
    """Return a Linear layer's gradients with the bias as last column, shape ``(N, O, I + 1)``."""
    model, (inputs, labels) = take_last(tracin), examples.tensors
    taken = model[:place](inputs).detach()
    given = model[place](taken).detach().requires_grad_()
    loss = F.cross_entropy(model[place + 1 :](given), labels, reduction="sum")
    (slopes,) = torch.autograd.grad(loss, given)
    ones = torch.ones(len(taken), 1, dtype=taken.dtype)
    return slopes[:, :, None] * torch.cat([taken, ones], 1)[:, None]


def _cut(matrices: Tensor) -> Tensor:
    """Return all weights and then all biases, cut anew into rows."""
    flat = torch.cat([matrices[:, :, :-1].flatten(1), matrices[:, :, -1]], 1)
    return flat.reshape(matrices.shape)
