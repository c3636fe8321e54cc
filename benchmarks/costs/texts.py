"""Text and sound networks of transformers at the width of a small BERT."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from benchmarks.costs.subject import CLASSES, Costed, register

WORDS, LENGTH, EXAMPLES, BATCH = 8_000, 64, 64, 16
SIZE: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
SHARED_KEYS = {"num_key_value_heads": 2, "head_dim": 64}
T5: dict[str, Any] = {
    "vocab_size": WORDS,
    "d_model": 256,
    "d_kv": 64,
    "d_ff": 1024,
    "num_layers": 3,
    "num_heads": 4,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
EXPERTS = {**SIZE, **SHARED_KEYS, "num_hidden_layers": 2, "num_local_experts": 4}

# By the name of the class: the options of its configuration.
_CLASSIFIERS: dict[str, Mapping[str, Any]] = {
    **dict.fromkeys(("Bert", "Roberta", "DistilBert", "MPNet", "ModernBert", "GPT2"), SIZE),
    **dict.fromkeys(("OPT", "Phi3", "Falcon", "XLM"), SIZE),
    **{name: {**SIZE, **SHARED_KEYS} for name in ("Llama", "Qwen3", "Gemma")},
    "DebertaV2": {
        **SIZE,
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 32,
    },
    "T5": T5,
    "XLNet": {
        "vocab_size": WORDS,
        "d_model": 256,
        "n_layer": 4,
        "n_head": 4,
        "d_inner": 1024,
        "pad_token_id": 0,
    },
    "Funnel": {
        "vocab_size": WORDS,
        "d_model": 256,
        "n_head": 4,
        "d_head": 64,
        "d_inner": 1024,
        "block_sizes": [2, 2],
        "num_decoder_layers": 0,
        "pad_token_id": 0,
    },
    "Mixtral": EXPERTS,
    "GptOss": EXPERTS,
}
SOUND: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "conv_dim": (64, 64, 64, 64),
    "conv_kernel": (10, 3, 3, 3),
    "conv_stride": (5, 4, 4, 2),
    "num_feat_extract_layers": 4,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 64,
}


class Positional(nn.Module):
    """A classifier of transformers that takes its inputs by position, for us and peers alike."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return logits ``(B, classes)``."""
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def _make(name: str, options: Mapping[str, Any]) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**options, num_labels=CLASSES)
    model: nn.Module = getattr(transformers, f"{name}ForSequenceClassification")(config)
    return model


def _read(make: Callable[[], nn.Module]) -> Costed:
    lengths = torch.randint(LENGTH // 4, LENGTH + 1, (EXAMPLES,))
    places = torch.arange(LENGTH)
    ids = torch.randint(3, WORDS, (EXAMPLES, LENGTH))
    ids[places == (lengths - 1).unsqueeze(1)] = 2
    mask = (places < lengths.unsqueeze(1)).long()
    names = ("input_ids", "attention_mask")
    return Costed(Positional(make(), names).eval(), (ids * mask, mask), BATCH)


def _listen() -> Costed:
    model = Positional(_make("Wav2Vec2", SOUND), ("input_values",))
    return Costed(model.eval(), (torch.randn(16, 16_000),), 8)


def _correct_weights() -> nn.Module:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=8, use_dora=True, target_modules=["query", "value"], task_type="SEQ_CLS")
    made: nn.Module = get_peft_model(_make("Bert", SIZE), config)
    return made


for _name, _options in _CLASSIFIERS.items():
    register("transformers", _name, partial(_read, partial(_make, _name, _options)))
register("transformers", "Wav2Vec2", _listen)
if importlib.util.find_spec("peft"):
    register("peft", "BERT with DoRA", partial(_read, _correct_weights))
