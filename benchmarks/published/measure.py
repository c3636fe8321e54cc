"""Compare the engine with autograd on one example at a time, in float64 and in float32."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import default_collate

from benchmarks.evaluation import changes_on_eval, choose_evaluation, evaluate
from benchmarks.published.everything import ARCHITECTURES
from benchmarks.published.subject import BATCH, CLASSES, EXAMPLES, Subject
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import TracInError

RATES = (0.5, 0.2)
# Some models compute norms and softmax in float32 inside, whatever they run in.
EXACT = 1e-5
# What float32 gives without a kink or cancellation.
SINGLE = 1e-3
# One step of float32 relative to a number.
STEP = 2**-23


@dataclass(frozen=True)
class Result:
    """What was found of one architecture.

    Attributes:
        name: Its name.
        source: The library it is from.
        parameters: Trainable numbers.
        ending: "right"; "kinks" where float32 itself cannot tell; "refused" by an error of
            ours; "WRONG"; or "crashed".
        double: Whether it runs in float64 at all; if not, ``error`` is against float32.
        kept: Whether the scores are those without a gradient for weights kept in evaluation.
        error: Largest relative error of a self-influence in float64.
        single: The same in float32.
        inherent: What float32 does to the exact self-influence: autograd on one example in
            float32, and weights moved by a rounding; measured where ``single`` is not small.
        rules: Share of the parameters by rules.
        fallback: How the rest was computed.
        last: Modules that ``layers="last"`` took.
        last_size: Numbers in them.
        correlation: Rank correlation of their self-influence with the head's own.
        detail: Messages.
        seconds: Processor time for all.
    """

    name: str
    source: str
    parameters: int = 0
    ending: str = "right"
    double: bool = True
    kept: bool = False
    error: float = 0.0
    single: float = 0.0
    inherent: float = 0.0
    rules: float = 0.0
    fallback: str = ""
    last: str = ""
    last_size: int = 0
    correlation: float = float("nan")
    detail: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def measure(name: str) -> Result:
    """Build an architecture and compare; seeds itself."""
    source, build = ARCHITECTURES[name]
    began = time.process_time()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject = build()
        settle(subject)
        targets = make_targets(subject)
        checkpoints = make_checkpoints(subject.model)
        fields = compare(subject, targets, checkpoints)
    return Result(name, source, seconds=round(time.process_time() - began, 1), **fields)


def settle(subject: Subject) -> None:
    """Move weights off their even starts, and let normalisations see the examples.

    Residual branches begin at zero and scales at a millionth; gradients there would compare
    nothing.
    """
    with torch.no_grad():
        for value in subject.model.parameters():
            spread = float(value.std()) if value.numel() > 1 else 0.0
            value.add_((0.3 * spread or 0.1) * torch.randn_like(value))
    norms = [m for m in subject.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    subject.model.train()
    with torch.no_grad():
        call(subject.model, default_collate(subject.inputs))
        for norm in norms:
            norm.running_var.clamp_(min=1e-2)


def make_targets(subject: Subject) -> list[Tensor]:
    """Return each example's class, or for a language model its own words."""
    if subject.loss is None:
        return list(torch.arange(EXAMPLES) % CLASSES)
    return [example["input_ids"] for example in subject.inputs]


def make_checkpoints(model: nn.Module) -> list[dict[str, Tensor]]:
    """Return the weights now and a step later, tied ones tied."""
    later = copy.deepcopy(model)
    with torch.no_grad():
        for value in later.parameters():
            spread = float(value.std()) if value.numel() > 1 else 0.0
            value.add_((0.1 * spread or 0.03) * torch.randn_like(value))
    return [copy.deepcopy(model.state_dict()), later.state_dict()]


def compare(
    subject: Subject, targets: Sequence[Tensor], checkpoints: Sequence[dict[str, Tensor]]
) -> dict[str, Any]:
    """Return the fields of a result."""
    size = sum(p.numel() for p in subject.model.parameters() if p.requires_grad)
    found: dict[str, Any] = {"parameters": size}
    dtype = torch.float64 if runs_in_double(subject) else torch.float32
    found["double"] = dtype == torch.float64
    exact, head = differentiate(subject, targets, checkpoints, dtype)
    told: list[warnings.WarningMessage]
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            tracin, scores = score(subject, targets, checkpoints, dtype, "all")
        found |= {"error": largest_error(scores, exact), **read_coverage(tracin)}
        last, last_scores = score(subject, targets, checkpoints, dtype, "last")
        found |= read_last(last, last_scores, head)
        _, single = score(subject, targets, checkpoints, torch.float32, "all")
        found["single"] = largest_error(single, exact)
    except TracInError as error:
        return {**found, "ending": "refused", "detail": str(error)}
    except Exception as error:
        return {**found, "ending": "crashed", "detail": f"{type(error).__name__}: {error}"}
    if found["error"] > EXACT and any(changes_on_eval(m) for m in subject.model.modules()):
        found |= compare_without_gradient(subject, targets, checkpoints, dtype, scores)
        said = [str(item.message) for item in told if "evaluation" in str(item.message)]
        if found["kept"] and (said or tracin.coverage.left_out):
            exact = found.pop("other")
            found |= {"error": largest_error(scores, exact), "detail": " ".join(said)}
            found["single"] = largest_error(single, exact)
        found.pop("other", None)
    if found["single"] > SINGLE:
        found["inherent"] = find_inherent_error(subject, targets, checkpoints, exact)
    found["ending"] = judge(found)
    return found


def runs_in_double(subject: Subject) -> bool:
    """Whether the model runs in float64; one that makes float32 inside may not."""
    inputs = default_collate([convert(item, torch.float64) for item in subject.inputs[:1]])
    model = copy.deepcopy(subject.model).double().eval()
    try:
        with torch.no_grad():
            call(model, inputs)
    except RuntimeError:
        return False
    return True


def compare_without_gradient(
    subject: Subject,
    targets: Sequence[Tensor],
    checkpoints: Sequence[dict[str, Tensor]],
    dtype: torch.dtype,
    scores: Tensor,
) -> dict[str, Any]:
    """Return whether the scores are those of evaluation, in which kept weights have no gradient."""
    other, _ = differentiate(subject, targets, checkpoints, dtype, in_evaluation=True)
    kept = largest_error(scores, other) <= EXACT
    detail = "kept weights have no gradient in evaluation, and nothing says so" if kept else ""
    return {"kept": kept, "other": other, "detail": detail}


def judge(found: dict[str, Any]) -> str:
    """Return how it ended: right, kinks of float32, or WRONG."""
    if not found["error"] <= (EXACT if found["double"] else SINGLE):
        return "WRONG"
    if found["single"] <= SINGLE:
        return "right"
    # A kink is met by chance: another computation may round it to the other side, or not.
    return "kinks" if found["single"] <= 100 * found["inherent"] else "WRONG in float32"


def score(
    subject: Subject,
    targets: Sequence[Tensor],
    checkpoints: Sequence[dict[str, Tensor]],
    dtype: torch.dtype,
    layers: Any,
) -> tuple[TracIn, Tensor]:
    """Return the engine and its self-influence, ``(N,)``."""
    saved = [Checkpoint(convert(c, dtype), r) for c, r in zip(checkpoints, RATES, strict=True)]
    tracin = TracIn(
        copy.deepcopy(subject.model).to(dtype),
        saved,
        loss=subject.loss or "cross_entropy",
        layers=layers,
        device="cpu",
        batch_size=BATCH,
    )
    examples = list(zip((convert(i, dtype) for i in subject.inputs), targets, strict=True))
    return tracin, tracin.self_influence(examples).double()


def differentiate(
    subject: Subject,
    targets: Sequence[Tensor],
    checkpoints: Sequence[dict[str, Tensor]],
    dtype: torch.dtype,
    in_evaluation: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return self-influence by one backward pass for each example, ``(N,)``: all, and the head's.

    Each example runs beside a copy of itself, and the first of the two is differentiated: in a
    batch of one, torch's own BatchNorm is wrong in evaluation where the gradient that comes back
    is transposed.

    Modules that keep weights in evaluation run as they are trained, or ``in_evaluation`` with what
    they keep made anew before each example.
    """
    loss = subject.loss or cross_entropy
    totals = torch.zeros(2, len(targets), dtype=torch.float64)
    for weights, rate in zip(checkpoints, RATES, strict=True):
        model = copy.deepcopy(subject.model).to(dtype).train()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                value.copy_(weights[name])
        first = default_collate([convert(subject.inputs[0], dtype)])
        prepare = choose_evaluation(model, lambda m, x=first: read_logits(call(m, x)))
        prepare = evaluate if in_evaluation else prepare
        head = [value for name, value in model.named_parameters() if name in subject.head]
        every = [value for value in model.parameters() if value.requires_grad]
        for i, target in enumerate(targets):
            model.zero_grad(set_to_none=True)
            prepare(model)
            inputs = default_collate([convert(subject.inputs[i], dtype)] * 2)
            loss(call(model, inputs), torch.stack([target] * 2))[0].backward()
            for row, values in enumerate((every, head)):
                totals[row, i] += rate * sum_squares(values)
    return totals[0], totals[1]


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Return each example's cross-entropy, ``(B,)``."""
    return F.cross_entropy(read_logits(outputs), targets, reduction="none")


def sum_squares(values: Sequence[Tensor]) -> float:
    """Return the sum of the squared gradients."""
    return float(sum(v.grad.double().square().sum() for v in values if v.grad is not None))


def find_inherent_error(
    subject: Subject,
    targets: Sequence[Tensor],
    checkpoints: Sequence[dict[str, Tensor]],
    exact: Tensor,
) -> float:
    """Return the largest relative change of an exact self-influence by roundings of float32."""
    changes = [largest_error(differentiate(subject, targets, checkpoints, torch.float32)[0], exact)]
    for _ in range(3):
        moved = [
            {n: v * (1 + STEP * torch.randn_like(v)) if v.is_floating_point() else v
             for n, v in weights.items()}
            for weights in (convert(c, torch.float64) for c in checkpoints)
        ]  # fmt: skip
        found, _ = differentiate(subject, targets, moved, torch.float64)
        changes.append(largest_error(found, exact))
    return max(changes)


def largest_error(scores: Tensor, exact: Tensor) -> float:
    """Return the largest error relative to the exact score; not finite counts as infinite."""
    errors = (scores - exact).abs() / exact.clamp(min=1e-30)
    return float(errors.nan_to_num(nan=torch.inf).max())


def read_coverage(tracin: TracIn) -> dict[str, Any]:
    """Return the share of parameters by rules and the ways of the fallback."""
    entries = [entry for entry in tracin.coverage if entry.method not in ("frozen", "not chosen")]
    ruled = sum(entry.size for entry in entries if entry.method == "rule")
    others = sorted({entry.method for entry in entries} - {"rule"})
    total = sum(entry.size for entry in entries)
    return {"rules": ruled / max(1, total), "fallback": ", ".join(others)}


def read_last(tracin: TracIn, scores: Tensor, head: Tensor) -> dict[str, Any]:
    """Return what the last layer was taken to be, and how it ranks beside the head."""
    taken = [tracin.coverage[name] for name in tracin.coverage.covered]
    modules = dict.fromkeys(entry.name.rpartition(".")[0] for entry in taken)
    ranks = spearmanr(scores.numpy(), head.numpy()).statistic
    return {
        "last": ", ".join(modules),
        "last_size": sum(entry.size for entry in taken),
        "correlation": float(ranks),
    }


def convert(value: Any, dtype: torch.dtype) -> Any:
    """Return tensors, or a dict of them, with floating-point ones in another type."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    return {name: convert(item, dtype) for name, item in value.items()}


def call(model: nn.Module, inputs: Any) -> Any:
    """Call the model with a tensor, or with a dict by keyword."""
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def read_logits(outputs: Any) -> Tensor:
    """Return the logits of what a model returned."""
    return outputs if isinstance(outputs, Tensor) else outputs.logits
