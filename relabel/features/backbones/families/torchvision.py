"""The networks of torchvision that were trained to tell classes apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relabel.features.backbones.download import fetch, find_torch_cache, refuse_download
from relabel.features.backbones.registry import (
    Backbone,
    BackboneFamily,
    BackboneRequest,
    FoundBackbone,
    find_local_file,
    read_state,
    register_backbones,
)
from tracin_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

_DIGEST = re.compile(r"-([0-9a-f]{8,})\.")
# As torchvision mends the names in its oldest files of DenseNet.
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\..*)$")


def find(request: BackboneRequest) -> FoundBackbone:
    """Find the weights: a local file, torchvision's cache, or its server where that is allowed."""
    published = _find_published(request)
    if request.weights is not None:
        return FoundBackbone(request=request, files=(find_local_file(request.weights),))
    url, size = str(published.url), float(published.meta.get("_file_size", 0.0))
    path = find_torch_cache() / url.rpartition("/")[2]
    if not path.is_file():
        if not request.allow_download:
            raise refuse_download(request.name, path.name, size)
        digest = _DIGEST.search(path.name)
        fetch(url, path, digest[1] if digest else None, size)
    return FoundBackbone(request=request, files=(path,))


def look() -> str:
    """Return which weights lie in torchvision's cache."""
    folder = find_torch_cache()
    names = sorted(path.name for path in folder.glob("*.pth")) if folder.is_dir() else []
    return f"{', '.join(names[:10]) or 'no weights'} in {folder}"


def _find_published(request: BackboneRequest) -> Any:
    """Return torchvision's description of a network's weights. Imports torch."""
    import torchvision.models as models

    known = models.list_models(module=models)
    if request.member not in known:
        raise ConfigurationError(
            f"Found {request.name!r:.80}, expected torchvision: and one of {', '.join(known)}. "
            "Correct --features."
        )
    return models.get_model_weights(request.member).DEFAULT


def load(found: FoundBackbone) -> Backbone:
    """Put the network into memory, without its last layer. Imports torch."""
    import torchvision.models as models

    from relabel.features.backbones.pictures import PictureBackbone

    name, (path,) = found.request.member, found.files
    published = _find_published(found.request)
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = models.get_model(name, weights=None, **extra)
    state = read_state(path, f"torchvision's {name}")
    load_without_head(network, take_out_head(network), state, path, f"torchvision's {name}")
    prepare = published.transforms()
    return PictureBackbone(network.eval(), prepare, int(prepare.crop_size[0]))


def take_out_head(network: nn.Module) -> str:
    """Replace the last layer of a classifier by nothing, and return its name.

    What comes out is then what that layer was given: the pooled features.
    """
    from torch import nn

    head = ""
    for name, part in network.named_modules():
        head = name if isinstance(part, nn.Linear | nn.Conv2d) else head
    parent, _, child = head.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return head


def load_without_head(
    network: nn.Module, head: str, state: Mapping[str, Any], path: Path, title: str
) -> None:
    """Load weights into a network whose last layer is not needed, whatever size it had.

    Raises:
        ConfigurationError: If they are of another network.
    """
    kept = {
        _OLD_DENSENET.sub(r"\1\2", name): value
        for name, value in state.items()
        if not name.startswith(f"{head}.")
    }
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        raise ConfigurationError(
            f"The weights in {path} are not those of {title} "
            f"({str(error).splitlines()[-1].strip()[:200]}). Give a file that fits, or correct "
            "--features."
        ) from error


register_backbones(
    BackboneFamily(
        name="torchvision",
        title="Networks of torchvision",
        description="Trained on a million photographs; larger ones see more and take longer. "
        "The weights are a file of yours, or fetched once where you agree.",
        kind="image",
        members="model",
        find=find,
        load=load,
        look=look,
        seconds=0.05,
    )
)
