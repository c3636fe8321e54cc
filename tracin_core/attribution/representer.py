"""Representer points as an attribution method: outputs as sums over train examples.

Yeh et al. 2018 (arXiv:1811.09720); ``tracin_core/curvature/representer.py`` computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracin_core.attribution import AttributionSetup, Need, register_attributor
from tracin_core.attribution.options import read_options
from tracin_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

    from tracin_core.curvature.features import Features
    from tracin_core.curvature.representer import RepresenterPoints


@register_attributor(
    "representer",
    "Representer points",
    scores={"representer_self": "Representer value of itself"},
    quantity="representer value",
)
class RepresenterMethod:
    """Parts of train examples in the outputs of a last layer that is fitted with weight decay.

    Options: ``decay`` is lambda, in ``mean loss + decay |W|^2`` (0.003). ``limit`` is the largest
    relative gradient norm that counts as stationary (1e-6). ``explain`` says whose pre-activation
    is explained: that of a test example's "predicted" class, or of its "given" one.
    """

    needs: frozenset[Need] = frozenset(
        {"checkpoints", "loss", "labels", "last layer", "whole train set"}
    )

    def __init__(self, setup: AttributionSetup) -> None:
        usual = {"decay": 0.003, "limit": 1e-6, "explain": "predicted"}
        self._options = read_options("representer points", setup.options, usual)
        self._tracin = setup.tracin
        self.configuration: Mapping[str, Any] = self._options
        self._points: RepresenterPoints | None = None

    @property
    def report(self) -> dict[str, float]:
        """The fit's relative gradient norm; empty before ``fit``."""
        return {} if self._points is None else {"gradient norm": self._points.gradient_norm}

    def fit(self, train: Any) -> None:
        """Fit the last layer to all N train examples until it is stationary.

        Raises:
            ConfigurationError: If there is no Linear last layer, or the fit is not stationary.
        """
        from tracin_core.curvature.features import collect_features
        from tracin_core.curvature.representer import fit_representer

        self._points = fit_representer(
            collect_features(self._tracin, train),
            self._tracin.loss,
            self._options["decay"],
            limit=self._options["limit"],
        )

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return each example's part in its own outputs, shape ``(N,)``, in their units.

        Of the given class alone where there are classes, which is never negative; else the sum of
        the parts' sizes over all outputs.
        """
        points, found = self._open(train)
        alphas = points.weigh(found.pooled, self._targets(found), self._tracin.loss)
        lengths = points.extend(found.pooled).square().sum(1)
        targets = self._targets(found)
        if targets.is_floating_point() or targets.numel() != len(alphas):
            return {"representer_self": alphas.abs().sum(1) * lengths}
        own = alphas.gather(1, targets.reshape(-1, 1).long())[:, 0]
        return {"representer_self": own * lengths}

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return N train examples' parts in a pre-activation of M test examples, ``(N, M)``.

        In units of the outputs, not of the loss. Over all train examples they sum to the fitted
        layer's output.
        """
        from tracin_core.curvature.features import collect_features
        from tracin_core.curvature.representer import choose_classes

        points, found = self._open(train)
        alphas = points.weigh(found.pooled, self._targets(found), self._tracin.loss)
        asked = collect_features(self._tracin, test)
        right = points.extend(asked.pooled)
        classes = choose_classes(right @ points.weight.t(), asked.targets, self._options["explain"])
        return (points.extend(found.pooled) @ right.t()) * alphas[:, classes]

    def _open(self, train: Any) -> tuple[RepresenterPoints, Features]:
        from tracin_core.curvature.features import collect_features

        if self._points is None:
            self.fit(train)
        assert self._points is not None  # noqa: S101 - fit has just set it
        return self._points, collect_features(self._tracin, train)

    def _targets(self, found: Features) -> Tensor:
        if found.targets is None:
            raise ConfigurationError(
                "Found train examples without targets; expected one for each. Pass labelled ones."
            )
        return found.targets
