"""Text models of transformers from small configurations: classifiers and language models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
import transformers
from torch import Tensor

from benchmarks.published.subject import CLASSES, WORDS, Subject, find_head, register, texts

LENGTH = 10
SIZE: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
SHARED_KEYS = {"num_key_value_heads": 1, "head_dim": 8}
TWO_PARTS: dict[str, Any] = {
    "vocab_size": WORDS,
    "d_model": 16,
    **dict.fromkeys(["encoder_layers", "decoder_layers"], 2),
    **dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], 2),
    **dict.fromkeys(["encoder_ffn_dim", "decoder_ffn_dim"], 32),
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
T5_SIZE: dict[str, Any] = {
    "vocab_size": WORDS,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 2,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
PROJECTED = "classifier.out_proj"

# By the name in transformers: options of the configuration, and the head.
_CLASSIFIERS: dict[str, tuple[Mapping[str, Any], str]] = {
    **dict.fromkeys(
        (
            *("Bert", "Albert", "DistilBert", "FNet", "MobileBert", "ModernBert", "Ernie"),
            *("MegatronBert", "LayoutLM", "Deberta"),
        ),
        (SIZE, "classifier"),
    ),
    "DebertaV2": (
        {
            **SIZE,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 8,
        },
        "classifier",
    ),
    **dict.fromkeys(
        (
            *("Roberta", "Electra", "ConvBert", "Nystromformer", "MPNet", "RoFormer", "IBert"),
            *("Yoso", "Mra", "Data2VecText", "RobertaPreLayerNorm"),
        ),
        (SIZE, PROJECTED),
    ),
    "Longformer": ({**SIZE, "attention_window": 4}, PROJECTED),
    # Of texts as short as these it replaces its sparse attention by itself, in a forward pass.
    "BigBird": ({**SIZE, "attention_type": "original_full"}, PROJECTED),
    "XLNet": (
        {
            "vocab_size": WORDS,
            "d_model": 16,
            "n_layer": 2,
            "n_head": 2,
            "d_inner": 32,
            "pad_token_id": 0,
        },
        "logits_proj",
    ),
    "Funnel": (
        {
            "vocab_size": WORDS,
            "block_sizes": [1, 1],
            "d_model": 16,
            "n_head": 2,
            "d_head": 8,
            "d_inner": 32,
        },
        "classifier.linear_out",
    ),
    "SqueezeBert": ({**SIZE, "embedding_size": 16, "output_groups": 2}, "classifier"),
    "XLM": (
        {"vocab_size": WORDS, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "pad_index": 0},
        "sequence_summary.summary",
    ),
    "Bart": (TWO_PARTS, "classification_head.out_proj"),
    "T5": (T5_SIZE, "classification_head.out_proj"),
    "UMT5": (T5_SIZE, "classification_head.out_proj"),
    "GPTNeo": (
        {
            "vocab_size": WORDS,
            "hidden_size": 16,
            "num_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "num_heads": 2,
            "intermediate_size": 32,
            "window_size": 4,
            "pad_token_id": 0,
        },
        "score",
    ),
    "GPTJ": (
        {
            "vocab_size": WORDS,
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "rotary_dim": 4,
            "n_positions": 64,
            "pad_token_id": 0,
        },
        "score",
    ),
    **dict.fromkeys(
        (
            *("GPT2", "GPTNeoX", "OPT", "Bloom", "Llama", "Phi", "Phi3", "Falcon", "Mpt"),
            *("Persimmon", "Starcoder2", "GPTBigCode", "BioGpt", "OpenAIGPT", "DiffLlama"),
        ),
        (SIZE, "score"),
    ),
    **{
        name: ({**SIZE, **SHARED_KEYS}, "score")
        for name in ("Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "SmolLM3", "StableLm")
    },
    "Mixtral": ({**SIZE, **SHARED_KEYS, "num_local_experts": 4}, "score"),
    "GptOss": ({**SIZE, **SHARED_KEYS, "num_local_experts": 4}, "score"),
    "Phimoe": ({**SIZE, **SHARED_KEYS, "num_local_experts": 4}, "score"),
    "MiniMax": ({**SIZE, **SHARED_KEYS, "num_local_experts": 4, "block_size": 8}, "score"),
    "Qwen2Moe": (
        {
            **SIZE,
            **SHARED_KEYS,
            "num_experts": 4,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
        "score",
    ),
    "Qwen3Moe": (
        {
            **SIZE,
            **SHARED_KEYS,
            "num_experts": 4,
            "moe_intermediate_size": 16,
            "num_experts_per_tok": 2,
        },
        "score",
    ),
}


def _build_classifier(name: str) -> Subject:
    options, head = _CLASSIFIERS[name]
    config = getattr(transformers, f"{name}Config")(**options, num_labels=CLASSES)
    model = getattr(transformers, f"{name}ForSequenceClassification")(config)
    ids, mask = texts(LENGTH)
    inputs = [{"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)]
    return Subject(model, inputs, find_head(model, (head,)))


def next_words(outputs: Any, targets: Tensor) -> Tensor:
    """Cross-entropy of each next word, zero for padding, averaged over the text, ``(B,)``."""
    losses = F.cross_entropy(outputs.logits.transpose(1, 2), targets, reduction="none")
    return (losses * (targets != 0)).mean(1)


# By the name of the class: its configuration, options, its head and the inputs it takes.
_WRITERS: dict[str, tuple[str, Mapping[str, Any], str, tuple[str, ...]]] = {
    "GPT2LMHeadModel": ("GPT2Config", SIZE, "transformer.wte.weight", ("input_ids",)),
    "BertForMaskedLM": ("BertConfig", SIZE, "bert.embeddings.word_embeddings.weight",
                        ("input_ids", "attention_mask")),
    "LlamaForCausalLM": ("LlamaConfig", SIZE, "lm_head", ("input_ids", "attention_mask")),
    "MambaForCausalLM": ("MambaConfig", {**SIZE, "state_size": 4}, "backbone.embeddings.weight",
                         ("input_ids",)),
    "Mamba2ForCausalLM": (
        "Mamba2Config",
        {
            **SIZE,
            "num_heads": 4,
            "head_dim": 8,
            "state_size": 4,
            "n_groups": 1,
            "chunk_size": 4,
        },
        "lm_head",
        ("input_ids",),
    ),
    "T5ForConditionalGeneration": ("T5Config", T5_SIZE, "shared.weight",
                                   ("input_ids", "attention_mask", "decoder_input_ids")),
    "SwitchTransformersForConditionalGeneration": (
        "SwitchTransformersConfig",
        {
            **T5_SIZE,
            "num_experts": 4,
            "expert_capacity": 3,
            "num_sparse_encoder_layers": 1,
            "num_sparse_decoder_layers": 1,
        },
        "shared.weight",
        ("input_ids", "attention_mask", "decoder_input_ids"),
    ),
}  # fmt: skip


def build_writer(name: str) -> tuple[Subject, Tensor]:
    """Return a language model and its targets, the words of each text, ``(N, T)``."""
    config, options, head, takes = _WRITERS[name]
    model = getattr(transformers, name)(getattr(transformers, config)(**options))
    ids, mask = texts(LENGTH)
    given = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids.roll(1, 1)}
    inputs = [{key: given[key][i] for key in takes} for i in range(len(ids))]
    return Subject(model, inputs, find_head(model, (head,)), next_words), ids


def _build_writer(name: str) -> Subject:
    return build_writer(name)[0]


def _build_perceiver() -> Subject:
    config = transformers.PerceiverConfig(
        vocab_size=WORDS,
        num_latents=6,
        d_latents=16,
        d_model=16,
        num_blocks=1,
        num_self_attends_per_block=2,
        num_self_attention_heads=2,
        num_cross_attention_heads=2,
        max_position_embeddings=LENGTH,
        num_labels=CLASSES,
    )
    model = transformers.PerceiverForSequenceClassification(config)
    ids, mask = texts(LENGTH)
    inputs = [{"inputs": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)]
    return Subject(model, inputs, find_head(model, ("perceiver.decoder.decoder.final_layer",)))


def _add(names: Mapping[str, Any], build: Callable[[str], Subject], ending: str = "") -> None:
    for name in names:
        register("transformers", f"{name}{ending}", partial(build, name))


_add(_CLASSIFIERS, _build_classifier, "ForSequenceClassification")
_add(_WRITERS, _build_writer)
register("transformers", "PerceiverForSequenceClassification", _build_perceiver)
