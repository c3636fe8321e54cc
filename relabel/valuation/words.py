"""What a run's values mean: their unit, how exact they are, and what they say nothing of."""

from __future__ import annotations

from typing import Literal

from relabel.runs.config import RunConfig
from relabel.text import Layers, counted

Explained = Literal["loss", "score"]
EXPLAINED: tuple[Explained, ...] = ("loss", "score")


def describe_unit(config: RunConfig, explained: Explained = "loss") -> str:
    """Return the unit of a run's influences, for the head of a table or an axis."""
    regression = config.task == "regression"
    if explained == "score":
        unit = "standard deviations of the target" if regression else "logits"
    else:
        unit = "squared standard deviations" if regression else "nats"
    return unit if config.rates == "recorded" else f"{unit} at a learning rate of 1"


def name_explained(config: RunConfig, explained: Explained = "loss") -> str:
    """Return what the influences are on, as a sentence begins with it."""
    if explained == "loss":
        return "Loss"
    return "Predicted number" if config.task == "regression" else "Score of the predicted class"


def describe_exactness(config: RunConfig, layers: Layers) -> str:
    """Return in a sentence or two which gradients the values are of, and how exact they are."""
    whose = "all layers" if layers == "all" else "the last layer alone"
    checkpoints = counted(len(config.checkpoints), "checkpoint")
    projection = config.projection.get(layers)
    said = f"Influences are of the gradients of {whose}, summed over {checkpoints}"
    if projection is None:
        return f"{said}; the stored gradients are whole, so the sums are exact."
    # The standard deviation of a random projection's dot product is at most so much of the
    # product of the norms (tracin_core/projection/sketch.py has the derivation).
    error = 100 * (2 / projection.dim) ** 0.5
    return (
        f"{said}. The stored gradients are random projections to {projection.dim:,} numbers: a sum "
        f"is off by about {error:.0f}% of the product of the two norms, that of the example's "
        "gradient and that of the group's summed gradient."
    )
