"""A training loop that saves a checkpoint after every epoch."""

from pathlib import Path

import torch
from pytorch_model import Net, to_input
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

torch.manual_seed(0)
loader = DataLoader(ImageFolder("digits/train", to_input), batch_size=32, shuffle=True)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
Path("runs/digits").mkdir(parents=True, exist_ok=True)

for epoch in range(1, 7):
    for images, labels in loader:
        optimizer.zero_grad()
        cross_entropy(net(images), labels).backward()
        optimizer.step()
    checkpoint = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    torch.save(checkpoint, f"runs/digits/epoch-{epoch:03d}.pt")
