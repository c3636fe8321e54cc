"""EK-FAC: one Kronecker-factored eigenbasis a layer, with eigenvalues of their own.

George et al. 2018 (arXiv:1806.03884), Sec. 3; for influence Grosse et al. 2023 (arXiv:2308.03296),
Sec. 2.2 and 3.1. The eigenvectors are those of the covariances of a layer's inputs and of the
gradients at its outputs; the eigenvalues are the mean squares of gradients in that basis. K-FAC
takes products of the covariances' eigenvalues for them, which costs most of its quality.

The matrix is the Fisher one of *sampled* labels, which is the Gauss-Newton matrix of the losses
that have a name; labels as given would make the empirical one, which is another. Curvature between
layers is left out. Grosse et al. sum the loss over the train set; here it is the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracin_core.capture.batching import Batch, count_examples, read_batches
from tracin_core.curvature.frozen import FrozenModel, twice_differentiable
from tracin_core.curvature.head import NAMED, append_one
from tracin_core.curvature.inverse import FactorisedInverse
from tracin_core.errors import ConfigurationError, GradientError
from tracin_core.losses import get_logits
from tracin_core.tracin import TracIn


@dataclass
class _Block:
    """One layer: where its parameters lie in a vector, its eigenbasis and eigenvalues."""

    layer: nn.Module
    weight: slice
    bias: slice | None
    inputs: Tensor  # covariance, then eigenvectors, shape (I, I)
    outputs: Tensor  # the same at the outputs, shape (O, O)
    eigenvalues: Tensor  # shape (O, I)
    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def rotate(self, matrices: Tensor, *, back: bool = False) -> Tensor:
        """Return matrices ``(O, I, K)`` in the eigenbasis, or back from it."""
        left, right = (self.outputs, self.inputs) if back else (self.outputs.t(), self.inputs.t())
        return torch.einsum("po,oik,qi->pqk", left, matrices, right)


class EkfacInverse(FactorisedInverse):
    """Inverts the Gauss-Newton matrix layer by layer in a Kronecker-factored eigenbasis.

    Parameters of other layers than Linear and Conv2d (without groups), and tied ones, are left
    out of every product; ``left_out`` names them.

    Args:
        tracin: The engine; its last checkpoint and its loss, which has a name, are taken.
        names: The parameters, in the order of the vectors.
        train: The train examples, read twice.
        damping: Added to every eigenvalue.
        samples: Labels drawn for each example; 0 takes every class with its probability, which
            needs a backward pass for each.
        seed: Of the drawn labels.

    Attributes:
        damping: What is added to every eigenvalue.
        left_out: Names of the parameters that are left out.

    Raises:
        ConfigurationError: If the loss is a callable, or no layer can be factored.
        GradientError: If a covariance is not finite.
    """

    def __init__(
        self,
        tracin: TracIn,
        names: Sequence[str],
        train: Any,
        damping: float,
        *,
        samples: int,
        seed: int,
    ) -> None:
        super().__init__()
        if tracin.loss not in NAMED:
            raise ConfigurationError(
                "Found a loss of your own; expected one of "
                f"{', '.join(NAMED)}, whose labels EK-FAC can draw. Choose solver='cg' or "
                "'arnoldi'."
            )
        first = next(read_batches(train, min(3, tracin.batch_size)), None)
        if first is None:
            raise ConfigurationError("Found no train example; expected at least one.")
        self._tracin, self._train, self.damping = tracin, train, damping
        self._frozen = FrozenModel(tracin, names, first)
        self._samples = samples
        self._generator = torch.Generator().manual_seed(seed)
        self._blocks, self.left_out = _find_blocks(self._frozen)
        self.size = sum(shape.numel() for shape in self._frozen.shapes)
        self._fit()
        self.report |= {"layers": len(self._blocks), "left out": len(self.left_out)}

    @property
    def mean_eigenvalue(self) -> float:
        """The mean of all eigenvalues, a scale for the damping."""
        values = [block.eigenvalues.flatten() for block in self._blocks]
        return float(torch.cat(values).mean())

    def root(self, vectors: Tensor) -> Tensor:
        """Return rotated vectors over the root of the eigenvalues, shape ``(D, K)``."""
        return torch.cat([r.flatten(0, 1) for _, r in self._rotate(vectors)])

    def apply(self, vectors: Tensor) -> Tensor:
        """Return ``(H + damping I)^-1 V``, shape ``(P, K)``; 0 for what is left out."""
        result = torch.zeros_like(vectors, dtype=self._frozen.dtype)
        for block, rotated in self._rotate(vectors):
            scaled = rotated * (block.eigenvalues + self.damping).rsqrt()[..., None]
            matrices = block.rotate(scaled, back=True)
            if block.bias is not None:
                result[block.bias] = matrices[:, -1]
                matrices = matrices[:, :-1]
            result[block.weight] = matrices.flatten(0, 1)
        return result

    def _rotate(self, vectors: Tensor) -> Iterator[tuple[_Block, Tensor]]:
        vectors = vectors.to(self._frozen.dtype)
        for block in self._blocks:
            width = len(block.outputs)
            matrices = vectors[block.weight].reshape(width, -1, vectors.shape[1])
            if block.bias is not None:
                matrices = torch.cat([matrices, vectors[block.bias].unsqueeze(1)], 1)
            yield (
                block,
                block.rotate(matrices) * ((block.eigenvalues + self.damping).rsqrt()[..., None]),
            )

    def _fit(self) -> None:
        for inputs, slopes, block in self._passes():
            block.inputs += torch.einsum("bti,btj->ij", inputs, inputs)
            block.outputs += torch.einsum("bto,btp->op", slopes, slopes)
        for block in self._blocks:
            for matrix in (block.inputs, block.outputs):
                if not bool(matrix.isfinite().all()):
                    raise GradientError(
                        "A covariance of a layer is not finite; expected finite inputs and "
                        "gradients. Look at the losses of the train examples at the last "
                        "checkpoint."
                    )
            block.inputs = torch.linalg.eigh(block.inputs).eigenvectors
            block.outputs = torch.linalg.eigh(block.outputs).eigenvectors
        # Without samples the outer products of all roots sum to the matrix.
        weight = 1 / (max(1, self._samples) * count_examples(self._train))
        for inputs, slopes, block in self._passes():
            gradients = torch.einsum("bto,bti->oib", slopes, inputs)
            block.eigenvalues += block.rotate(gradients).square().sum(2) * weight

    def _passes(self) -> Iterator[tuple[Tensor, Tensor, _Block]]:
        """Yield each block's inputs ``(B, T, I)`` and drawn gradients ``(B, T, O)``."""
        with torch.enable_grad(), twice_differentiable(), _record(self._blocks):
            for batch in read_batches(self._train, self._tracin.batch_size):
                for block in self._blocks:
                    block.calls.clear()
                moved = self._frozen.prepare(batch)
                outputs = get_logits(self._frozen.run(moved))
                yield from self._differentiate(outputs, moved)

    def _differentiate(
        self, outputs: Tensor, batch: Batch
    ) -> Iterator[tuple[Tensor, Tensor, _Block]]:
        flat = outputs.reshape(batch.size, -1)
        roots = list(self._draw_roots(flat.detach(), batch.targets))
        results = [given for block in self._blocks for _, given in block.calls]
        for root in roots:
            found = torch.autograd.grad(
                (flat * root).sum(), results, retain_graph=True, allow_unused=True
            )
            slopes = dict(zip(map(id, results), found, strict=True))
            for block in self._blocks:
                parts = [
                    _factor(block, taken, given, slopes[id(given)]) for taken, given in block.calls
                ]
                if parts:
                    inputs, outer = (torch.cat(p, 1) for p in zip(*parts, strict=True))
                    yield inputs, outer, block

    def _draw_roots(self, outputs: Tensor, targets: Any) -> Iterator[Tensor]:
        """Yield gradients at the outputs whose outer products sum to the loss's Hessian there."""
        width = outputs.shape[1]
        for at in range(self._samples or width):
            if self._tracin.loss == "cross_entropy":
                yield self._draw_class(outputs, targets, at)
                continue
            if self._tracin.loss == "mse":
                scale = torch.full_like(outputs, (2 / width) ** 0.5)
            else:
                p = outputs.sigmoid()
                scale = (p * (1 - p) / width).sqrt()
            yield scale * self._draw_signs(outputs, at)

    def _draw_class(self, outputs: Tensor, targets: Any, at: int) -> Tensor:
        p = outputs.softmax(1)
        if isinstance(targets, Tensor) and targets.shape == outputs.shape:
            p_scale = targets.sum(1, keepdim=True).sqrt()
        else:
            p_scale = torch.ones_like(p[:, :1])
        if self._samples:
            drawn = torch.multinomial(p.cpu(), 1, generator=self._generator).to(p.device)
            return p_scale * (p - torch.zeros_like(p).scatter_(1, drawn, 1.0))
        one = F.one_hot(torch.tensor(at), p.shape[1]).to(p)
        return p_scale * p[:, at : at + 1].sqrt() * (p - one)

    def _draw_signs(self, outputs: Tensor, at: int) -> Tensor:
        """Return independent signs, or with all outputs one after the other a single one."""
        if self._samples:
            bits = torch.randint(2, outputs.shape, generator=self._generator)
            return (2 * bits - 1).to(outputs)
        return F.one_hot(torch.tensor(at), outputs.shape[1]).to(outputs).expand_as(outputs)


def _find_blocks(frozen: FrozenModel) -> tuple[list[_Block], tuple[str, ...]]:
    """Return the layers that can be factored, and the names of all other parameters."""
    places, start = {}, 0
    for name, shape in zip(frozen.names, frozen.shapes, strict=True):
        places[name] = slice(start, start + shape.numel())
        start += shape.numel()
    uses: dict[int, int] = {}
    for module in frozen.model.modules():
        for value in module.parameters(recurse=False):
            uses[id(value)] = uses.get(id(value), 0) + 1
    blocks, covered = [], set()
    for prefix, layer in frozen.model.named_modules():
        weight, bias = (f"{prefix}.{part}" if prefix else part for part in ("weight", "bias"))
        if weight not in places or not _can_factor(layer) or uses[id(layer.weight)] > 1:
            continue
        has_bias = bias in places
        width = len(layer.weight)
        size = layer.weight[0].numel() + has_bias
        at: dict[str, Any] = {"device": layer.weight.device, "dtype": frozen.dtype}
        shapes = ((size, size), (width, width), (width, size))
        inputs, outputs, eigenvalues = (torch.zeros(shape, **at) for shape in shapes)
        at_bias = places[bias] if has_bias else None
        blocks.append(_Block(layer, places[weight], at_bias, inputs, outputs, eigenvalues))
        covered |= {weight, bias}
    left_out = tuple(name for name in frozen.names if name not in covered)
    if not blocks:
        raise ConfigurationError(
            f"Found no Linear or Conv2d layer among {', '.join(left_out[:3])}; expected at least "
            "one for EK-FAC. Choose solver='cg' or 'arnoldi'."
        )
    return blocks, left_out


def _can_factor(layer: nn.Module) -> bool:
    if type(layer) is nn.Conv2d:
        plain = layer.groups == 1 and layer.padding_mode == "zeros"
        return plain and not isinstance(layer.padding, str)
    return type(layer) is nn.Linear


@contextmanager
def _record(blocks: Sequence[_Block]) -> Iterator[None]:
    """Keep what each layer takes and gives while the context is open."""

    def note(block: _Block) -> Callable[..., Tensor]:
        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            block.calls.append((args[0].detach(), output))
            # What follows may change its argument in place, and with it what was noted.
            return output.clone()

        return hook

    handles = [block.layer.register_forward_hook(note(block)) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for block in blocks:
            block.calls.clear()


def _factor(
    block: _Block, taken: Tensor, given: Tensor, slopes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return a call's inputs ``(B, T, I)``, a one for the bias, and gradients ``(B, T, O)``."""
    slopes = torch.zeros_like(given) if slopes is None else slopes
    layer, size = block.layer, len(taken)
    if isinstance(layer, nn.Conv2d):
        inputs = F.unfold(
            taken,
            layer.kernel_size,
            layer.dilation,
            tuple(map(int, layer.padding)),
            layer.stride,
        ).transpose(1, 2)
        slopes = slopes.flatten(2).transpose(1, 2)
    else:
        inputs = taken.reshape(size, -1, taken.shape[-1])
        slopes = slopes.reshape(size, -1, slopes.shape[-1])
    flat = append_one(inputs.flatten(0, 1), block.bias is not None)
    return flat.reshape(size, -1, flat.shape[1]), slopes.detach()
