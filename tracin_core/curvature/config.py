"""The settings of influence functions; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from tracin_core.errors import ConfigurationError

SOLVERS = ("auto", "dense", "cg", "lissa", "arnoldi", "sketch", "ekfac")
KINDS = ("gauss_newton", "hessian")
RELATIF = ("none", "theta", "loss")


@dataclass(frozen=True, kw_only=True)
class InfluenceConfig:
    """How influence functions are computed; saved as JSON beside the scores.

    Attributes:
        solver: "dense" is exact, for up to 4,096 parameters; "cg", "lissa", "arnoldi", "sketch"
            and "ekfac" as in ``tracin_core/curvature/solvers``. "auto" takes the dense one where
            it is allowed; beyond, EK-FAC for self-scores and "cg" for influences between examples.
        layers: "last", "all", or names as in ``TracIn``.
        damping: Added to the eigenvalues of the Hessian of the **mean** loss; "auto" takes a tenth
            of their mean.
        curvature: "gauss_newton", which is never negative, or "hessian"; the same for a last
            Linear layer. EK-FAC is always the former.
        relatif: Divide each train example's influence by the step it makes, "theta", or by the
            root of its own influence, "loss" (Barshan et al. 2020, arXiv:2003.11630).
        iterations: Most steps of "cg", all steps of "arnoldi" and "sketch".
        tolerance: Relative residual at which "cg" is done.
        rank: Eigenvalues that "arnoldi" keeps.
        depth: Terms of "lissa".
        samples: Repetitions of "lissa"; labels drawn for each example by "ekfac", where 0 takes
            all classes.
        scale: Of "lissa"; None is chosen from the largest eigenvalue.
        dim: Rows of the random matrix of "sketch".
        momentum: Of "sketch".
        minibatches: Whether "sketch" takes two minibatches a step, or all examples.
        seed: Of all random choices.
    """

    solver: str = "auto"
    layers: str | tuple[str, ...] = "last"
    damping: float | Literal["auto"] = 0.01
    curvature: Literal["gauss_newton", "hessian"] = "gauss_newton"
    relatif: Literal["none", "theta", "loss"] = "none"
    iterations: int = 200
    tolerance: float = 1e-6
    rank: int = 50
    depth: int = 1000
    samples: int = 1
    scale: float | None = None
    dim: int = 256
    momentum: float = 0.9
    minibatches: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.layers, list):
            object.__setattr__(self, "layers", tuple(self.layers))
        for name, known in (("solver", SOLVERS), ("curvature", KINDS), ("relatif", RELATIF)):
            if getattr(self, name) not in known:
                raise ConfigurationError(
                    f"Found {name}={getattr(self, name)!r}; expected one of {', '.join(known)}."
                )
        is_number = isinstance(self.damping, int | float) and not isinstance(self.damping, bool)
        if self.damping != "auto" and not (is_number and 0 < float(self.damping) < float("inf")):
            raise ConfigurationError(
                f"Found damping={self.damping!r}; expected a number above 0, or 'auto'. It is "
                "added to the Hessian of the mean loss: try 0.01."
            )
        for name in ("iterations", "rank", "depth", "dim"):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"Found {name}={getattr(self, name)}; expected 1 or more. Leave it out for the "
                    "usual."
                )
        if not 0 <= self.momentum < 1 or self.samples < 0 or self.tolerance <= 0:
            raise ConfigurationError(
                f"Found momentum={self.momentum}, samples={self.samples} and tolerance="
                f"{self.tolerance}; expected 0 to below 1, 0 or more, and above 0."
            )
        if self.solver == "lissa" and self.samples < 1:
            raise ConfigurationError(
                "Found samples=0 with solver='lissa'; expected 1 or more repetitions. Leave it out."
            )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> InfluenceConfig:
        """Return the settings of a method's options, or of its whole configuration.

        Raises:
            ConfigurationError: If an option is unknown, or has a value that cannot work.
        """
        known = [entry.name for entry in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            raise ConfigurationError(
                f"Found the option {unknown[0]!r} of influence functions; expected some of "
                f"{', '.join(known)}."
            )
        try:
            return cls(**options)
        except TypeError as error:
            raise ConfigurationError(
                f"An option of influence functions is of another kind than expected: {error}."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return {
            **asdict(self),
            "layers": self.layers if isinstance(self.layers, str) else [*self.layers],
        }
