"""A layer of one's own with its gradient rule, and a loss of one's own."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from tracin_core import Checkpoint, Projection, TracIn, check_gradient_rule, gradient_rule


class LowRankLinear(nn.Module):
    """A linear map through a few numbers in the middle."""

    def __init__(self, inputs, rank, outputs):
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.randn(outputs, rank) / rank**0.5)

    def forward(self, values):
        return values @ self.down.T @ self.up.T


@gradient_rule(LowRankLinear, parameters=["down", "up"])
def low_rank_gradients(layer, arguments, output_gradients):
    """From inputs (B, I) and gradients at the outputs (B, O), each example's own gradients."""
    (values,) = arguments
    middle = values @ layer.down.T  # (B, R)
    middle_gradients = output_gradients @ layer.up  # (B, R)
    return {
        "down": torch.einsum("br,bi->bri", middle_gradients, values),
        "up": torch.einsum("bo,br->bor", output_gradients, middle),
    }


def focal_loss(outputs, targets):
    """One loss for each example (arXiv:1708.02002): what is known well counts less."""
    losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
    return (1 - torch.exp(-losses)) ** 2 * losses


def score():
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    train = TensorDataset(torch.randn(60, 8) + 2 * torch.eye(3, 8)[labels], labels)
    model = nn.Sequential(LowRankLinear(8, 4, 16), nn.ReLU(), nn.Linear(16, 3))
    check_gradient_rule(model[0], train.tensors[0])  # says what is wrong, if anything is
    weights = Checkpoint(model.state_dict(), learning_rate=0.1)
    tracin = TracIn(model, [weights], loss=focal_loss)
    capture = tracin.capture(train, projection=Projection(dim=64))
    print(tracin.coverage)  # 0.down: rule: LowRankLinear
    return tracin, train, capture


if __name__ == "__main__":
    score()
