"""Influence functions as an attribution method: what leaving an example out would do.

Koh and Liang 2017 (arXiv:1703.04730); ``tracin_core/curvature/influence.py`` computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracin_core.attribution import AttributionSetup, Need, register_attributor
from tracin_core.curvature.config import InfluenceConfig

if TYPE_CHECKING:
    from torch import Tensor

    from tracin_core.curvature.influence import InfluenceFunctions
    from tracin_core.projection.config import Projection


def _name_layers(setup: AttributionSetup) -> dict[str, Any]:
    """Return the options with layers that are given as modules by their names."""
    options = dict(setup.options)
    if "layers" in options and not isinstance(options["layers"], str):
        from tracin_core.layers import resolve_layers

        options["layers"] = resolve_layers(setup.tracin.model, options["layers"])
    return options


@register_attributor(
    "influence_functions",
    "Influence functions",
    scores={"influence_on_itself": "Influence function of itself"},
    quantity="influence function",
)
class InfluenceFunctionsMethod:
    """Influence functions at the last checkpoint; options are those of ``InfluenceConfig``."""

    needs: frozenset[Need] = frozenset(
        {"checkpoints", "loss", "labels", "last layer", "gradients", "whole train set"}
    )

    def __init__(self, setup: AttributionSetup) -> None:
        self._tracin = setup.tracin
        self._config = InfluenceConfig.from_options(_name_layers(setup))
        self.configuration: Mapping[str, Any] = self._config.to_json()
        self._fitted: InfluenceFunctions | None = None

    @property
    def report(self) -> dict[str, Any]:
        """How the curvature was solved: solver, damping, residual; empty before ``fit``."""
        return {} if self._fitted is None else self._fitted.report

    def fit(self, train: Any) -> None:
        """Take the curvature from all N train examples."""
        from tracin_core.curvature.influence import InfluenceFunctions

        fitted = InfluenceFunctions(self._tracin, self._config)
        fitted.fit(train)
        self._fitted = fitted

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return each train example's influence on its own loss, shape ``(N,)``, in loss units."""
        return {"influence_on_itself": self._open(train).self_scores(train)}

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return the influence of N train on M test examples, ``(N, M)``, in loss units."""
        return self._open(train).influence(train, test)

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return vectors whose dot products are influences, shape ``(N, D)``.

        Raises:
            ConfigurationError: If there was no ``fit``, or the solver has no root.
        """
        from tracin_core.curvature.influence import InfluenceFunctions

        return (self._fitted or InfluenceFunctions(self._tracin, self._config)).vectors(
            examples, projection
        )

    def _open(self, train: Any) -> InfluenceFunctions:
        """Return what was fitted; with nothing fitted, these are the whole train set."""
        if self._fitted is None:
            self.fit(train)
        assert self._fitted is not None  # noqa: S101 - fit has just set it
        return self._fitted
