"""Time self-influence beside a training pass and captum, and hold both against autograd."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.costs.everything import NETWORKS
from benchmarks.costs.subject import Costed
from benchmarks.networks import LEARNING_RATE
from benchmarks.peers import make_captum
from benchmarks.published.measure import read_coverage
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import TracInError

ROUNDS = 3
# What a measurement lasts at least.
LEAST_SECONDS = 0.3
# Examples that autograd differentiates one by one, and that captum is timed on: it is slow.
CHECKED = 4


@dataclass(frozen=True)
class Cost:
    """What one network costs; times are ratios to forward + backward over the same examples.

    Attributes:
        name: Its name.
        source: The library it is from.
        parameters: Trainable numbers.
        examples: How many, and ``batch`` of them at a time.
        batch: See ``examples``.
        rules: Share of the parameters by rules.
        fallback: How the rest was computed.
        first: The first call, with everything that is looked at once.
        later: Every other call.
        captum: captum's TracInCP in its default mode at the faster of two batch sizes; NaN
            where it is not installed or fails.
        error: Largest relative error of ours against autograd in float64.
        captum_error: The same of captum.
        detail: What failed.
    """

    name: str
    source: str
    parameters: int = 0
    examples: int = 0
    batch: int = 0
    rules: float = math.nan
    fallback: str = ""
    first: float = math.nan
    later: float = math.nan
    captum: float = math.nan
    error: float = math.nan
    captum_error: float = math.nan
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def measure_cost(name: str, peers: bool = True) -> Cost:
    """Build a network and measure; seeds itself. Processor time, so ask for one thread."""
    source, build = NETWORKS[name]
    torch.manual_seed(0)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        subject = build()
        size = sum(value.numel() for value in subject.model.parameters() if value.requires_grad)
        known = Cost(name, source, size, len(subject.labels), subject.batch)
        try:
            found = compare(subject, peers)
        except TracInError as error:
            found = {"detail": f"refused: {error}"}
    return Cost(**known.as_dict() | found)


def compare(subject: Costed, peers: bool) -> dict[str, Any]:
    """Return the fields of a cost that are measured."""
    examples = TensorDataset(*subject.inputs, subject.labels)
    weights = copy.deepcopy(subject.model.state_dict())
    checkpoint = Checkpoint(weights, learning_rate=LEARNING_RATE)
    rows = [(_join(inputs), label) for *inputs, label in examples]
    replica = copy.deepcopy(subject.model)
    for _ in range(2):
        train(replica, subject)
    floor = _clock(lambda: train(replica, subject))
    tracin = TracIn(subject.model, [checkpoint], batch_size=subject.batch)
    scores: list[Tensor] = []
    first = _clock(lambda: scores.append(tracin.self_influence(rows)))
    runs = {
        "floor": lambda: train(replica, subject),
        "later": lambda: tracin.self_influence(rows),
    }
    seconds = _time_in_turns(runs)
    exact = differentiate(subject)
    found = {
        "first": first / min(floor, seconds["floor"]),
        "later": seconds["later"] / seconds["floor"],
        "error": _largest_error(scores[0][:CHECKED], exact),
        **read_coverage(tracin),
    }
    if peers and importlib.util.find_spec("captum"):
        found |= ask_captum(replica, checkpoint, examples, exact, seconds["floor"])
    return found


def train(model: nn.Module, subject: Costed) -> None:
    """Go forward and backward over all examples, as a training does."""
    for start in range(0, len(subject.labels), subject.batch):
        part = slice(start, start + subject.batch)
        model.zero_grad()
        outputs = model(*(tensor[part] for tensor in subject.inputs))
        F.cross_entropy(outputs, subject.labels[part]).backward()


def ask_captum(
    model: nn.Module,
    checkpoint: Checkpoint,
    examples: TensorDataset,
    exact: Tensor,
    floor: float,
) -> dict[str, Any]:
    """Return captum's time for an example in the time of a training pass, and its error."""
    part = TensorDataset(*(tensor[:CHECKED] for tensor in examples.tensors))
    share = CHECKED / len(examples) * floor
    best: dict[str, Any] = {}
    for batch in (1, CHECKED):
        scores: list[Tensor] = []
        run = make_captum(model, [checkpoint], batch, wise=False)
        try:
            ratio = _clock(lambda run=run, scores=scores: scores.append(run(part))) / share
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            return {"detail": f"captum: {type(error).__name__}"}
        if not best or ratio < best["captum"]:
            best = {"captum": ratio, "captum_error": _largest_error(scores[0], exact)}
    return best


def differentiate(subject: Costed) -> Tensor:
    """Return self-influence of the first examples by autograd, in float64 where it runs."""
    for dtype in (torch.float64, torch.float32):
        model = copy.deepcopy(subject.model).to(dtype)
        values = [value for value in model.parameters() if value.requires_grad]
        own = []
        try:
            for index in range(CHECKED):
                inputs = [tensor[index : index + 1] for tensor in subject.inputs]
                inputs = [one.to(dtype) if one.is_floating_point() else one for one in inputs]
                loss = F.cross_entropy(model(*inputs), subject.labels[index : index + 1])
                found = torch.autograd.grad(loss, values, allow_unused=True)
                squares = [one.double().square().sum() for one in found if one is not None]
                own.append(LEARNING_RATE * torch.stack(squares).sum())
        except RuntimeError:
            if dtype == torch.float32:
                raise
            continue
        break
    return torch.stack(own)


def _join(inputs: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    return inputs[0] if len(inputs) == 1 else tuple(inputs)


def _clock(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _time_in_turns(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median processor time of each, taking turns; a short one is repeated."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    repeats = {name: max(1, math.ceil(LEAST_SECONDS / _clock(run))) for name, run in runs.items()}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            took = _clock(lambda run=run, count=repeats[name]: [run() for _ in range(count)])
            seconds[name].append(took / repeats[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def _largest_error(found: Tensor, exact: Tensor) -> float:
    """Return the largest relative error.

    Where a model is sure of a label, autograd's own gradient is the rounding of a probability: what
    is a billionth of the largest tells of nobody's error.
    """
    scale = exact.clamp_min(1e-9 * float(exact.max()))
    return float(((found.double() - exact) / scale).abs().max())
