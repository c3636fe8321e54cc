"""Text encoders of transformers, from a folder as it saves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from relabel.features.backbones.registry import find_backbone, load_backbone
from tracin_core.errors import ConfigurationError

WORDS = {"[PAD]": 0, "[UNK]": 1, "red": 2, "blue": 3, "green": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder for eight pieces, with its tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    unknown, padding = {"unk_token": "[UNK]"}, {"pad_token": "[PAD]"}
    cutter = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, **unknown))
    cutter.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    saved = transformers.PreTrainedTokenizerFast(tokenizer_object=cutter, **padding, **unknown)
    saved.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=5,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_the_features_are_the_mean_over_the_pieces_of_a_text(folder):
    backbone = load_backbone(find_backbone("text", f"transformers:{folder}"))
    assert (backbone.dim, backbone.size) == (8, 8)
    texts = ["red blue", "green " * 50, "blue"]
    features = backbone.compute(texts)
    network = transformers.BertModel.from_pretrained(folder).eval()
    for row, ids in zip(features, ([2, 3], [4] * 8, [3]), strict=True):
        with torch.no_grad():
            seen = network(torch.tensor([ids])).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(row, seen.numpy(), atol=1e-5)


def test_what_is_no_such_folder_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cases = {
        "transformers": "expected a folder or a model of the hub",
        "transformers:owner/none-of-this-name": "is not on this machine.*--allow-download",
        f"transformers:{tmp_path}/none": "Found no folder",
        f"transformers:{tmp_path}": "Found no weights as safetensors",
    }
    for name, message in cases.items():
        with pytest.raises(ConfigurationError, match=message):
            find_backbone("text", name)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ConfigurationError, match=r"cannot be read .*Save or fetch it again"):
        load_backbone(find_backbone("text", f"transformers:{tmp_path}"))
