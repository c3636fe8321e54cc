"""All published architectures; timm's where it is installed."""

from __future__ import annotations

import importlib.util

from benchmarks.published import sense_models, text_models, torchvision_models
from benchmarks.published.subject import ARCHITECTURES

HAS_TIMM = importlib.util.find_spec("timm") is not None
if HAS_TIMM:
    from benchmarks.published import timm_models

    MODULES = (torchvision_models, timm_models, text_models, sense_models)
else:
    MODULES = (torchvision_models, text_models, sense_models)

__all__ = ["ARCHITECTURES", "HAS_TIMM", "MODULES"]
