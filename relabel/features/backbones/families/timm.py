"""The networks of timm, where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relabel.features.backbones.download import find_hub_file
from relabel.features.backbones.registry import (
    Backbone,
    BackboneFamily,
    BackboneRequest,
    FoundBackbone,
    describe_library,
    find_local_file,
    read_state,
    register_backbones,
    require,
)
from tracin_core.errors import ConfigurationError


def find(request: BackboneRequest) -> FoundBackbone:
    """Find the weights: a local file, the hub's cache, or the hub where that is allowed."""
    published = _find_published(request)
    if request.weights is not None:
        path = find_local_file(request.weights)
    elif published is None or not published.hf_hub_id:
        raise ConfigurationError(
            f"timm publishes no weights of {request.name} on the Hugging Face hub. Give a file "
            "with --weights, or choose another backbone with --features."
        )
    else:
        file = published.hf_hub_filename or "model.safetensors"
        path = find_hub_file(
            request.name, published.hf_hub_id, file, allow_download=request.allow_download
        )
    return FoundBackbone(request=request, files=(path,))


def _require_timm() -> Any:
    return require("timm", "builds this network", "timm")


def _find_published(request: BackboneRequest) -> Any:
    """Return timm's description of a network's weights; None where it has none."""
    timm = _require_timm()
    if not timm.is_model(request.member.partition(".")[0]):
        raise ConfigurationError(
            f"Found {request.name!r:.80}, expected timm: and a model that this version of timm "
            "knows, such as timm:convnext_tiny.fb_in22k. Correct --features."
        )
    return timm.get_pretrained_cfg(request.member)


def load(found: FoundBackbone) -> Backbone:
    """Put the network into memory, without its last layer. Imports torch."""
    from relabel.features.backbones.pictures import PictureBackbone

    timm = _require_timm()
    (path,), name = found.files, found.request.member
    network = timm.create_model(name, pretrained=False, num_classes=0)
    described = timm.data.resolve_model_data_config(network)
    state = read_state(path, f"timm's {name}")
    _load_without_head(network, state, path, name)
    prepare = timm.data.create_transform(**described, is_training=False)
    return PictureBackbone(network.eval(), prepare, int(described["input_size"][-1]))


def _load_without_head(network: Any, state: dict[str, Any], path: Path, name: str) -> None:
    """Load the weights of everything but the last layer, which is not there.

    Raises:
        ConfigurationError: If they are of another network.
    """
    heads = network.pretrained_cfg.get("classifier") or ()
    named = (heads,) if isinstance(heads, str) else tuple(heads)
    beginnings = tuple(f"{head}." for head in named)
    kept = {key: value for key, value in state.items() if not key.startswith(beginnings)}
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        raise ConfigurationError(
            f"The weights in {path} are not those of timm's {name} "
            f"({str(error).splitlines()[-1].strip()[:200]}). Give a file that fits, or correct "
            "--features."
        ) from error


register_backbones(
    BackboneFamily(
        name="timm",
        title="Networks of timm",
        description="Hundreds of networks, the strongest of their time among them, where timm is "
        "installed.",
        kind="image",
        members="model",
        find=find,
        load=load,
        look=lambda: describe_library("timm", "timm"),
        seconds=0.1,
    )
)
