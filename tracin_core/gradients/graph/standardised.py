"""Per-example gradients of kernels that are standardised row by row before they meet the examples.

Weight standardisation by ``F.batch_norm``, as in timm's ``StdConv2d`` and ``ScaledStdConv2d``,
makes ``gain * x`` of each row ``w`` of a kernel, with ``x = (w - mean(w)) / std(w)``. From a
gradient ``g`` of the result, the row's is ``gain / std * (g - mean(g) - x <g, x> / n)``. So its
squared norm needs of ``g`` its product with ``x`` and its own norm without the mean, which both
can be taken by the factors, and the gain's gradient is that product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracin_core.gradients.factored import Contribution, Dense, choose_chunks
from tracin_core.gradients.graph.operations import CAST, ParameterUse
from tracin_core.gradients.graph.pull_back import MOST_BEHIND, RESHAPED, RowStore
from tracin_core.gradients.precision import multiply_wide, widen

NORMALISED = "NativeBatchNormBackward0"
# What is left of a squared norm once products are taken away; of less, rounding would show.
LEAST_LEFT = 1 / 16


@dataclass(frozen=True)
class RowStandardisation:
    """How the O rows of a kernel, of n numbers each, were standardised.

    Attributes:
        rows: The standardised rows without the gain, shape ``(O, n)``.
        scales: Gain divided by the standard deviation, shape ``(O,)``.
    """

    rows: Tensor
    scales: Tensor


@dataclass(frozen=True)
class Standardised(Contribution):
    """Gradients of a kernel from those of the standardised one.

    Attributes:
        inner: Gradients of the standardised kernel.
        standardisation: How that was made.
        shape: Shape of the kernel.
        products: Of each example's gradient with the standardised rows, shape ``(B, O)``.
        start: The first example in ``products``.
    """

    inner: Contribution
    standardisation: RowStandardisation
    shape: torch.Size
    products: RowStore
    start: int = 0

    @property
    def batch_size(self) -> int:
        """Number of examples B."""
        return self.inner.batch_size

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.inner.device

    @property
    def is_factored(self) -> bool:
        """Whether Gram matrices need less work than the whole gradients."""
        return self.inner.outer_sizes is not None and self.inner.is_factored

    @property
    def is_plain(self) -> bool:
        """Never: it is kept whole."""
        return False

    def narrow(self, start: int, stop: int) -> Standardised:
        """Return the same for the examples ``start`` to ``stop``."""
        inner, first = self.inner.narrow(start, stop), self.start + start
        return Standardised(inner, self.standardisation, self.shape, self.products, first)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, *shape)``."""
        rows, scales = self.standardisation.rows, self.standardisation.scales
        given = widen(self.inner.instantiate()).reshape(self.batch_size, *rows.shape)
        whole = given - given.mean(2, keepdim=True)
        products = (whole * rows).sum(2)
        self.products.put(self.start, products)
        whole.addcmul_(products.unsqueeze(2), rows, value=-1 / rows.shape[1])
        gradients: Tensor = whole.mul_(scales.unsqueeze(1)).reshape(-1, *self.shape)
        return gradients

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``, the cheaper way."""
        if not self.is_factored:
            return super().squared_norms()
        return torch.cat([part._measure_factors() for part in self._cut()])

    def find_products(self) -> Tensor:
        """Return the products with the standardised rows, shape ``(B, O)``."""
        stop = self.start + self.batch_size
        found = self.products.get(self.start, stop)
        if found is None:
            self.squared_norms()  # which meets them on the way
            found = self.products.get(self.start, stop)
        assert found is not None  # noqa: S101 - put there for every example
        return found

    def _cut(self) -> Iterator[Standardised]:
        """Yield runs of examples whose second factors fit a chunk."""
        positions, _, columns = self.inner.outer_sizes or (1, 1, 1)
        step = max(1, choose_chunks(self.device).patches // max(1, positions * columns))
        for start in range(0, self.batch_size, step):
            yield self.narrow(start, min(start + step, self.batch_size))

    def _measure_factors(self) -> Tensor:
        """Return the squared norms by the factors."""
        rows, scales = self.standardisation.rows, self.standardisation.scales
        outer = self.inner.as_outer()
        deltas, inputs = widen((outer.deltas, outer.inputs))
        inputs = inputs - inputs.mean(2, keepdim=True)
        gram = multiply_wide(inputs, inputs.mT)
        squares = (multiply_wide(gram, deltas) * deltas).sum(1)
        products = ((inputs.flatten(0, 1) @ rows.mT).view_as(deltas) * deltas).sum(1)
        self.products.put(self.start, products)
        # ``x`` has n numbers of mean 0 and a mean square just below 1.
        columns = rows.shape[1]
        shares = products.square() * (2 - rows.square().mean(1)) / columns
        weights = scales.square()
        whole: Tensor = (squares * weights).sum(1)
        norms: Tensor = ((squares - shares) * weights).sum(1)
        for index in (norms < LEAST_LEFT * whole).nonzero().flatten().tolist():
            gradient = self.narrow(index, index + 1).instantiate()
            norms[index] = gradient.square().sum()
        return norms


@dataclass(frozen=True)
class RowGains(Contribution):
    """Gradients of the gains that multiply standardised rows.

    Attributes:
        kernel: Gradients of the kernel, for the same examples.
        shape: Shape of the gains.
    """

    kernel: Standardised
    shape: torch.Size

    @property
    def batch_size(self) -> int:
        """Number of examples B."""
        return self.kernel.batch_size

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.kernel.device

    @property
    def is_factored(self) -> bool:
        """Never: it is one number a row."""
        return False

    @property
    def is_plain(self) -> bool:
        """Never: it holds what the kernel's gradients are made of."""
        return False

    def narrow(self, start: int, stop: int) -> RowGains:
        """Return the same for the examples ``start`` to ``stop``."""
        return RowGains(self.kernel.narrow(start, stop), self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, *shape)``."""
        return self.kernel.find_products().reshape(-1, *self.shape)


@dataclass(frozen=True)
class StandardisedRead:
    """A read of a standardised kernel.

    Attributes:
        kernel: The parameter that was standardised.
        gradients: Its gradients.
        made_by: What made the gains, and which of its results they are.
    """

    kernel: Tensor
    gradients: Standardised
    made_by: tuple[Any, int]

    @property
    def gains(self) -> RowGains:
        """Gradients of the gains."""
        return RowGains(self.gradients, self.gradients.standardisation.scales.shape)


def open_standardised(contribution: Contribution, read: ParameterUse) -> StandardisedRead | None:
    """Return what led from a kernel to an operation that reads it standardised.

    Args:
        contribution: Gradients of what was read.
        read: The operation.

    Returns:
        ``None`` where anything else led there.
    """
    if not read.passed or isinstance(contribution, Dense):
        return None
    node, output = _skip_views(*read.node.next_functions[read.position])
    if node is None or node.name() != NORMALISED or output or not node._saved_training:
        return None
    before, made_by, shift = node.next_functions
    leaf, _ = _skip_views(*before)
    if not hasattr(leaf, "variable") or shift[0] is not None or _leads_to(made_by[0], leaf):
        return None
    given = widen(node._saved_input.detach())
    if given.dim() < 3 or len(given) != 1 or given.numel() != read.shape.numel():
        return None
    if given.shape[1] != read.shape[0]:
        return None
    mean, scales = node._saved_result1.detach(), node._saved_result2.detach()
    rows = (given[0].flatten(1) - mean.unsqueeze(1)) * scales.unsqueeze(1)
    if node._saved_weight is not None:
        scales = scales * node._saved_weight.detach()
    standardisation = RowStandardisation(rows, scales)
    store = RowStore(contribution.batch_size)
    gradients = Standardised(contribution, standardisation, leaf.variable.shape, store)
    return StandardisedRead(leaf.variable, gradients, made_by)


def _skip_views(node: Any, output: int) -> tuple[Any, int]:
    """Return what made a tensor, before it was only cast or given another shape."""
    while node is not None and (node.name() in RESHAPED or node.name() == CAST):
        node, output = node.next_functions[0]
    return node, output


def _leads_to(node: Any, leaf: Any) -> bool:
    """Return whether a tensor was made of a parameter, or of too much to tell."""
    seen, waiting = {node}, [node]
    while waiting:
        one = waiting.pop()
        if one is leaf or len(seen) > MOST_BEHIND:
            return True
        sources = {source for source, _ in one.next_functions if source is not None} if one else ()
        waiting += [source for source in sources if source not in seen]
        seen.update(sources)
    return False
