"""Text networks, from an embedding table to a transformer with a dict of inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import oracles
from tests.tracin_core.models_covered.comparison import assert_covered, cross_entropy, label, shake
from tracin_core import Checkpoint, TracIn

VOCABULARY, WIDTH, LENGTH = 11, 6, 5


def tokens(size: int = 5) -> Tensor:
    return torch.randint(1, VOCABULARY, (size, LENGTH))


class RecurrentClassifier(nn.Module):
    """Embedding, recurrent layer, head on the mean of its outputs."""

    def __init__(self, layer: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, WIDTH, padding_idx=0)
        self.layer = layer(WIDTH, 4, batch_first=True, **options)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * (1 + self.layer.bidirectional), 3)

    def forward(self, indices: Tensor) -> Tensor:
        return self.head(self.drop(self.layer(self.table(indices))[0].mean(1)))


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU], ids=["lstm", "gru"])
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "dropout": 0.2}, {"bidirectional": True}],
    ids=["one layer", "two layers", "both ways"],
)
def test_recurrent_classifiers_are_covered(
    layer: type[nn.RNNBase], options: dict[str, Any]
) -> None:
    # In training mode, as a script leaves it: both dropouts must be off, and on again after.
    model = shake(RecurrentClassifier(layer, **options)).train()
    coverage = assert_covered(model, label(tokens()))
    assert coverage["table.weight"].method == "rule"
    assert coverage["head.weight"].method == "rule"


class EncoderClassifier(nn.Module):
    """A TransformerEncoder with learned positions and a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.randn(LENGTH, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.2, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, indices: Tensor, padding: Tensor) -> Tensor:
        hidden = self.encoder(self.table(indices) + self.positions, src_key_padding_mask=padding)
        kept = (~padding).unsqueeze(2)
        return self.head((hidden * kept).sum(1) / kept.sum(1))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_transformer_encoder_with_a_padding_mask_is_covered(training: bool) -> None:
    model = shake(EncoderClassifier()).train(training)
    padding = torch.arange(LENGTH) >= torch.tensor([5, 3, 4, 1, 2]).unsqueeze(1)
    inputs = list(zip(tokens(), padding, strict=True))
    coverage = assert_covered(model, label(inputs))
    assert {entry.method for entry in coverage} == {"rule"}
    assert coverage["positions"].reason == "read by Add"


def test_a_decoder_that_predicts_with_its_own_table_is_covered() -> None:
    class TiedDecoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(VOCABULARY, WIDTH)
            self.mix = nn.GRU(WIDTH, WIDTH, batch_first=True)
            self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
            self.head.weight = self.table.weight

        def forward(self, indices: Tensor) -> Tensor:
            return self.head(self.mix(self.table(indices))[0][:, -1])

    model = shake(TiedDecoder())
    assert_covered(model, label(tokens(), num_classes=VOCABULARY))
    assert "head.weight" not in dict(model.named_parameters())


def transformers_inputs() -> list[dict[str, Tensor]]:
    mask = (torch.arange(LENGTH) < torch.tensor([5, 3, 4, 5]).unsqueeze(1)).long()
    return [
        {"input_ids": row, "attention_mask": kept}
        for row, kept in zip(tokens(4), mask, strict=True)
    ]


TINY = {
    "DistilBert": {"dim": 8, "hidden_dim": 16, "n_heads": 2, "n_layers": 2},
    "Bert": {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    },
    "GPT2": {"n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 8, "pad_token_id": 0},
}


def build_transformers_classifier(transformers: Any, family: str) -> nn.Module:
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY, max_position_embeddings=8, num_labels=3, **TINY[family]
    )
    return getattr(transformers, f"{family}ForSequenceClassification")(config)


@pytest.mark.parametrize("family", TINY)
def test_a_transformers_classifier_takes_a_dict_and_is_covered(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    model = build_transformers_classifier(transformers, family)
    coverage = assert_covered(shake(model).train(), label(transformers_inputs()))
    assert {entry.method for entry in coverage} == {"rule"}, str(coverage)


# The bias of a key moves all scores of a softmax alike: its gradient is zero but for rounding.
@pytest.mark.parametrize("family", TINY)
def test_a_transformers_classifier_is_covered_in_single_precision(family: str) -> None:
    transformers = pytest.importorskip("transformers")
    model = build_transformers_classifier(transformers, family)
    examples = label([{"input_ids": row} for row in tokens(4)])
    tracin = TracIn(model, [Checkpoint(model.state_dict(), 1.0)], device="cpu")
    found = tracin.self_influence(examples)
    gradients = oracles.per_example_gradients(model.double(), examples, cross_entropy)
    torch.testing.assert_close(found.double(), gradients.square().sum(1), **oracles.SINGLE)
