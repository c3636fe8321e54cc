"""A Lightning training that keeps the checkpoint of every epoch."""

import pandas as pd
import pytorch_lightning as L
import torch
from lightning_model import CLASSES, WineNet, to_input
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

L.seed_everything(0)
table = pd.read_csv("wine.csv")
train = table[table["split"] == "train"]
rows = torch.stack([to_input(row) for row in train.to_dict("records")])
labels = torch.tensor([CLASSES.index(name) for name in train["grower"]])

model = WineNet()
model.mean.copy_(rows.mean(0))
model.std.copy_(rows.std(0))
trainer = L.Trainer(
    max_epochs=8,
    accelerator="cpu",
    logger=False,
    callbacks=[ModelCheckpoint("runs/wine", save_top_k=-1)],
)
trainer.fit(model, DataLoader(TensorDataset(rows, labels), batch_size=16, shuffle=True))
