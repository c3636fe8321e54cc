"""Disagreement of the nearest train examples by the last layer's inputs (feature kNN).

Cover and Hart 1967; as a detector of wrong labels e.g. Bahri et al. 2020 (arXiv:2004.12289).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracin_core.attribution import AttributionSetup, Need, register_attributor
from tracin_core.attribution.options import read_options
from tracin_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

# Examples whose similarities are computed at once.
BLOCK = 1024
# Numbers of the neighbours' embeddings that are compared at once, 128 MiB in single precision.
COMPARED = 1 << 25


@register_attributor(
    "feature_neighbours",
    "Feature neighbours",
    scores={"neighbour_disagreement": "Disagreement of its feature neighbours"},
    quantity="disagreement",
)
class FeatureNeighbours:
    """What the ``count`` nearest other train examples say, by the cosine of the embeddings.

    Options: ``count`` (10). The features are the network's own, which was trained on the labels in
    question: what it has learned by heart lies among its like.
    """

    needs: frozenset[Need] = frozenset({"checkpoints", "labels", "last layer", "whole train set"})

    def __init__(self, setup: AttributionSetup) -> None:
        self._options = read_options("feature neighbours", setup.options, {"count": 10})
        self.configuration: Mapping[str, Any] = self._options
        self._tracin = setup.tracin
        self._known: tuple[Tensor, Tensor] | None = None

    def fit(self, train: Any) -> None:
        """Keep all N train examples' embeddings and targets.

        Raises:
            ConfigurationError: If they are fewer than two, or have no targets.
        """
        rows, targets = self._embed(train)
        if len(rows) < 2:
            raise ConfigurationError(
                f"Found {len(rows)} train example; expected at least two, one of which is the "
                "other's neighbour."
            )
        self._known = rows, targets

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return how far the neighbours disagree with the given target, shape ``(N,)``.

        The share of neighbours with another class, 0 to 1; of numbers the distance from their
        mean, in the target's units. An example is not its own neighbour; of several with the same
        embedding one is left out in its place.
        """
        import torch

        known, targets = self._open(train)
        rows, own = self._embed(train)
        count = min(self._options["count"], len(known) - 1)
        step = max(1, min(BLOCK, COMPARED // ((count + 1) * known.shape[1])))
        parts = []
        for start in range(0, len(rows), step):
            asked, given = rows[start : start + step], own[start : start + step]
            places = (asked @ known.t()).topk(count + 1, dim=1).indices
            others = _leave_itself_out(places, asked, given, known, targets)
            parts.append(_measure_disagreement(targets[others], given))
        return {"neighbour_disagreement": torch.cat(parts)}

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return +1/k for a neighbour with the test example's target, -1/k for another, else 0.

        Shape ``(N, M)``; over the train examples it sums to agreement minus disagreement.

        Raises:
            ConfigurationError: If targets are numbers, which are not the same or another.
        """
        import torch

        rows, targets = self._embed(train)
        asked, wanted = self._embed(test)
        if targets.is_floating_point():
            raise ConfigurationError(
                "Found targets that are numbers; expected classes, which are the same or not. "
                "Ask for scores, which say how far the neighbours' mean is away."
            )
        count = min(self._options["count"], len(rows))
        nearest = (asked @ rows.t()).topk(count, dim=1).indices
        votes = torch.where(targets[nearest] == wanted[:, None], 1.0, -1.0) / count
        return torch.zeros(len(asked), len(rows)).scatter_(1, nearest, votes.float()).t()

    def _open(self, train: Any) -> tuple[Tensor, Tensor]:
        if self._known is None:
            self.fit(train)
        assert self._known is not None  # noqa: S101 - fit has just set it
        return self._known

    def _embed(self, examples: Any) -> tuple[Tensor, Tensor]:
        """Return unit vectors ``(N, I)`` and classes ``(N,)``, or numbers."""
        from tracin_core.curvature.features import collect_features

        found = collect_features(self._tracin, examples)
        if found.targets is None:
            raise ConfigurationError(
                "Found train examples without targets; expected one for each. Pass labelled ones."
            )
        rows = found.pooled
        lengths = rows.norm(dim=1, keepdim=True)
        rows = rows / lengths.where(lengths > 0, lengths.new_ones(()))
        targets = found.targets
        if self._tracin.loss == "cross_entropy":
            is_class = targets.numel() == len(rows) and not targets.is_floating_point()
            targets = targets.reshape(-1) if is_class else targets.argmax(1)
        return rows, targets


def _leave_itself_out(
    places: Tensor, rows: Tensor, own: Tensor, known: Tensor, targets: Tensor
) -> Tensor:
    """Return the neighbours of B examples without themselves, nearest first, shape ``(B, k)``.

    Args:
        places: The k + 1 nearest of the known examples, shape ``(B, k + 1)``.
        rows: The examples' embeddings, shape ``(B, I)``.
        own: Their targets, shape ``(B, ...)``.
        known: Embeddings of the known examples, shape ``(N, I)``.
        targets: Their targets, shape ``(N, ...)``.
    """
    import torch

    alike = (known[places] == rows[:, None]).all(2)
    same = alike & (targets[places] == own[:, None]).reshape(*places.shape, -1).all(2)
    order = torch.arange(places.shape[1], device=places.device)
    # Itself: the first of its embedding and target, else the farthest is one too many.
    out = torch.where(same, order, len(order) - 1).amin(1)
    return places[order != out[:, None]].reshape(len(places), -1)


def _measure_disagreement(others: Tensor, own: Tensor) -> Tensor:
    """Return the share of k neighbours with another class, or the distance of their mean, ``(B,)``.

    Args:
        others: The neighbours' targets, shape ``(B, k)`` or ``(B, k, ...)``.
        own: The examples' own, shape ``(B,)`` or ``(B, ...)``.
    """
    if others.is_floating_point():
        distances: Tensor = (others.mean(1) - own).reshape(len(own), -1).norm(dim=1)
        return distances.double()
    return (others != own[:, None]).double().mean(1)
