"""Per-example gradients: one rule family a file, capture, coverage, projection."""

from importlib import import_module
from pkgutil import iter_modules

from tracin_core.gradients.coverage import Coverage, ParameterCoverage
from tracin_core.gradients.projection import Projection

# Importing a rule's module registers it, so a new rule is a new file here and nothing else.
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Coverage", "ParameterCoverage", "Projection"]
