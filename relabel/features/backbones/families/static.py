"""Word vectors from a file of the person's own."""

from __future__ import annotations

from pathlib import Path

from relabel.features.backbones.registry import (
    Backbone,
    BackboneFamily,
    BackboneRequest,
    FoundBackbone,
    register_backbones,
)
from relabel.features.backbones.texts import load_pieces, load_words
from tracin_core.errors import ConfigurationError

_TOKENIZER = "tokenizer.json"
_ENDINGS = (".txt", ".vec", ".txt.gz", ".vec.gz", ".safetensors")


def find(request: BackboneRequest) -> FoundBackbone:
    """Find the file, and the tokenizer beside one that has no words in it."""
    path = Path(request.member)
    if not path.name.endswith(_ENDINGS):
        raise ConfigurationError(
            f"Found {request.name!r:.200}, expected static: and a file that ends with "
            f"{', '.join(_ENDINGS)}. Correct --features."
        )
    files = [path]
    if path.suffix == ".safetensors":
        files.append(path.with_name(_TOKENIZER))
    for file in files:
        if not file.is_file():
            raise ConfigurationError(
                f"Found no file {file}, expected word vectors in the format of GloVe, or a "
                f"safetensors file with {_TOKENIZER} beside it. Correct --features, or put the "
                "file back."
            )
    return FoundBackbone(request=request, files=tuple(files))


def load(found: FoundBackbone) -> Backbone:
    """Put the vectors into memory."""
    path, *tokenizer = found.files
    return load_pieces(path, *tokenizer) if tokenizer else load_words(path)


register_backbones(
    BackboneFamily(
        name="static",
        title="Word vectors from a file",
        description="The mean of the vectors of a text's words, from a file in the format of "
        "GloVe, word2vec or fastText, or of a static embedding with its tokenizer.",
        kind="text",
        members="file",
        find=find,
        load=load,
        look=lambda: "any file of yours",
        takes_weights=False,
        seconds=0.001,
    )
)
