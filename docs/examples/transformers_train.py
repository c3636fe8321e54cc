"""A Trainer that saves a checkpoint after every epoch. Nothing is downloaded."""

import pandas as pd
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

set_seed(0)
table = pd.read_csv("messages.csv")
train = table[table["split"] == "train"]
names = sorted(train["team"].unique())

words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
special = ["[PAD]", "[UNK]"]
words.train_from_iterator(train["message"], trainers.WordLevelTrainer(special_tokens=special))
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
)
network = BertForSequenceClassification(
    BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.1,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
)
examples = [
    {**tokenizer(message, truncation=True, max_length=32), "labels": names.index(team)}
    for message, team in zip(train["message"], train["team"])
]
trainer = Trainer(
    model=network,
    args=TrainingArguments(
        output_dir="runs/messages",
        num_train_epochs=8,
        per_device_train_batch_size=32,
        learning_rate=5e-3,
        save_strategy="epoch",
        logging_strategy="epoch",
        report_to="none",
        use_cpu=True,
    ),
    train_dataset=examples,
    processing_class=tokenizer,  # saved with each checkpoint, and pads the batches
)
trainer.train()
