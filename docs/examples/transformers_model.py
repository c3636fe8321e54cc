"""The network and the tokenizer, as the Trainer saved their configurations."""

from pathlib import Path

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from tracin_core import OwnModel

RUN = Path(__file__).parent / "runs" / "messages"


def build():
    saved = next(RUN.glob("checkpoint-*"))
    tokenizer = AutoTokenizer.from_pretrained(saved)
    # From the configuration alone: the weights come from each checkpoint.
    network = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(saved))
    return OwnModel(network, transform=lambda text: tokenizer(text, truncation=True, max_length=32))
