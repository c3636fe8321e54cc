"""TracIn: what each train example did to the loss of another, or to its own.

TracInCP (Pruthi et al. 2020, arXiv:2002.08484v3, Sec. 3.2)::

    influence(z, z') = sum_i rate_i * gradient(weights_i, z) . gradient(weights_i, z')

Models whose weights cannot be exchanged one checkpoint after the other (exported, quantised,
complex) are refused at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from tracin_core.capture.batch_size import AdaptiveBatchSize
from tracin_core.capture.batching import (
    check_sameness,
    count_examples,
    count_numbers,
    describe_inputs,
    open_loader,
    read_batches,
)
from tracin_core.capture.influence import collect_influence
from tracin_core.capture.loss_check import LossCheck
from tracin_core.capture.rows import check_call
from tracin_core.capture.runner import RunContext, Runner
from tracin_core.capture.signals import (
    Capture,
    LastVectors,
    collect_capture,
    collect_self_influence,
    collect_vectors,
    hand_over_gradients,
)
from tracin_core.capture.targets import TargetCheck
from tracin_core.checkpoints import Checkpoint, read_rate
from tracin_core.checkpoints.learning_rates import Rate, Rates, check_rates
from tracin_core.coverage import describe_coverage
from tracin_core.devices import choose_device
from tracin_core.errors import ConfigurationError
from tracin_core.gradients.hooks import Objective
from tracin_core.gradients.last_layer import LastLayer
from tracin_core.gradients.plan import Coverage, Plan
from tracin_core.gradients.precision import full_precision
from tracin_core.layers import LayerSelection, find_parameters, resolve_last_layer, resolve_layers
from tracin_core.losses import Loss, choose_loss, negative_binary_score, negative_score
from tracin_core.model_kinds import open_model, refuse_complex
from tracin_core.portable import Portable
from tracin_core.progress import Progress, check_progress, show_progress
from tracin_core.projection.config import Projection
from tracin_core.queries import (
    Explain,
    InfluenceQueries,
    Normalise,
    check_normalise,
    collect_aggregate,
    divide_by_lengths,
)

Precision = Literal["float32", "bfloat16"]


class TracIn(InfluenceQueries):
    """Exact TracInCP scores and projected gradient vectors of a model and its checkpoints.

    The model is always evaluated in evaluation mode (dropout off, BatchNorm with its running
    statistics, also where the caller left it in training mode) and left as it was found:
    weights, mode of each module, ``requires_grad``, device, random state. In training mode a
    BatchNorm mixes the examples of a batch, so none has a gradient of its own; one that keeps no
    running statistics mixes them always and is refused. Parameters that do not require gradients
    are left out.

    Args:
        model: Any module; called with a tensor, a tuple (by position) or a dict (by keyword). One
            from ``torch.compile`` runs as it was written.
        checkpoints: Weights at chosen steps of the training, in any order; or one alone.
        loss: "cross_entropy", "mse", "binary_cross_entropy" (on logits), or a callable
            ``(outputs, targets) -> (B,)``, each number of which depends on its own example alone.
        layers: "all", "last" (the last map from features to outputs, with all its parameters:
            also those of a normalised or tied weight, and layers side by side; a temperature or
            a scale behind it is none), names as in ``model.named_modules()`` or
            ``model.named_parameters()``, or modules of the model.
        device: "auto" (cuda, then mps, then cpu) or a device.
        batch_size: Examples in a pass; changes speed and memory, never scores. Networks of Linear
            layers alone take as many more as hold 4 million numbers, and on a CUDA device all
            networks as many more as keep a sixteenth of its memory for their backward pass. Where
            memory runs out, passes go on with half as many, with a warning.
        rates: "recorded" learning rates, or "ones" to ignore them.
        precision: "float32" computes in the model's own number type (a float64 model in float64)
            and without TF32. "bfloat16" runs the passes under autocast, for GPUs with bfloat16
            units; norms, sums and projections stay in single precision. Scores of two small
            networks were within 1% of float64 (root mean square) and 3% (the largest error),
            relative to the product of the gradients' norms; single self-influences of confident
            predictions, with logits near 10, were 10% off. On a GPU the largest errors of six
            networks' self-influences were 0.4 to 4%.
        last_layer: What the last layer is, as names or modules; ``None`` finds it on the first
            examples. ``last_layer`` says afterwards what was taken.
        collate_fn: Makes a batch of rows, as that of a DataLoader, where examples are no
            DataLoader: the collator of a transformers Trainer pads so.
        num_workers: Processes that read rows, where examples are no DataLoader.
        progress: True for a bar (of tqdm), False for none; ``None`` shows one in a terminal or a
            notebook, if tqdm is installed, where a call takes longer than a second and was given
            no ``on_progress``.

    Raises:
        ConfigurationError: If an option cannot work.
        CheckpointError: If a learning rate is missing. Weights are read when first needed.

    Attributes:
        rates: The learning rate at each checkpoint: a number, or where parameters have different
            ones, numbers by parameter name. Scores are then
            ``sum_i sum_p rate_ip * gradient_ip(z) . gradient_ip(z')``.
    """

    def __init__(
        self,
        model: nn.Module,
        checkpoints: Sequence[Checkpoint] | Checkpoint,
        loss: Loss = "cross_entropy",
        layers: LayerSelection = "all",
        device: str | torch.device = "auto",
        batch_size: int = 256,
        *,
        rates: Literal["recorded", "ones"] = "recorded",
        precision: Precision = "float32",
        last_layer: LayerSelection | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        progress: bool | None = None,
    ) -> None:
        model = open_model(model)
        if isinstance(checkpoints, Checkpoint):
            checkpoints = (checkpoints,)
        _check_options(checkpoints, batch_size, rates, precision)
        check_progress(progress)
        self.layers = resolve_layers(model, layers)
        self.model = model
        self.checkpoints = tuple(checkpoints)
        self.batch_size = batch_size
        self.device = choose_device(device)
        self._loss = loss
        self._loss_function = choose_loss(loss)
        self.rates: list[Rate] = [
            1.0 if rates == "ones" else read_rate(checkpoint, model) for checkpoint in checkpoints
        ]
        check_rates(self.rates, [checkpoint.title for checkpoint in self.checkpoints])
        self._runner = Runner(
            model,
            self.checkpoints,
            self.device,
            targets=None if callable(loss) else TargetCheck(loss),
            loss_check=LossCheck(self._loss_function) if callable(loss) else None,
        )
        self.precision = precision
        self._rate_choice = rates
        self.collate_fn, self.num_workers, self.progress = collate_fn, num_workers, progress
        self._adaptive_batch_size = AdaptiveBatchSize()
        self._looked_at: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._last = None if last_layer is None else resolve_last_layer(model, last_layer)
        self._plans: dict[Any, Plan] = {}
        self._latest: tuple[tuple[str, ...], Plan] | None = None

    @property
    def last_layer(self) -> LastLayer | None:
        """The last layer's modules and parameters; ``None`` before it was needed and found."""
        return self._last

    @property
    def loss(self) -> Loss:
        """The loss as it was given: a name, or a callable."""
        return self._loss

    def at_checkpoint(self, index: int = -1, layers: LayerSelection | None = None) -> TracIn:
        """Return the same engine at one checkpoint alone, learning rates left out.

        Args:
            index: Which checkpoint; the last one unless told otherwise.
            layers: Other layers than this one's, as in the class.

        Raises:
            ConfigurationError: If the layers are unknown.
        """
        changes = {} if layers is None else {"layers": layers}
        return self.derive(checkpoints=self.checkpoints[index], rates="ones", **changes)

    def derive(self, **changes: Any) -> TracIn:
        """Return the same engine with other options.

        Args:
            **changes: Arguments of the class, by name.

        Raises:
            ConfigurationError: If an option cannot work.
        """
        return TracIn(**self._list_options() | changes)

    def _list_options(self) -> dict[str, Any]:
        """Return the arguments that the same engine is made of."""
        return {
            "model": self.model,
            "checkpoints": self.checkpoints,
            "loss": self._loss,
            "layers": self.layers,
            "device": self.device,
            "batch_size": self.batch_size,
            "rates": self._rate_choice,
            "precision": self.precision,
            "last_layer": None if self._last is None else self._last.parameters,
            "collate_fn": self.collate_fn,
            "num_workers": self.num_workers,
            "progress": self.progress,
        }

    def __getstate__(self) -> dict[str, Any]:
        functions = {"loss": self._loss, "collate_fn": self.collate_fn}
        return self._list_options() | {
            role: Portable(value, role) for role, value in functions.items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = {k: v.value if isinstance(v, Portable) else v for k, v in state.items()}
        self.__init__(**values)  # type: ignore[misc]

    def __repr__(self) -> str:
        numbers = [value for rate in self.rates for value in _list_rates(rate)]
        rates = (
            f"{min(numbers):.3g}"
            if len(set(numbers)) == 1
            else (f"{min(numbers):.3g} to {max(numbers):.3g}")
        )
        loss = self._loss if isinstance(self._loss, str) else _name_function(self._loss)
        plural = "" if len(self.checkpoints) == 1 else "s"
        return (
            f"TracIn({type(self.model).__name__}, {len(self.checkpoints)} checkpoint{plural}, "
            f"rates {rates}, loss {loss}, layers {self.layers!r:.80}, on {self.device})"
        )

    def name_parameters(self, examples: Any) -> tuple[str, ...]:
        """Return the chosen layers' parameters in the order of ``vectors``.

        Args:
            examples: Some examples; the last layer is found on the first of them.
        """
        with self._open_run(examples, "loss") as context:
            return context.chosen

    @property
    def coverage(self) -> Coverage:
        """How each parameter is treated; ``confirmed`` once examples have been seen."""
        return describe_coverage(self.model, self.layers, self._latest, self._runner.training_only)

    def examine(self, examples: Any) -> Coverage:
        """Check on the first examples how each parameter is treated, without scoring any."""
        with self._open_run(examples, "loss"):
            return self.coverage

    def self_influence(self, examples: Any, *, on_progress: Progress | None = None) -> Tensor:
        """Return the influence of each example on its own loss.

        Args:
            examples: N examples ``(input, target)``.
            on_progress: Called with (examples done, all), each counted once per checkpoint.

        Returns:
            ``sum_i rate_i |gradient_i|^2``, exact, shape ``(N,)``, never negative.

        Raises:
            GradientError: If a gradient is not finite, or cannot be computed.
        """
        with self._open_run(examples, "loss", on_progress) as context:
            return collect_self_influence(context, Rates(self.rates))

    def influence(
        self,
        train: Any,
        test: Any,
        *,
        explain: Explain = "loss",
        aggregate: bool = False,
        test_loss: Loss | None = None,
        normalise: Normalise | None = None,
        on_progress: Progress | None = None,
    ) -> Tensor:
        """Return the influence of every train example on every test example.

        The train examples pass by once at every checkpoint while the test examples' gradients are
        held, in at most 1 GiB (an eighth of a GPU's memory): whole, or in factors where those are
        shorter. What does not fit is taken in parts: first some of the checkpoints at a time,
        which takes no longer, then blocks of test examples, for each of which all train examples
        pass by. The scores take 12 bytes for each pair of examples while they are added up.

        Args:
            train: N examples with targets.
            test: M examples; targets are not read for ``explain="score"``.
            explain: The test example's "loss", or the "score" of its predicted class.
            aggregate: Return the influence on the sum of all test losses, shape ``(N,)``, from
                one pass over each set.
            test_loss: Another loss for the test examples, by name or a callable.
            normalise: "cosine" divides by the lengths of both gradients, "relatif" by that of the
                train example's alone (Barshan et al. 2020), which an outlier then has not for
                every test example. The length is the root of self-influence.
            on_progress: As in ``self_influence``, over the train examples.

        Returns:
            Scores, shape ``(N, M)``, exact: of a float32 model to a millionth of the product of
            the two gradients' norms. Positive: a proponent, which lowers the loss (or raises the
            score). Negative: an opponent.

        Raises:
            GradientError: If a gradient is not finite, or cannot be computed.
        """
        check_normalise(normalise)
        asked = self if test_loss is None else self.derive(loss=test_loss, progress=False)
        with (
            self._open_run(train, "loss", on_progress) as train_context,
            asked._open_run(test, explain) as test_context,
        ):
            if aggregate:
                scores, own = collect_aggregate(train_context, test_context, Rates(self.rates))
            else:
                scores = collect_influence(train_context, test_context, Rates(self.rates))
        if normalise is None:
            return scores
        lengths: Tensor | None = None
        if normalise == "cosine" and aggregate:
            lengths = torch.tensor(own, dtype=torch.float64)
        elif normalise == "cosine":
            lengths = asked.capture(test, explain=explain).self_influence()
        return divide_by_lengths(scores, self.self_influence(train), lengths)

    def vectors(
        self,
        examples: Any,
        projection: Projection | None = None,
        *,
        explain: Explain = "loss",
        on_progress: Progress | None = None,
    ) -> Tensor:
        """Return vectors whose dot products are influences.

        Args:
            examples: N examples.
            projection: How gradients are projected; ``None`` returns them exact and whole, the
                blocks ``sqrt(rate_i) * gradient_i`` of all checkpoints end to end.
            explain: "loss", or "score" for examples whose prediction is to be explained; only
                their dot products with loss vectors of train examples are influences.
            on_progress: As in ``self_influence``.

        Returns:
            Shape ``(N, D)``, where D is ``projection.dim``, or checkpoints times parameters.

        Raises:
            GradientError: If a gradient is not finite, or cannot be computed.
        """
        with self._open_run(examples, explain, on_progress) as context:
            return collect_vectors(context, Rates(self.rates), projection)

    def stream_gradients(
        self,
        examples: Any,
        handle: Callable[[int, Tensor], None],
        *,
        explain: Explain = "loss",
        on_progress: Progress | None = None,
    ) -> None:
        """Hand over exact gradients batch by batch, so that memory does not grow with N.

        Args:
            examples: N examples.
            handle: Called with the position of a batch's first example and its gradients at the
                only checkpoint, shape ``(B, P)``, learning rates left out. A batch may come again
                where memory ran out, and is then to replace what came of it before.
            explain: As in ``vectors``.
            on_progress: As in ``self_influence``.

        Raises:
            ConfigurationError: If there are several checkpoints; see ``at_checkpoint``.
            GradientError: If a gradient is not finite, or cannot be computed.
        """
        if len(self.checkpoints) > 1:
            raise ConfigurationError(
                f"Found {len(self.checkpoints)} checkpoints; expected one, whose gradients are "
                "handed over. Take at_checkpoint() first."
            )
        with self._open_run(examples, explain, on_progress) as context:
            hand_over_gradients(context, handle)

    def capture(
        self,
        examples: Any,
        *,
        projection: Projection | None = None,
        last_layer_vectors: LastVectors = False,
        explain: Explain = "loss",
        on_progress: Progress | None = None,
        first_position: int = 0,
    ) -> Capture:
        """Return every signal of every example from one pass per batch and checkpoint.

        Args:
            examples: N examples; targets may be ``None`` with ``explain="score"``.
            projection: Also project the gradients of the chosen layers.
            last_layer_vectors: Also return the last layer's vectors: exact where they have at
                most 8,192 numbers over all checkpoints, else projected like the others. "exact"
                or a projection say how, whatever their length.
            explain: What is differentiated, for norms as for vectors.
            on_progress: As in ``self_influence``.
            first_position: Position of the first example in the whole set, where ``examples`` is
                a part of one; messages name an example by its position in the whole.

        Returns:
            The signals; see ``Capture``.

        Raises:
            GradientError: If a gradient is not finite, or cannot be computed.
        """
        with self._open_run(examples, explain, on_progress, True, first_position) as context:
            rates = Rates(self.rates)
            return collect_capture(context, rates, projection, last_layer_vectors, self._loss)

    @contextmanager
    def _open_run(
        self,
        examples: Any,
        explain: Explain,
        on_progress: Progress | None = None,
        with_last: bool = False,
        offset: int = 0,
    ) -> Iterator[RunContext]:
        """Prepare the model and the plan for one run over ``examples``."""
        given, examples = examples, self.open_examples(examples)
        total = count_examples(examples)
        objective = self._choose_objective(explain)
        first = None
        if total:
            self._check_examples_once(given, examples, offset)
            with torch.random.fork_rng(devices=[]):  # a loader draws a seed for its workers
                first = next(read_batches(examples, min(3, self.batch_size), offset), None)
        if first is not None:
            check_call(self.model, first.inputs, first.parts)
        with (
            self._runner.prepared(),
            full_precision(self.device),
            show_progress(self.progress, on_progress) as tell,
        ):
            if first is not None and self._last is None and (with_last or self.layers == "last"):
                own = objective if callable(self._loss) and explain == "loss" else None
                self._last = self._runner.find_last_layer(first, own)
            last = () if self._last is None else self._last.parameters
            chosen = last if self.layers == "last" else find_parameters(self.model, self.layers)
            names = tuple(dict.fromkeys((*chosen, *last))) if with_last else chosen
            refuse_complex(self.model, names)
            plan = Plan(())
            if first is not None:
                key = (names, explain, describe_inputs(first))
                if explain == "loss":
                    self._runner.check(first, needs_targets=True)
                if key not in self._plans:
                    self._plans[key] = self._runner.plan(first, names, objective)
                plan = self._plans[key]
                self._latest = (chosen, plan)
            yield RunContext(
                self._runner,
                examples,
                total,
                self.batch_size,
                plan,
                names,
                chosen,
                last,
                objective,
                self._loss_function,
                tell,
                self._adaptive_batch_size,
                count_numbers(first),
                offset,
                self.precision == "bfloat16",
                explain == "loss" or with_last,
            )

    def open_examples(self, examples: Any) -> Any:
        """Return examples as they are read: with ``collate_fn`` or workers by a DataLoader."""
        return open_loader(examples, self.batch_size, self.collate_fn, self.num_workers)

    def _check_examples_once(self, given: Any, examples: Any, offset: int) -> None:
        """Check that examples stay the same, at the first call with this data set."""
        if self._looked_at.get(id(given)) is given:
            return
        check_sameness(examples, offset)
        with suppress(TypeError):  # a list cannot be remembered, and is read in no time
            self._looked_at[id(given)] = given

    def _choose_objective(self, explain: Explain) -> Objective:
        if explain == "loss":
            return self._loss_function
        if explain == "score":
            binary = self._loss == "binary_cross_entropy"
            return negative_binary_score if binary else negative_score
        raise ConfigurationError(
            f"Found explain={explain!r}; expected 'loss' or 'score'. Use 'score' for examples "
            "without a label."
        )


def _list_rates(rate: Rate) -> list[float]:
    return [rate] if isinstance(rate, int | float) else [*rate.values()]


def _name_function(loss: Any) -> str:
    return getattr(loss, "__name__", type(loss).__name__)


def _check_options(
    checkpoints: Sequence[Checkpoint], batch_size: int, rates: str, precision: str
) -> None:
    if not checkpoints or not all(isinstance(item, Checkpoint) for item in checkpoints):
        raise ConfigurationError(
            f"Found checkpoints={checkpoints!r:.80}; expected at least one Checkpoint(weights=..., "
            "learning_rate=...). Put the model's own weights in one: "
            "Checkpoint(model.state_dict(), learning_rate=1.0)."
        )
    if batch_size < 1:
        raise ConfigurationError(
            f"Found batch_size={batch_size}; expected at least 1. Use the default, 256."
        )
    if rates not in ("recorded", "ones"):
        raise ConfigurationError(
            f"Found rates={rates!r}; expected 'recorded' or 'ones'. Use 'ones' to ignore the "
            "learning rates."
        )
    if precision not in ("float32", "bfloat16"):
        raise ConfigurationError(
            f"Found precision={precision!r}; expected 'float32' or 'bfloat16'. Use 'float32', "
            "which computes in the model's own number type."
        )
