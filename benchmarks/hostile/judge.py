"""Compare the engine with one example at a time, and say how it ended."""

from __future__ import annotations

import copy
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.evaluation import changes_on_eval, evaluate, evaluate_as_trained
from benchmarks.hostile.draw import Draw, Subject
from benchmarks.hostile.kinds import KINDS
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import TracInError

Ending = Literal["right", "told", "refused", "wrong", "crashed"]
ENDINGS: tuple[Ending, ...] = ("right", "told", "refused", "wrong", "crashed")
# In float64 rounding stays below 1e-9 here; a gradient given to another example is of order one.
TOLERANCE = 1e-6
BATCHES = (1, 3, 8, 17, 32, 64)
RATES = (0.5, 0.2)
TEST_EXAMPLES = 5
ORDERS = ("random", "random", "sorted", "sorted down", "first three up", "first three down",
          "first three equal")  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """How the engine fared on one seed's network.

    Attributes:
        seed: The seed.
        kind: Kind of network.
        family: What it is counted in.
        ending: All scores right; wrong, but a warning told so; refused by an error of ours;
            wrong without a word; or ended by any other error.
        error: Largest relative error of self-influence, influence and vectors.
        batch: Size of a batch.
        count: Examples.
        order: Order of the examples.
        rules: Share of the parameters covered by rules.
        method: Ways of the fallback that were used.
        detail: What is wrong, or the error's message.
        seconds: Time that the engine took.
    """

    seed: int
    kind: str
    family: str
    ending: Ending
    error: float = 0.0
    batch: int = 0
    count: int = 0
    order: str = ""
    rules: float = 0.0
    method: str = ""
    detail: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def judge(
    seed: int, dtype: torch.dtype = torch.float64, batches: Sequence[int] = BATCHES
) -> Verdict:
    """Make the network of a seed, score it, and compare.

    Args:
        seed: Any number; kinds follow each other.
        dtype: The engine's; the comparison is always in float64.
        batches: Sizes of a batch, of which one is drawn; one of several batches takes as many
            examples, each of which is differentiated alone.

    Returns:
        The verdict.
    """
    name = list(KINDS)[seed % len(KINDS)]
    family, build = KINDS[name]
    torch.manual_seed(seed)
    draw = Draw(seed, count=0)
    batch = draw.pick(*batches)
    # Whole batches, and a short one at the end.
    draw.count = batch * (draw.number(1, 2) if batch >= 32 else draw.number(2, 4))
    draw.count += draw.number(1, batch - 1) if batch > 1 else 4
    order = draw.pick(*ORDERS)
    subject = put_in_order(build(draw), order)
    targets = torch.randint(subject.classes, (draw.count,))
    checkpoints = make_checkpoints(subject.model)
    truths = differentiate(subject, targets, checkpoints)

    def verdict(ending: Ending, error: float, detail: str, tracin: TracIn | None) -> Verdict:
        share, methods = read_coverage(tracin)
        return Verdict(
            *(seed, name, family, ending, error, batch, draw.count, order),
            *(share, methods, detail, round(time.perf_counter() - began, 3)),
        )

    began, tracin, told = time.perf_counter(), None, []
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            model = copy.deepcopy(subject.model).to(dtype)
            examples = make_dataset(subject, targets, dtype)
            saved = [
                Checkpoint(
                    {n: v.to(dtype) if v.is_floating_point() else v for n, v in c.items()}, rate
                )
                for c, rate in zip(checkpoints, RATES, strict=True)
            ]
            tracin = TracIn(model, saved, device="cpu", batch_size=batch)
            found = score(tracin, examples)
    except TracInError as error:
        return verdict("refused", 0.0, str(error), tracin)
    except Exception as error:
        # The last line of ours says where.
        place = traceback.extract_tb(error.__traceback__)[-1]
        told_as = f"{type(error).__name__}: {error} ({place.name})"
        return verdict("crashed", 0.0, told_as, tracin)
    tolerance = TOLERANCE if dtype == torch.float64 else 2e-2
    error, detail = compare(found, truths[0])
    if error > tolerance and len(truths) > 1:
        error, detail = compare_without_gradient(found, truths, tracin, error, detail, told)
    if error <= tolerance:
        return verdict("right", error, detail, tracin)
    if said := [str(item.message) for item in told if "batch" in str(item.message)]:
        return verdict("told", error, said[0], tracin)
    return verdict("wrong", error, detail, tracin)


def put_in_order(subject: Subject, order: str) -> Subject:
    """Return the subject with its examples in order of its key, or only the first three so."""
    count = len(subject.key)
    if order == "random":
        return subject
    rows = subject.key.argsort(stable=True)
    if order.endswith("down"):
        rows = rows.flip(0)
    if order == "first three equal":
        groups = subject.key.long().unique(return_inverse=True)[1]
        most = groups.bincount().argmax()
        rows = torch.cat([(groups == most).nonzero(), (groups != most).nonzero()]).squeeze(1)
    if order.startswith("first three") and order != "first three equal":
        first = torch.randperm(count)[:3].sort().values
        rest = torch.ones(count, dtype=torch.bool)
        rest[rows[first]] = False
        rows = torch.cat([rows[first], rest.nonzero().squeeze(1)])
    inputs = tuple(item[rows] for item in subject.inputs)
    return Subject(subject.model, inputs, subject.key[rows], subject.classes)


def make_checkpoints(model: nn.Module) -> list[dict[str, Tensor]]:
    """Return the weights at two steps, the second some way from the first."""
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.3 * torch.randn_like(value))
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand_like(value))
    later = copy.deepcopy(model)
    with torch.no_grad():
        for value in later.parameters():
            value.add_(0.2 * torch.randn_like(value))
        for name, value in later.named_buffers():
            if "running" in name:
                value.mul_(1.5)
    return [copy.deepcopy(model.state_dict()), later.state_dict()]


def make_dataset(subject: Subject, targets: Tensor, dtype: torch.dtype) -> Any:
    """Return examples as the engine takes them: a tensor each, or a tuple of tensors."""
    inputs = [item.to(dtype) if item.is_floating_point() else item for item in subject.inputs]
    if len(inputs) == 1:
        return TensorDataset(inputs[0], targets)
    return [(tuple(item[i] for item in inputs), targets[i]) for i in range(len(targets))]


def score(tracin: TracIn, examples: Any) -> list[Tensor]:
    """Return self-influence, influence on the last few examples, and exact vectors."""
    last = [examples[i] for i in range(len(examples) - TEST_EXAMPLES, len(examples))]
    return [
        tracin.self_influence(examples).double(),
        tracin.influence(examples, last).double(),
        tracin.vectors(examples).double(),
    ]


def differentiate(
    subject: Subject, targets: Tensor, checkpoints: Sequence[dict[str, Tensor]]
) -> list[Tensor]:
    """Return every example's vector by one example at a time, ``(N, C P)``.

    Where modules do something of their own on ``train()`` or ``eval()``, twice: with those
    modules on the way that they train, so that weights which evaluation keeps have their
    gradients; and all in evaluation, right after ``train()`` and ``eval()``.
    """
    overriding = any(changes_on_eval(module) for module in subject.model.modules())
    ways: list[Callable[[nn.Module], None]] = [evaluate_as_trained]
    if overriding:
        ways.append(evaluate)
    found = []
    for way in ways:
        blocks = []
        for weights, rate in zip(checkpoints, RATES, strict=True):
            model = copy.deepcopy(subject.model).train()
            model.load_state_dict(weights)
            parameters = [value for value in model.parameters() if value.requires_grad]
            rows = []
            for i in range(len(targets)):
                way(model)
                inputs = tuple(item[i : i + 1] for item in subject.inputs)
                model.zero_grad(set_to_none=True)
                # Not `torch.autograd.grad`, with which reentrant checkpoints do not work.
                F.cross_entropy(model(*inputs), targets[i : i + 1]).backward()
                rows.append(flatten(parameters))
            blocks.append(rate**0.5 * torch.stack(rows))
        found.append(torch.cat(blocks, 1))
    return found


def flatten(parameters: Sequence[Tensor]) -> Tensor:
    """Return the parameters' gradients end to end, zero where nothing reaches."""
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if p.grad is None else p.grad.to_dense().flatten()
            for p in parameters
        ]
    )


def compare(found: Sequence[Tensor], truth: Tensor) -> tuple[float, str]:
    """Return the largest relative error of any score, and what is wrong.

    An influence is measured against the two norms it is a product of.
    """
    norms = truth.norm(dim=1)
    products = truth @ truth[-TEST_EXAMPLES:].T
    largest = float(norms.max()) * 1e-6 + 1e-30
    scale = norms.clamp(min=largest)
    own, pairs, vectors = found
    if own.shape != norms.shape or vectors.shape != truth.shape or pairs.shape != products.shape:
        return float("inf"), "shapes differ"
    errors = {
        "self-influence": (own - norms.square()).abs() / scale.square(),
        "influence": (pairs - products).abs() / (scale[:, None] * scale[-TEST_EXAMPLES:]),
        "vectors": (vectors - truth).norm(dim=1) / scale,
    }
    worst = {name: float(value.nan_to_num(nan=torch.inf).max()) for name, value in errors.items()}
    rows = (errors["vectors"] > TOLERANCE).sum()
    told = ", ".join(f"{name} {value:.2g}" for name, value in worst.items())
    return max(worst.values()), f"{told}; {int(rows)} of {len(norms)} vectors"


def compare_without_gradient(
    found: Sequence[Tensor],
    truths: Sequence[Tensor],
    tracin: TracIn,
    error: float,
    detail: str,
    told: Sequence[warnings.WarningMessage],
) -> tuple[float, str]:
    """Accept that kept weights have no gradient in evaluation, if that is said.

    Said is it by a warning, or by the coverage, which counts the parameters as left out.
    """
    in_evaluation, _ = compare(found, truths[1])
    if in_evaluation > TOLERANCE:
        return error, detail
    lost = "kept weights have no gradient in evaluation"
    if tracin.coverage.left_out or any("evaluation" in str(item.message) for item in told):
        return in_evaluation, f"{lost}, and it is said"
    return error, f"{lost}, and nothing says so; {detail}"


def read_coverage(tracin: TracIn | None) -> tuple[float, str]:
    """Return the share of parameters by rules, and how the rest was computed."""
    if tracin is None:
        return 0.0, ""
    entries = [entry for entry in tracin.coverage if entry.method not in ("frozen", "not chosen")]
    total = sum(entry.size for entry in entries)
    ruled = sum(entry.size for entry in entries if entry.method == "rule")
    others = sorted({entry.method for entry in entries} - {"rule"})
    return ruled / max(1, total), ", ".join(others)
