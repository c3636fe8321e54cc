"""WordLlama, a small table of vectors that comes as a package, read without its program."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from relabel.features.backbones.registry import (
    Backbone,
    BackboneFamily,
    BackboneRequest,
    FoundBackbone,
    register_backbones,
)
from relabel.features.backbones.texts import load_pieces
from tracin_core.errors import ConfigurationError

_FILES = ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json")


def find(request: BackboneRequest) -> FoundBackbone:
    """Find the table and its tokenizer in the installed package."""
    if request.member:
        raise ConfigurationError(
            f"Found {request.name!r:.80}, expected wordllama alone. Correct --features."
        )
    # Looked for and not imported: its own loader asks the network for the tokenizer.
    spec = find_spec("wordllama")
    for folder in () if spec is None else spec.submodule_search_locations or ():
        files = tuple(Path(folder) / name for name in _FILES)
        if all(path.is_file() for path in files):
            return FoundBackbone(request=request, files=files)
    raise ConfigurationError(
        "The vectors of WordLlama are not installed. Install them: pip install 'tracin-relabel"
        "[texts]' (16 MB)."
    )


def load(found: FoundBackbone) -> Backbone:
    """Put the table into memory."""
    return load_pieces(*found.files)


register_backbones(
    BackboneFamily(
        name="wordllama",
        title="WordLlama",
        description="The mean of vectors of pieces of words, distilled from a large language "
        "model; whole texts, about 1 ms each. Good for what texts are about.",
        kind="text",
        find=find,
        load=load,
        takes_weights=False,
        seconds=0.001,
        rank=1,
    )
)
