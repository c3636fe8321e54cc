"""Text encoders of transformers, from a folder or from the hub's cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from relabel.features.backbones.download import find_hub_folder
from relabel.features.backbones.registry import (
    Backbone,
    BackboneFamily,
    BackboneRequest,
    FoundBackbone,
    describe_library,
    register_backbones,
    require,
)
from relabel.features.backbones.texts import check_texts
from relabel.features.records import Content
from tracin_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

# Pieces of words that are read at most; encoders are rarely made for more.
MOST_PIECES = 512
# Texts that go through a network at a time, padded to the longest of them.
TEXTS_AT_ONCE = 8
# Python that lies beside a model is never run, and its pickled weights are not read.
_NEEDED = ("*.json", "*.safetensors", "*.txt", "*.model")


def find(request: BackboneRequest) -> FoundBackbone:
    """Find the model's folder, on this machine or, where that is allowed, on the hub."""
    member = request.member
    if not member:
        raise ConfigurationError(
            "Found transformers alone, expected a folder or a model of the hub after it, such as "
            "transformers:sentence-transformers/all-MiniLM-L6-v2. Correct --features."
        )
    folder = Path(member)
    if not folder.is_dir():
        if folder.is_absolute():
            raise ConfigurationError(
                f"Found no folder {folder}, expected a model as transformers saves it. Correct "
                "--features, or put the folder back."
            )
        folder = find_hub_folder(
            request.name, member, _NEEDED, allow_download=request.allow_download
        )
    files = sorted(path for pattern in _NEEDED for path in folder.glob(pattern))
    if not any(path.suffix == ".safetensors" for path in files):
        raise ConfigurationError(
            f"Found no weights as safetensors in {folder}, expected a model as transformers saves "
            "it. Save it again: model.save_pretrained(folder)."
        )
    return FoundBackbone(request=request, files=tuple(files))


class _TextEncoder:
    """A text encoder whose outputs are averaged over the pieces of a text."""

    def __init__(self, tokenizer: Any, network: Any) -> None:
        self._tokenizer = tokenizer
        self._network = network.eval().requires_grad_(False)
        positions = getattr(network.config, "max_position_embeddings", MOST_PIECES)
        self.size = int(min(MOST_PIECES, tokenizer.model_max_length, positions))
        self.dim = int(network.config.hidden_size)

    def compute(self, contents: Sequence[Content]) -> npt.NDArray[np.float32]:
        """Return the features of some texts, shape ``(B, D)``."""
        from relabel.features.backbones.parts import compute_in_parts

        return compute_in_parts(check_texts(contents), TEXTS_AT_ONCE, self._compute_part)

    def _compute_part(self, texts: Sequence[Content]) -> Tensor:
        cut = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.size, return_tensors="pt"
        )
        seen = self._network(**cut).last_hidden_state
        shares = cut["attention_mask"].unsqueeze(2).to(seen.dtype)
        means: Tensor = (seen * shares).sum(1) / shares.sum(1).clamp(min=1.0)
        return means


def load(found: FoundBackbone) -> Backbone:
    """Put the model into memory. Imports torch."""
    transformers = require("transformers", "reads this model", "'tracin-relabel[transformers]'")
    damaged = require("safetensors", "reads these weights", "safetensors").SafetensorError
    folder = found.files[0].parent
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, ImportError, damaged) as error:
        raise ConfigurationError(
            f"The model in {folder} cannot be read ({str(error)[:300]}); expected an encoder and "
            "its tokenizer as transformers saves them. Save or fetch it again."
        ) from error
    return _TextEncoder(tokenizer, network)


register_backbones(
    BackboneFamily(
        name="transformers",
        title="Text encoders of transformers",
        description="The mean of what an encoder makes of a text's pieces, at most 512 of them, "
        "where transformers is installed.",
        kind="text",
        members="folder or name",
        find=find,
        load=load,
        look=lambda: describe_library("transformers", "'tracin-relabel[transformers]'"),
        takes_weights=False,
        seconds=0.05,
    )
)
