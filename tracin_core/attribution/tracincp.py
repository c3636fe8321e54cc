"""TracInCP as an attribution method: self-influence of all layers and of the last one.

Pruthi et al. 2020, arXiv:2002.08484v3, Sec. 3.2; ``TracIn`` computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tracin_core.attribution import DEFAULT_METHOD, AttributionSetup, Need, register_attributor

if TYPE_CHECKING:
    from torch import Tensor

    from tracin_core.capture.signals import Capture
    from tracin_core.projection.config import Projection


@register_attributor(
    DEFAULT_METHOD,
    "TracInCP",
    scores={"self_influence_last": "last layer", "self_influence_all": "all layers"},
    quantity="self-influence",
)
class TracInCP:
    """Sums over checkpoints of products of gradients; its scores are self-influences."""

    needs: frozenset[Need] = frozenset(
        {"checkpoints", "learning rates", "loss", "labels", "last layer", "gradients"}
    )

    def __init__(self, setup: AttributionSetup) -> None:
        self._tracin = setup.tracin
        self.configuration: Mapping[str, Any] = {
            "rates": setup.rates,
            "projection": {
                layers: None if projection is None else asdict(projection)
                for layers, projection in setup.projection.items()
            },
        }

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return the self-influences of N examples, shape ``(N,)`` each, in loss units."""
        capture = self._tracin.capture(train)
        return {
            f"self_influence_{layers}": capture.self_influence(layers)
            for layers in self._list_layers()
        }

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return the influence of N train on M test examples, shape ``(N, M)``."""
        return self._tracin.influence(train, test)

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return vectors whose dot products are influences, shape ``(N, D)``."""
        return self._tracin.vectors(examples, projection)

    def read_capture(self, capture: Capture) -> dict[str, Tensor]:
        """Return squared gradient norms at each checkpoint, shape ``(C, N)``, rates left out."""
        norms = {"all": capture.squared_norms_all, "last": capture.squared_norms_last}
        return {f"self_influence_{layers}": norms[layers] for layers in self._list_layers()}

    def _list_layers(self) -> tuple[str, ...]:
        """Return whose norms there are; those of all layers repeat the last one's if alone."""
        return ("last",) if self._tracin.layers == "last" else ("all", "last")
