"""The network, and the way from a picture to its input."""

from torch import nn
from torchvision import transforms

from tracin_core import OwnModel

CLASSES = [str(digit) for digit in range(10)]
# Without anything random: what only the training does, such as flips, stays in the training.
to_input = transforms.Compose(
    [transforms.Grayscale(), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.head = nn.Linear(16 * 4 * 4, len(CLASSES))

    def forward(self, images):
        return self.head(self.features(images))


def build():
    return OwnModel(Net(), transform=to_input, classes=CLASSES)
