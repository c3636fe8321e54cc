"""What is inspected: stable keys, splits, readers for each source, demos.

Nothing here imports torch before a tensor is asked for, so the pages can use it freely.
"""

from tracin_core.examples.demos import DEMO_NAMES, load_demo
from tracin_core.examples.encoding import encoder_from_json, fit_encoder
from tracin_core.examples.image_encoder import ImageEncoder
from tracin_core.examples.label_noise import flip_labels
from tracin_core.examples.records import DemoData, DemoExample, content_key
from tracin_core.examples.text_encoder import TextEncoder

__all__ = [
    "DEMO_NAMES",
    "DemoData",
    "DemoExample",
    "ImageEncoder",
    "TextEncoder",
    "content_key",
    "encoder_from_json",
    "fit_encoder",
    "flip_labels",
    "load_demo",
]
