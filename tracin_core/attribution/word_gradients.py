"""TracIn on words: gradients of embedding layers alone.

Two texts have a product there only through the words that they share, so an influence is a sum over
shared words (Yeh et al. 2022, "First is Better Than Last for Language Data Influence",
arXiv:2202.11844, Sec. 4). Contested: middle layers may say more (arXiv:2511.04715).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracin_core.attribution import AttributionSetup, Need, register_attributor
from tracin_core.attribution.options import read_options
from tracin_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

    from tracin_core.projection.config import Projection
    from tracin_core.tracin import TracIn


@register_attributor(
    "word_gradients",
    "TracIn on words",
    scores={"self_influence_words": "Self-influence (word embeddings)"},
    quantity="self-influence",
)
class WordGradients:
    """TracInCP over the tables of ``nn.Embedding`` and ``nn.EmbeddingBag`` layers alone."""

    needs: frozenset[Need] = frozenset(
        {"checkpoints", "learning rates", "loss", "labels", "gradients"}
    )

    def __init__(self, setup: AttributionSetup) -> None:
        given = {name: value for name, value in setup.options.items() if name != "rates"}
        read_options("TracIn on words", given, {})
        self.configuration: Mapping[str, Any] = {"rates": setup.rates}
        self._setup = setup
        self._made: TracIn | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the trainable tables of words, in the model's order.

        Raises:
            ConfigurationError: If the model has none.
        """
        from torch import nn

        found = {
            id(module.weight): f"{name}.weight" if name else "weight"
            for name, module in self._setup.tracin.model.named_modules()
            if isinstance(module, nn.Embedding | nn.EmbeddingBag)
            if module.weight.requires_grad
        }
        if not found:
            raise ConfigurationError(
                f"Found no embedding layer that is trained in the "
                f"{type(self._setup.tracin.model).__name__}; expected one that looks words up. "
                "Choose a network that reads words, or another method."
            )
        return tuple(found.values())

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return self-influences over the tables, shape ``(N,)``, in loss units."""
        return {"self_influence_words": self._tracin.self_influence(train)}

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return the influence of N train on M test examples by shared words, ``(N, M)``."""
        return self._tracin.influence(train, test)

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return vectors whose dot products are influences, shape ``(N, D)``."""
        return self._tracin.vectors(examples, projection)

    def influence_by_word(self, train: Any, test: Any) -> dict[str, Tensor]:
        """Return each word's part in the influence of one train on one test example.

        Args:
            train: One example.
            test: One example.

        Returns:
            By the name of each table, shape ``(V,)``, in loss units: 0 for every word that the two
            do not share. Over all words and tables it sums to ``influence``.

        Raises:
            ConfigurationError: If there are several examples.
        """
        left, right = self._tracin.vectors(train), self._tracin.vectors(test)
        if len(left) != 1 or len(right) != 1:
            raise ConfigurationError(
                f"Found {len(left)} train and {len(right)} test examples; expected one of each, "
                "whose shared words are told. Ask for them pair by pair."
            )
        products = (left.double() * right.double()).reshape(len(self._tracin.checkpoints), -1)
        summed = products.sum(0)
        model, found, start = self._tracin.model, {}, 0
        for name in self._tracin.name_parameters(train):
            shape = model.get_parameter(name).shape
            found[name] = summed[start : start + shape.numel()].reshape(shape).sum(1)
            start += shape.numel()
        return found

    @property
    def _tracin(self) -> TracIn:
        if self._made is None:
            origin = self._setup.tracin
            self._made = origin.derive(layers=self.tables, rates=self._setup.rates)
        return self._made
