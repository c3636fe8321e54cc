"""Errors of the attribution methods against float64 references, and their time beside TracIn.

    python -m benchmarks.methods

A small network near a minimum, its explicit curvature, and seconds of a processor. Prints the table
of docs/methods.md; ``--write`` puts it there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tracin_core import AttributionSetup, Checkpoint, TracIn, get_method
from tracin_core.ideal import train_and_record
from tracin_core.truth import (
    draw_halves,
    fit_logistic,
    leave_one_out,
    retrain_parts,
    score_datamodel,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "methods.md"
BEGIN, END = "<!-- begin methods -->\n", "<!-- end methods -->"
DAMPING = 0.01
SOLVERS: dict[str, dict[str, Any]] = {
    "dense": {"solver": "dense"},
    "cg": {"solver": "cg"},
    "lissa, depth 500": {"solver": "lissa", "depth": 500},
    "arnoldi, rank 50": {"solver": "arnoldi", "iterations": 100},
    "sketch, dim 256": {"solver": "sketch"},
    "ekfac, all classes": {"solver": "ekfac", "samples": 0},
    "ekfac, 1 label": {"solver": "ekfac"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "tracincp": {},
    "last_checkpoint": {},
    "gradient_cosine": {},
    "representer": {},
    "embedding_similarity": {},
    "feature_neighbours": {},
}


def make_data(count: int, seed: int) -> TensorDataset:
    """Return classes that overlap, so that there is something to be wrong about."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=draw)
    centres = torch.eye(3, 8).repeat_interleave(1, 0) * 2
    inputs = centres[labels] + torch.randn(count, 8, generator=draw)
    return TensorDataset(inputs.double(), labels)


def train_network(train: TensorDataset) -> TracIn:
    """Return the engine over a small network at two checkpoints, the second near a minimum."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 3)).double()
    checkpoints = []
    for steps in (5, 60):
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=steps, line_search_fn="strong_wolfe"
        )

        def close(optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(train.tensors[0]), train.tensors[1])
            loss = loss + 5e-3 * sum(value.square().sum() for value in model.parameters())
            loss.backward()
            return loss

        optimizer.step(close)  # type: ignore[arg-type]
        state = {name: value.clone() for name, value in model.state_dict().items()}
        checkpoints.append(Checkpoint(state, 0.1))
    return TracIn(model, checkpoints, device="cpu", batch_size=64)


def compute_reference(tracin: TracIn, train: Any, test: Any, layers: str) -> Tensor:
    """Return influences by the explicit Gauss-Newton matrix, one row of a Jacobian at a time."""
    single = tracin.at_checkpoint(layers=layers)
    model = single.model
    model.load_state_dict(tracin.checkpoints[-1].weights)
    names = single.name_parameters(train)
    parameters = [model.get_parameter(name) for name in names]
    rows, inputs = [], train.tensors[0]
    outputs = model(inputs)
    shares = outputs.softmax(1).detach()
    total = sum(value.numel() for value in parameters)
    matrix = DAMPING * torch.eye(total, dtype=torch.float64)
    for n in range(len(inputs)):
        rows = []
        for k in range(outputs.shape[1]):
            found = torch.autograd.grad(outputs[n, k], parameters, retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in found]))
        slopes = torch.stack(rows)
        curved = torch.diag(shares[n]) - shares[n].outer(shares[n])
        matrix += slopes.t() @ curved @ slopes / len(inputs)
    left, right = single.vectors(train), single.vectors(test)
    return left @ torch.linalg.solve(matrix, right.t()) / len(inputs)


def run_method(
    name: str, tracin: TracIn, train: Any, test: Any, options: Mapping[str, Any]
) -> tuple[Tensor, float, dict[str, Any]]:
    """Return influences, processor seconds for fit and influences, and the method's report."""
    began = time.process_time()
    method: Any = get_method(name).make(AttributionSetup(tracin=tracin, options=options))
    if hasattr(method, "fit"):
        method.fit(train)
    influence = method.influence(train, test)
    return influence, time.process_time() - began, getattr(method, "report", {})


def compare(actual: Tensor, expected: Tensor) -> tuple[float, float]:
    """Return the relative error and the correlation."""
    error = float((actual - expected).norm() / expected.norm())
    pair = torch.stack([actual.flatten().double(), expected.flatten()])
    return error, float(torch.corrcoef(pair)[0, 1])


def describe_solvers(tracin: TracIn, train: Any, test: Any) -> list[str]:
    """Return the table of influence functions' solvers."""
    lines = [
        "| layers | solver | relative error | correlation | residual | processor time |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for layers in ("last", "all"):
        expected = compute_reference(tracin, train, test, layers)
        for title, options in SOLVERS.items():
            if layers == "all" and options["solver"] == "sketch":
                continue  # 256 second derivatives a step, which takes a minute and is no better
            chosen = {"damping": DAMPING, "layers": layers, **options}
            found, seconds, report = run_method("influence_functions", tracin, train, test, chosen)
            error, correlation = compare(found, expected)
            residual = f"{report['residual']:.1e}" if "residual" in report else ""
            lines.append(
                f"| {layers} | {title} | {error:.1e} | {correlation:.4f} | {residual} | "
                f"{seconds:.2f} s |"
            )
    return lines


def describe_others(tracin: TracIn, train: Any, test: Any) -> list[str]:
    """Return the table of the other methods' time and likeness to TracIn."""
    lines = ["| method | correlation with `tracincp` | processor time |", "|---|--:|--:|"]
    usual = TracIn(
        tracin.model, tracin.checkpoints, tracin.loss, "last", tracin.device, tracin.batch_size
    )
    expected, _, _ = run_method("tracincp", usual, train, test, {})  # the first call warms up
    for name, options in OTHERS.items():
        found, seconds, _ = run_method(name, usual, train, test, options)
        _, correlation = compare(found, expected)
        lines.append(f"| `{name}` | {correlation:.3f} | {seconds:.3f} s |")
    return lines


def describe_truth(train: TensorDataset, test: TensorDataset) -> list[str]:
    """Return what retraining says, on logistic regression."""
    decay, num_train = 0.01, len(train)

    def retrain(places: Tensor) -> Tensor:
        scaled = decay * num_train / len(places)
        weight = fit_logistic(train.tensors[0][places], train.tensors[1][places], 3, scaled)
        logits = test.tensors[0] @ weight.t()
        return F.cross_entropy(logits, test.tensors[1], reduction="none")

    model = nn.Linear(8, 3, bias=False).double()
    model.weight.data = fit_logistic(*train.tensors, 3, decay)
    tracin = TracIn(model, Checkpoint(model.state_dict(), 0.1), device="cpu")
    chosen = list(range(0, num_train, 10))
    truth = leave_one_out(retrain, num_train, chosen)
    masks = draw_halves(num_train, 30)
    losses = retrain_parts(retrain, masks)
    lines = [
        "| method | correlation with leave-one-out | LDS (95% interval) |",
        "|---|--:|--:|",
    ]
    methods: dict[str, dict[str, Any]] = {
        "influence_functions": {"damping": 2 * decay},
        "last_checkpoint": {},
        "representer": {"decay": decay, "explain": "given"},
        "gradient_cosine": {},
        "embedding_similarity": {},
    }
    for name, options in methods.items():
        found, _, _ = run_method(name, tracin, train, test, options)
        _, correlation = compare(found[chosen], truth)
        score = score_datamodel(found, masks, losses)
        lines.append(
            f"| `{name}` | {correlation:.3f} | "
            f"{score.mean:.3f} ({score.low:.3f} to {score.high:.3f}) |"
        )
    return lines


def describe_ideal() -> list[str]:
    """Return how TracIn-Ideal sums up, and how first order does by rate."""
    lines = [
        "| rate | minibatch | sum against total drop | correlation of change and estimate |",
        "|--:|--:|--:|--:|",
    ]
    train, test = make_data(40, 5), make_data(4, 6)
    for rate, size in ((0.3, 1), (0.3, 8), (0.03, 8)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 3)).double()
        recorder = train_and_record(model, train, test, rate=rate, batch_size=size, epochs=1)
        drop = recorder.total_drop
        off = float((recorder.influence.sum(0) - drop).norm() / drop.norm())
        found = recorder.check_first_order()
        lines.append(f"| {rate} | {size} | {off:.1e} | {found.correlation:.4f} |")
    return lines


def describe() -> str:
    """Return all tables as Markdown."""
    train, test = make_data(120, 1), make_data(20, 2)
    tracin = train_network(train)
    parts: dict[str, Callable[[], list[str]]] = {
        "Influence functions against the explicit matrix: 120 train and 20 test examples, "
        f"damping {DAMPING}, an 8-10-3 network (33 parameters in the last layer, 123 in all). "
        "The residual is that of the worst test example.": lambda: describe_solvers(
            tracin, train, test
        ),
        "Other methods on the last layer of the same network, two checkpoints, fit and "
        "influences of all pairs:": lambda: describe_others(tracin, train, test),
        "Against retraining: logistic regression on the same examples, every tenth left out, 30 "
        "random halves, decay 0.01:": lambda: describe_truth(train, test),
        "TracIn-Ideal, one pass over 40 examples by plain SGD, 4 test examples:": describe_ideal,
    }
    text = f"`python -m benchmarks.methods`, torch {torch.__version__}, one thread.\n"
    for title, make in parts.items():
        text += f"\n{title}\n\n" + "\n".join(make()) + "\n"
    return text


def main() -> None:
    """Print the tables, and put them into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/methods.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = describe()
    print(text)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text(f"{page[:start]}\n{text}\n{page[end:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
