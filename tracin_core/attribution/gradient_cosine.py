"""Gradient cosine: TracIn's products without the gradients' lengths.

Each checkpoint counts with its learning rate, and the sum is divided by that of the rates, so that
it lies between -1 and 1. With itself it is 1, so it ranks no train example by itself: the score is
how much the gradient is unlike the mean direction of all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracin_core.attribution import AttributionSetup, Need, register_attributor
from tracin_core.attribution.options import read_options

if TYPE_CHECKING:
    from torch import Tensor

    from tracin_core.projection.config import Projection


@register_attributor(
    "gradient_cosine",
    "Gradient cosine",
    scores={"gradient_against_mean": "Gradient against the mean direction"},
    quantity="cosine",
)
class GradientCosine:
    """Mean cosine of gradients over the checkpoints, weighted with their learning rates.

    Options: ``layers``, "last" or "all". A gradient of length 0 has the cosine 0 with all others.
    """

    needs: frozenset[Need] = frozenset(
        {
            "checkpoints",
            "learning rates",
            "loss",
            "labels",
            "last layer",
            "gradients",
            "whole train set",
        }
    )

    def __init__(self, setup: AttributionSetup) -> None:
        # The rates come by the setup; a whole configuration repeats them.
        given = {name: value for name, value in setup.options.items() if name != "rates"}
        options = read_options("the gradient cosine", given, {"layers": "last"})
        self.configuration: Mapping[str, Any] = {"rates": setup.rates, **options}
        self._tracin, self._layers = setup.tracin, options["layers"]
        self._rates = setup.rates
        self._mean: Tensor | None = None

    def fit(self, train: Any) -> None:
        """Take the mean direction of all N train examples."""
        self._mean = self.vectors(train).mean(0)

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return minus the cosine with the mean direction, shape ``(N,)``, between -1 and 1.

        High for examples that pull against the others. The mean of unit vectors is divided by its
        own length; a train set whose directions cancel gives 0.
        """
        if self._mean is None:
            self.fit(train)
        assert self._mean is not None  # noqa: S101 - fit has just set it
        length = self._mean.norm()
        against = -(self.vectors(train) @ self._mean)
        return {"gradient_against_mean": against / length if length > 0 else against * 0}

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return cosines of N train with M test examples, shape ``(N, M)``, between -1 and 1."""
        return self.vectors(train) @ self.vectors(test).t()

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return unit vectors whose dot products are cosines, shape ``(N, D)``.

        Args:
            examples: N examples.
            projection: To so many numbers, made unit vectors again; None for all.
        """
        import torch

        shares = self._weigh()
        blocks = []
        for index, share in enumerate(shares):
            single = self._tracin.at_checkpoint(index, layers=self._layers)
            rows = single.vectors(examples, projection).double()
            lengths = rows.norm(dim=1, keepdim=True)
            blocks.append(share**0.5 * rows / torch.where(lengths > 0, lengths, 1.0))
        return torch.cat(blocks, 1)

    def _weigh(self) -> list[float]:
        """Return each checkpoint's share in the sum; of several rates their mean counts."""
        rates = [
            1.0
            if self._rates == "ones"
            else rate
            if isinstance(rate, int | float)
            else sum(rate.values()) / len(rate)
            for rate in self._tracin.rates
        ]
        return [rate / sum(rates) for rate in rates]
