"""Image and audio classifiers of transformers, from small configurations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import transformers

from benchmarks.published.subject import CLASSES, EXAMPLES, Subject, find_head, register

PATCHES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
WINDOWS: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [2, 2],
    "window_size": 4,
}
LEVIT: dict[str, Any] = {
    "image_size": 64,
    "hidden_sizes": [16, 32, 48],
    "num_attention_heads": [2, 3, 4],
    "depths": [2, 2, 2],
    "key_dim": [8, 8, 8],
}
FOUR_STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
FOUR_WITH_HEADS: dict[str, Any] = {**FOUR_STAGES, "num_attention_heads": [1, 1, 2, 2]}
SOUND: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "vocab_size": 20,
}

# By the name of the class: its configuration, options, head, and the side of the images.
_IMAGES: dict[str, tuple[str, Mapping[str, Any], tuple[str, ...], int]] = {
    **{
        f"{name}ForImageClassification": (f"{name}Config", PATCHES, ("classifier",), 32)
        for name in ("ViT", "DeiT", "Beit", "Dinov2", "IJepa")
    },
    **{
        f"{name}ForImageClassification": (f"{name}Config", WINDOWS, ("classifier",), 32)
        for name in ("Swin", "Swinv2")
    },
    "LevitForImageClassification": ("LevitConfig", LEVIT, ("classifier",), 64),
    "LevitForImageClassificationWithTeacher": (
        "LevitConfig",
        LEVIT,
        ("classifier", "classifier_distill"),
        64,
    ),
    "MobileViTForImageClassification": (
        "MobileViTConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32],
            "num_attention_heads": 2,
        },
        ("classifier",),
        64,
    ),
    "SegformerForImageClassification": (
        "SegformerConfig",
        FOUR_WITH_HEADS,
        ("classifier",),
        64,
    ),
    "PvtForImageClassification": (
        "PvtConfig",
        {"image_size": 64, **FOUR_WITH_HEADS},
        ("classifier",),
        64,
    ),
    "PoolFormerForImageClassification": ("PoolFormerConfig", FOUR_STAGES, ("classifier",), 64),
    "RegNetForImageClassification": (
        "RegNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 4},
        ("classifier",),
        32,
    ),
    "FocalNetForImageClassification": (
        "FocalNetConfig",
        {
            "image_size": 32,
            "embed_dim": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "focal_levels": [2, 2],
            "focal_windows": [3, 3],
        },
        ("classifier",),
        32,
    ),
    "CLIPForImageClassification": (
        "CLIPConfig",
        {"vision_config": PATCHES, "text_config": {"vocab_size": 60, "num_hidden_layers": 1}},
        ("classifier",),
        32,
    ),
}

# By the name of the class: its configuration, options and the shape of its input.
_SOUNDS: dict[str, tuple[str, Mapping[str, Any], str, tuple[int, ...], str]] = {
    **{
        f"{name}ForSequenceClassification": (
            f"{name}Config",
            SOUND,
            "input_values",
            (400,),
            "classifier",
        )
        for name in ("Wav2Vec2", "Hubert", "WavLM", "UniSpeechSat", "SEW", "Wav2Vec2Conformer")
    },
    "ASTForAudioClassification": (
        "ASTConfig",
        {
            **{key: value for key, value in PATCHES.items() if key != "image_size"},
            "frequency_stride": 8,
            "time_stride": 8,
            "max_length": 32,
            "num_mel_bins": 16,
        },
        "input_values",
        (32, 16),
        "classifier.dense",
    ),
    "WhisperForAudioClassification": (
        "WhisperConfig",
        {
            "vocab_size": 60,
            "num_mel_bins": 8,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_layers": 1,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "d_model": 16,
            "max_source_positions": 20,
            "pad_token_id": 0,
            "decoder_start_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "classifier_proj_size": 8,
        },
        "input_features",
        (8, 40),
        "classifier",
    ),
}


def _build_images(name: str) -> Subject:
    config, options, head, side = _IMAGES[name]
    made = getattr(transformers, config)(**options, num_labels=CLASSES)
    model = getattr(transformers, name)(made)
    inputs = [{"pixel_values": image} for image in torch.randn(EXAMPLES, 3, side, side)]
    return Subject(model, inputs, find_head(model, head))


def _build_sounds(name: str) -> Subject:
    config, options, key, shape, head = _SOUNDS[name]
    made = getattr(transformers, config)(**options, num_labels=CLASSES)
    model = getattr(transformers, name)(made)
    inputs = [{key: sound} for sound in torch.randn(EXAMPLES, *shape)]
    return Subject(model, inputs, find_head(model, (head,)))


for _name in _IMAGES:
    register("transformers", _name, partial(_build_images, _name))
for _name in _SOUNDS:
    register("transformers", _name, partial(_build_sounds, _name))
