"""A built-in network that is one file, as somebody who adds one would write it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from unittest import mock

from relabel.models import networks, registry

NAME, TITLE = "word_counts", "Counts of words"
SOURCE = '''
    """A linear map from the counts of words."""

    from dataclasses import asdict, dataclass
    from typing import ClassVar

    from relabel.models.registry import TrainingSuggestion, register_network


    def make_word_counts(config):
        """Return a network from word ids to outputs (B, K)."""
        from torch import nn

        bag = nn.EmbeddingBag(config.num_ids, config.widths[0], mode="sum", padding_idx=0)
        return nn.Sequential(bag, nn.Linear(config.widths[0], config.num_outputs))


    @register_network(
        title="Counts of words",
        description="Sees how often each word is there.",
        kinds=("text",),
        tasks=("classification",),
        build=make_word_counts,
        training=TrainingSuggestion(epochs=7, learning_rate=0.125),
    )
    @dataclass(frozen=True, kw_only=True)
    class WordCountsConfig:
        """How many words there are, and how they are counted."""

        name: ClassVar[str] = "word_counts"

        num_ids: int
        num_outputs: int
        widths: tuple[int, ...] = (8,)
        seed: int = 0

        def to_json(self):
            return {"name": self.name, **asdict(self), "widths": list(self.widths)}

        @classmethod
        def for_encoder(cls, encoder, request):
            return cls(
                num_ids=encoder.num_ids, num_outputs=request.num_outputs, seed=request.seed
            )
'''


@contextmanager
def toy_network_added(folder: Path) -> Iterator[None]:
    """Let a folder's one file be looked at as if it lay beside the other networks."""
    (folder / "word_counts.py").write_text(dedent(SOURCE), encoding="utf-8")
    registry.list_networks()  # the others first, which stay
    with (
        mock.patch.object(networks, "__path__", [*networks.__path__, str(folder)]),
        mock.patch.object(registry, "_NETWORKS", dict(registry._NETWORKS)),
    ):
        registry._load.cache_clear()
        try:
            yield
        finally:
            sys.modules.pop(f"{networks.__name__}.word_counts", None)
    registry._load.cache_clear()
