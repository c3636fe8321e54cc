"""TracIn of the last checkpoint alone: gradient dot products of the finished network.

Pruthi et al. 2020 (arXiv:2002.08484v3), appendix D, warns of it: once the loss is small its
gradients are noise. It is what many libraries call "grad-dot", and here to be compared with.
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
    "last_checkpoint",
    "TracIn, last checkpoint only",
    scores={"self_influence_final": "Self-influence (last checkpoint)"},
    quantity="self-influence",
)
class LastCheckpoint:
    """Dot products of gradients at the last checkpoint, without a learning rate.

    Options: ``layers``, "last" or "all".
    """

    needs: frozenset[Need] = frozenset({"checkpoints", "loss", "labels", "last layer", "gradients"})

    def __init__(self, setup: AttributionSetup) -> None:
        options = read_options("TracIn of the last checkpoint", setup.options, {"layers": "last"})
        self.configuration: Mapping[str, Any] = options
        self._tracin = setup.tracin.at_checkpoint(layers=options["layers"])

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return squared gradient norms of N examples, shape ``(N,)``, loss units a unit rate."""
        return {"self_influence_final": self._tracin.self_influence(train)}

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return gradient dot products of N train with M test examples, shape ``(N, M)``."""
        return self._tracin.influence(train, test)

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return gradients, whose dot products are influences, shape ``(N, D)``."""
        return self._tracin.vectors(examples, projection)
