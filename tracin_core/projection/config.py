"""``Projection``: the settings of a random projection from P to D numbers."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import torch

from tracin_core.errors import ConfigurationError

_FORMS = ("sketch", "dense", "factored")


@dataclass(frozen=True)
class Projection:
    """How gradients are projected; equal settings give the same map for train and test.

    Attributes:
        dim: Numbers D in a projected vector.
        seed: Seed of all random choices.
        kind: The random numbers: "rademacher", plus or minus one, or "gaussian".
        form: "sketch", which is fast for layers of every size; "dense", one matrix ``(P, D)``
            for small layers; or "factored", two matrices as in the paper, with an error several
            times as large. A sketch of Gaussian numbers is not offered: on gradients that a few
            classes dominate their squares add variance, an error of 22% where signs have 6%
            (D = 512, a small CNN).
    """

    dim: int = 512
    seed: int = 0
    kind: Literal["rademacher", "gaussian"] = "rademacher"
    form: Literal["sketch", "dense", "factored"] = "sketch"

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigurationError(
                f"Found a projection to {self.dim} numbers; expected at least 1. "
                "Use Projection(dim=512), which keeps errors near 6%."
            )
        if self.kind not in ("rademacher", "gaussian") or self.form not in _FORMS:
            raise ConfigurationError(
                f"Found projection kind {self.kind!r} and form {self.form!r}; expected "
                f"'rademacher' or 'gaussian', and one of {', '.join(_FORMS)}. Leave both out."
            )
        if self.kind == "gaussian" and self.form == "sketch":
            raise ConfigurationError(
                "Found a sketch of Gaussian numbers; expected signs, which estimate far better "
                "there. Leave the kind out, or pass form='dense' or form='factored' with it."
            )

    @classmethod
    def for_error(
        cls,
        error: float,
        *,
        seed: int = 0,
        kind: Literal["rademacher", "gaussian"] = "rademacher",
        form: Literal["sketch", "dense", "factored"] = "sketch",
    ) -> Projection:
        """Return the smallest projection whose ``expected_error`` is at most ``error``.

        Of factored ones the smallest whose two factors have the same size.

        Args:
            error: Standard error of an estimated dot product, relative to the product of the two
                gradients' norms (not to the dot product, which may be near zero): between 0 and 1.
            seed: As in the class.
            kind: As in the class.
            form: As in the class.

        Raises:
            ConfigurationError: If the error is not between 0 and 1.
        """
        if not 0 < error < 1:
            raise ConfigurationError(
                f"Found a projection error of {error}; expected a share of the product of the "
                "norms, above 0 and below 1. Use 0.06, which takes about 560 numbers."
            )
        if form == "factored":
            rows = math.ceil(2 / (math.sqrt(1 + error**2) - 1))
            return cls(rows**2, seed, kind, form)
        return cls(math.ceil(2 / error**2), seed, kind, form)

    @property
    def expected_error(self) -> float:
        """Standard error of an estimated dot product, relative to the product of the norms.

        That of a gradient with itself; of two that are nearly orthogonal it is smaller by
        ``sqrt(2)``. Factored: of gradients of rank one, such as a linear layer's.
        """
        if self.form != "factored":
            return float((2 / self.dim) ** 0.5)
        first, second = self.factor_sizes
        return float(((1 + 2 / first) * (1 + 2 / second) - 1) ** 0.5)

    @property
    def factor_sizes(self) -> tuple[int, int]:
        """The two sizes, as equal as possible, whose product is D."""
        first = next(n for n in range(math.isqrt(self.dim), 0, -1) if self.dim % n == 0)
        return first, self.dim // first


def make_generator(name: str, projection: Projection, checkpoint: int) -> torch.Generator:
    """Return the source of a parameter's random numbers, of its own at every checkpoint."""
    key = f"{projection.seed}/{checkpoint}/{name}".encode()
    # A digest, not hash(): the seed must be the same in every process and on every machine.
    seed = int.from_bytes(hashlib.blake2b(key, digest_size=7).digest())
    return torch.Generator().manual_seed(seed)
