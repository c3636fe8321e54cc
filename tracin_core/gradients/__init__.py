"""Per-example gradients: one rule family a file, capture, coverage, projection."""

from tracin_core.gradients import convolution, embedding, linear, normalization
from tracin_core.gradients.coverage import Coverage, ParameterCoverage
from tracin_core.gradients.projection import Projection

# Importing a rule's module registers it.
RULE_MODULES = (convolution, embedding, linear, normalization)

__all__ = ["Coverage", "ParameterCoverage", "Projection", "RULE_MODULES"]
