"""Embedding similarity: how alike two examples are to the last layer.

The contrast of the TracIn FAQ ("What is the difference between influence and feature similarity?"):
it knows neither labels nor what the network makes of the features.
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
    "embedding_similarity",
    "Embedding similarity",
    scores={"embedding_oddness": "Unlike all others by its embedding"},
    quantity="similarity",
)
class EmbeddingSimilarity:
    """Similarity of the last layer's inputs at the last checkpoint.

    Options: ``similarity``, "cosine", "dot" or "distance" (minus the Euclidean one, so that larger
    is more alike). Never knows a label, so its score is how odd an example looks, not how wrong
    its label is.
    """

    needs: frozenset[Need] = frozenset({"checkpoints", "last layer", "whole train set"})

    def __init__(self, setup: AttributionSetup) -> None:
        usual = {"similarity": "cosine"}
        self._options = read_options("embedding similarity", setup.options, usual)
        self.configuration: Mapping[str, Any] = self._options
        self._tracin = setup.tracin
        self._mean: Tensor | None = None

    def fit(self, train: Any) -> None:
        """Take the mean direction of all N train examples."""
        self._mean = _normalise(self._embed(train)).mean(0)

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return minus the mean cosine with all train examples, shape ``(N,)``, -1 to 1."""
        if self._mean is None:
            self.fit(train)
        assert self._mean is not None  # noqa: S101 - fit has just set it
        return {"embedding_oddness": -(_normalise(self._embed(train)) @ self._mean)}

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return similarities of N train with M test examples, shape ``(N, M)``.

        Not an influence: no unit of loss, and a proponent is merely alike.
        """
        import torch

        left, right = self._embed(train), self._embed(test)
        if self._options["similarity"] == "distance":
            return -torch.cdist(left, right)
        if self._options["similarity"] == "cosine":
            left, right = _normalise(left), _normalise(right)
        return left @ right.t()

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return vectors whose dot products are similarities, shape ``(N, D)``.

        Args:
            examples: N examples.
            projection: To so many numbers; None for all.

        Raises:
            ConfigurationError: For distances, which are no dot products.
        """
        from tracin_core.errors import ConfigurationError
        from tracin_core.projection.rows import project_rows

        if self._options["similarity"] == "distance":
            raise ConfigurationError(
                "Distances are no dot products; expected similarity='cosine' or 'dot' for "
                "vectors. Ask for influence(train, test) instead."
            )
        rows = self._embed(examples)
        rows = _normalise(rows) if self._options["similarity"] == "cosine" else rows
        return rows if projection is None else project_rows(rows, projection)

    def _embed(self, examples: Any) -> Tensor:
        from tracin_core.curvature.features import collect_features

        return collect_features(self._tracin, examples).pooled


def _normalise(rows: Tensor) -> Tensor:
    """Return rows of length 1; a row of zeros stays one."""
    lengths = rows.norm(dim=1, keepdim=True)
    unit: Tensor = rows / lengths.where(lengths > 0, lengths.new_ones(()))
    return unit
