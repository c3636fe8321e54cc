"""Classifiers of timm, small variants of the published families."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import timm

from benchmarks.published.subject import CLASSES, Subject, images, register

SMALL = {"img_size": 64}

# By the name in timm: options, and the side of the images.
_MODELS: dict[str, tuple[Mapping[str, Any], int]] = {
    # Keep biases of attention, or merged weights, in evaluation mode.
    "levit_128s": (SMALL, 64),
    "efficientformer_l1": ({"depths": (1, 1, 1, 2), "num_vit": 1}, 224),
    "efficientformerv2_s0": (SMALL, 64),
    "efficientvit_m0": (SMALL, 64),
    "tiny_vit_5m_224": ({}, 64),
    "swiftformer_xs": (SMALL, 64),
    "repvgg_a0": ({}, 48),
    "fastvit_t8": ({}, 64),
    # Convolutions.
    "efficientvit_b0": ({}, 64),
    "ghostnet_050": ({}, 64),
    "lcnet_050": ({}, 64),
    "tinynet_e": ({}, 64),
    "mobilenetv4_conv_small": ({}, 64),
    "resnet10t": ({}, 48),
    "dla46_c": ({}, 64),
    "ese_vovnet19b_dw": ({}, 48),
    "starnet_s050": ({}, 48),
    "inception_next_atto": ({}, 64),
    "mambaout_femto": ({"depths": (1, 1, 3, 1)}, 48),
    # Attention and mixing of tokens.
    "edgenext_xx_small": ({}, 64),
    "coat_lite_tiny": (SMALL, 64),
    "cait_xxs24_224": ({**SMALL, "depth": 4}, 64),
    "deit_tiny_distilled_patch16_224": ({**SMALL, "depth": 4}, 64),
    "eva02_tiny_patch14_224": ({"img_size": 56, "depth": 4}, 56),
    "pit_ti_distilled_224": (SMALL, 64),
    "gmlp_ti16_224": (SMALL, 64),
    "beit_base_patch16_224": ({**SMALL, "depth": 3, "embed_dim": 96, "num_heads": 4}, 64),
    "swinv2_cr_tiny_224": (
        {**SMALL, "embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 4)},
        64,
    ),
    "davit_tiny": ({"embed_dims": (24, 24, 48, 48), "depths": (1, 1, 1, 1)}, 64),
}


def _build(name: str) -> Subject:
    options, side = _MODELS[name]
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)
    heads = model.get_classifier()
    heads = heads if isinstance(heads, tuple | list) else (heads,)
    names = [n for n, module in model.named_modules() if any(module is head for head in heads)]
    return images(model, tuple(names), side)


for _name in _MODELS:
    register("timm", _name, partial(_build, _name))
