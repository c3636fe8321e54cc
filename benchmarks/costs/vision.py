"""Image networks of transformers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers

from benchmarks.costs.subject import CLASSES, Costed, register
from benchmarks.costs.texts import Positional

# By the name of the class: the side of the images, and the options of its configuration.
_CLASSIFIERS: dict[str, tuple[int, dict[str, Any]]] = {
    "Swinv2": (256, {"window_size": 8}),
}
EXAMPLES, BATCH = 8, 4


def _show(name: str, side: int, options: dict[str, Any]) -> Costed:
    config = getattr(transformers, f"{name}Config")(image_size=side, num_labels=CLASSES, **options)
    model = getattr(transformers, f"{name}ForImageClassification")(config)
    images = torch.randn(EXAMPLES, 3, side, side)
    return Costed(Positional(model, ("pixel_values",)).eval(), (images,), BATCH)


for _name, (_side, _options) in _CLASSIFIERS.items():
    register("transformers", _name, partial(_show, _name, _side, _options))
