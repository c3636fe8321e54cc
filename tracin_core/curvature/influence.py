"""Influence functions at the last checkpoint: estimated effect of leaving an example out.

Koh and Liang 2017 (arXiv:1703.04730), eq. (2), with the sign of TracIn; the TracIn paper's
(arXiv:2002.08484v3) appendix A.1, eq. (2)::

    influence(z, z') = gradient(z') . (H + damping I)^-1 gradient(z) / N

H is the Hessian of the mean loss over the N train examples. It is the first-order estimate of the
rise of the loss of z' when z is left out and the model trained again, in loss units; positive for
proponents. It assumes that the checkpoint is a minimum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracin_core.capture.batching import count_examples
from tracin_core.curvature.config import InfluenceConfig
from tracin_core.curvature.features import collect_features
from tracin_core.curvature.head import NAMED, HeadCurvature
from tracin_core.curvature.inverse import FactorisedInverse, Inverse
from tracin_core.curvature.operator import Curvature, NetworkCurvature
from tracin_core.curvature.solvers.arnoldi import ArnoldiInverse
from tracin_core.curvature.solvers.conjugate_gradients import ConjugateGradients
from tracin_core.curvature.solvers.dense import MAX_DENSE, DenseInverse
from tracin_core.curvature.solvers.ekfac import EkfacInverse
from tracin_core.curvature.solvers.lissa import Lissa
from tracin_core.curvature.solvers.sketch import SketchedInverse
from tracin_core.errors import ConfigurationError
from tracin_core.projection.config import Projection
from tracin_core.projection.rows import project_rows
from tracin_core.tracin import TracIn

# Test examples' gradients and solutions are held at once.
MAX_TEST_BYTES = 4 * 1024**3


class InfluenceFunctions:
    """Influence functions of one train set.

    Args:
        tracin: The engine; its last checkpoint and its loss are taken.
        config: The settings.

    Attributes:
        report: After ``fit``: the solver taken, parameters, examples, the damping in numbers, and
            what the solver says of itself, such as its residual; "between examples" is what
            ``influence`` took where it is another.
    """

    def __init__(self, tracin: TracIn, config: InfluenceConfig) -> None:
        self._config = config
        self._tracin = tracin.at_checkpoint(layers=config.layers)
        self._inverse: Inverse | None = None
        # What "auto" asks for influences between examples; made when they are first asked for.
        self._between: Inverse | None = None
        self._train: Any = None
        self._num_train = 0
        self._names: tuple[str, ...] = ()
        self._settled: dict[str, Any] = {}
        # What curvatures are computed in, where the device has it.
        self._dtype = torch.float32 if tracin.device.type == "mps" else torch.float64

    @property
    def report(self) -> dict[str, Any]:
        """How the last ``fit`` went; empty before."""
        if self._inverse is None:
            return {}
        between = {} if self._between is None else {"between examples": self._between.report}
        return self._settled | self._inverse.report | between

    @property
    def inverse(self) -> Inverse:
        """What stands for ``(H + damping I)^-1``.

        Raises:
            ConfigurationError: If there is none yet.
        """
        if self._inverse is None:
            raise ConfigurationError(
                "Influence functions know no train set yet; expected one to take the Hessian "
                "from. Call fit(train) first."
            )
        return self._inverse

    def fit(self, train: Any) -> None:
        """Compute what the solver needs of the whole train set.

        Args:
            train: N examples.

        Raises:
            ConfigurationError: If the solver cannot take the layers or the loss.
            GradientError: If a gradient is not finite.
        """
        train = self._tracin.open_examples(train)
        self._num_train = count_examples(train)
        if not self._num_train:
            raise ConfigurationError("Found no train example; expected at least one.")
        self._names = self._tracin.name_parameters(train)
        trainable = dict(self._tracin.model.named_parameters())
        size = sum(trainable[name].numel() for name in self._names)
        solver = self._config.solver
        if solver == "auto":
            can_factor = self._tracin.loss in NAMED
            solver = "dense" if size <= MAX_DENSE else "ekfac" if can_factor else "cg"
        self._settled = {"solver": solver, "parameters": size, "examples": self._num_train}
        self._between, self._train = None, train
        if solver == "ekfac":
            self._inverse = self._make_ekfac(train)
        else:
            self._inverse = self._make_inverse(solver, self._make_curvature(train))

    def self_scores(self, examples: Any) -> Tensor:
        """Return each example's influence on its own loss, shape ``(N,)``, loss units, high if odd.

        Args:
            examples: Train examples, of those that were fitted on or a part of them.
        """
        inverse, found = self.inverse, torch.zeros(count_examples(examples), dtype=torch.float64)

        def add(first: int, gradients: Tensor) -> None:
            columns = gradients.t().to(self._dtype)
            values = inverse.pair_with_itself(columns) / self._num_train
            found[first : first + len(gradients)] = (values / self._norms(columns)).cpu()

        self._tracin.stream_gradients(examples, add)
        return found

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return the influence of N train on M test examples, shape ``(N, M)``, in loss units.

        Args:
            train: Train examples, of those that were fitted on.
            test: Test examples with targets.

        Raises:
            ConfigurationError: If the test examples' gradients take more than 4 GiB.
        """
        inverse, total = self._choose_between(), count_examples(test)
        size = self._settled["parameters"]
        if total * size * 8 > MAX_TEST_BYTES:
            raise ConfigurationError(
                f"Found {total:,} test examples with {size:,} parameters each; expected at most "
                f"{MAX_TEST_BYTES // (8 * size):,}, whose gradients fit {MAX_TEST_BYTES >> 30} "
                "GiB. Pass fewer at a time, or choose layers='last'."
            )
        right = self._tracin.vectors(test).t().to(self._tracin.device, self._dtype)
        factorised = inverse if isinstance(inverse, FactorisedInverse) else None
        prepared = inverse.apply(right) if factorised is None else factorised.root(right)
        result = torch.zeros(count_examples(train), total, dtype=torch.float64)

        def add(first: int, gradients: Tensor) -> None:
            columns = gradients.t().to(prepared.dtype)
            left = columns if factorised is None else factorised.root(columns)
            rows = left.t() @ prepared / self._num_train
            result[first : first + len(gradients)] = (rows / self._norms(columns)[:, None]).cpu()

        self._tracin.stream_gradients(train, add)
        return result

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return vectors whose dot products are influences, shape ``(N, D)``.

        Args:
            examples: N examples with targets.
            projection: To so many numbers; None for all.

        Raises:
            ConfigurationError: If the solver has no root, or RelatIF divides train examples alone.
        """
        inverse = self.inverse
        if not isinstance(inverse, FactorisedInverse) or self._config.relatif != "none":
            raise ConfigurationError(
                f"Influence functions with solver={self._settled['solver']!r} and relatif="
                f"{self._config.relatif!r} have no vectors; expected 'dense', 'arnoldi' or "
                "'ekfac', and 'none'. Ask for influence(train, test) instead."
            )
        parts: dict[int, Tensor] = {}

        def add(first: int, gradients: Tensor) -> None:
            rows = inverse.root(gradients.t().to(self._dtype)).t() / self._num_train**0.5
            parts[first] = (rows if projection is None else project_rows(rows, projection)).cpu()

        self._tracin.stream_gradients(examples, add)
        return torch.cat([parts[first] for first in sorted(parts)]) if parts else torch.zeros(0, 0)

    def _choose_between(self) -> Inverse:
        """Return what solves for influences between two examples.

        EK-FAC keeps self-scores well and influences between examples badly (docs/methods.md).
        Conjugate gradients afford the systems of some test examples, but not those of every train
        example, which self-scores and RelatIF's divisors need.
        """
        inverse, config = self.inverse, self._config
        is_asked = config.solver == "auto" and config.relatif == "none"
        if not is_asked or not isinstance(inverse, EkfacInverse):
            return inverse
        if self._between is None:
            self._between = ConjugateGradients(
                self._make_curvature(self._train),
                inverse.damping,
                iterations=config.iterations,
                tolerance=config.tolerance,
            )
            self._between.report["solver"] = "cg"
        return self._between

    def _norms(self, columns: Tensor) -> Tensor:
        """Return what RelatIF divides each train example's influence by, shape ``(N,)``."""
        inverse, kind = self.inverse, self._config.relatif
        if kind == "theta":
            norms = inverse.apply(columns).norm(dim=0) / self._num_train
        elif kind == "loss":
            norms = (inverse.pair_with_itself(columns).clamp_min(0) / self._num_train).sqrt()
        else:
            return columns.new_ones(columns.shape[1])
        # An example without a gradient makes no step, and has no influence either.
        return torch.where(norms > 0, norms, torch.ones_like(norms))

    def _make_curvature(self, train: Any) -> Curvature:
        tracin = self._tracin
        if self._config.layers == "last" and tracin.loss in NAMED:
            features = collect_features(tracin, train)
            if features.is_head and features.parameters == self._names:
                return HeadCurvature(
                    features, str(tracin.loss), tracin.device, tracin.batch_size, self._config.seed
                )
        return NetworkCurvature(tracin, self._names, train, self._config.curvature)

    def _make_inverse(self, solver: str, curvature: Curvature) -> Inverse:
        config, damping = self._config, self._config.damping
        if damping == "auto":
            damping = _take_tenth(curvature.estimate_mean_eigenvalue(seed=config.seed))
        self._settled["damping"] = damping
        steps, seed = config.iterations, config.seed
        if solver == "dense":
            return DenseInverse(curvature, damping)
        if solver == "cg":
            return ConjugateGradients(
                curvature, damping, iterations=steps, tolerance=config.tolerance
            )
        if solver == "lissa":
            return Lissa(
                curvature,
                damping,
                depth=config.depth,
                samples=config.samples,
                scale=config.scale,
                seed=seed,
            )
        if solver == "arnoldi":
            return ArnoldiInverse(curvature, damping, rank=config.rank, iterations=steps, seed=seed)
        return SketchedInverse(
            curvature,
            damping,
            dim=config.dim,
            steps=steps,
            momentum=config.momentum,
            whole=not config.minibatches,
            seed=seed,
        )

    def _make_ekfac(self, train: Any) -> EkfacInverse:
        config = self._config
        fixed = 1.0 if config.damping == "auto" else config.damping
        inverse = EkfacInverse(
            self._tracin, self._names, train, fixed, samples=config.samples, seed=config.seed
        )
        if config.damping == "auto":
            inverse.damping = _take_tenth(inverse.mean_eigenvalue)
        self._settled["damping"] = inverse.damping
        return inverse


def _take_tenth(mean_eigenvalue: float) -> float:
    """Return a tenth of the mean eigenvalue, as Grosse et al. 2023 (Sec. 3.1) choose it."""
    if not mean_eigenvalue > 0:
        raise ConfigurationError(
            f"The mean eigenvalue of the curvature is {mean_eigenvalue:.3g}; expected more than 0 "
            "for damping='auto'. Pass a damping as a number."
        )
    return 0.1 * mean_eigenvalue
