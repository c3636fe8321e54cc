"""The attribution methods beside captum, dattri and kronfluence, on one model and its checkpoints.

    python -m benchmarks.method_peers

The network of ``benchmarks.methods``: 123 parameters in float64, two checkpoints. Peers that are
not installed are named and left out. ``--write`` puts the table into docs/methods.md.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.method_dattri_ekfac import rebuild_dattri
from benchmarks.method_page import print_part
from benchmarks.method_peer_calls import (
    call_captum_arnoldi,
    call_captum_fast,
    call_captum_naive,
    call_captum_tracin,
    call_dattri,
    call_dattri_tracin,
    call_kronfluence,
)
from benchmarks.methods import DAMPING, compare, make_data, run_method, train_network
from tracin_core import TracIn

NUM_TRAIN = 120


@dataclass(frozen=True)
class Pair:
    """A peer's method and ours.

    Attributes:
        peer: Distribution that is needed.
        title: What was called.
        call: Returns its influences, shape ``(N, M)``.
        method: Our method.
        options: Its options, so that it computes the same where it can.
        scale: What the peer's numbers are divided by, to have our unit.
        layers: Of TracIn: which layers it looks at.
        reason: Why they differ, or what was needed to make them equal.
    """

    peer: str
    title: str
    call: Callable[[TracIn, Any, Any], Tensor]
    method: str
    options: dict[str, Any]
    scale: float
    layers: str
    reason: str


HESSIAN = {"layers": "all", "curvature": "hessian", "damping": 0.05}
EKFAC = {"solver": "ekfac", "layers": "all", "samples": 0, "damping": DAMPING}
EXACT = {"solver": "dense", "layers": "all", "damping": DAMPING}

PAIRS = (
    Pair("captum", "TracInCP", call_captum_tracin, "tracincp", {}, 1, "all", "the same sum"),
    Pair(
        *("captum", "TracInCPFast", call_captum_fast, "tracincp", {}, 1, "last"),
        "it leaves out the last layer's bias; without it ours would be the same to 1e-16",
    ),
    Pair(
        *("captum", "NaiveInfluenceFunction", call_captum_naive, "influence_functions"),
        *({"solver": "dense", **HESSIAN}, 1, "all"),
        "the same inverse, of the summed loss: `hessian_reg` is N times our damping, and all "
        "eigenvalues are to be kept",
    ),
    Pair(
        *("captum", "ArnoldiInfluenceFunction", call_captum_arnoldi, "influence_functions"),
        *({"solver": "arnoldi", "rank": 50, **HESSIAN}, 1, "all"),
        "both keep 50 directions, from another random start",
    ),
    Pair(
        *("dattri", "TracInAttributor", call_dattri_tracin, "tracincp", {}, 1, "all"),
        "the same sum, unprojected",
    ),
    Pair(
        *("dattri", "IFAttributorExplicit", call_dattri("Explicit"), "influence_functions"),
        *({"solver": "dense", **HESSIAN}, NUM_TRAIN, "all"),
        "the same; it leaves the division by N out",
    ),
    Pair(
        *("dattri", "IFAttributorCG", call_dattri("CG"), "influence_functions"),
        *({"solver": "cg", **HESSIAN}, NUM_TRAIN, "all"),
        "the same, with 200 of its steps where 10 are usual",
    ),
    Pair(
        *("dattri", "IFAttributorLiSSA", call_dattri("LiSSA"), "influence_functions"),
        *({"solver": "dense", **HESSIAN}, NUM_TRAIN, "all"),
        "a random series of minibatches, in float32, against the exact solution",
    ),
    Pair(
        *("dattri", "IFAttributorArnoldi", call_dattri("Arnoldi"), "influence_functions"),
        *({"solver": "arnoldi", "rank": 50, "iterations": 100, **HESSIAN}, NUM_TRAIN, "all"),
        "both keep 50 directions, it those of the damped matrix and in float32",
    ),
    Pair(
        *("dattri", "IFAttributorEKFAC", call_dattri("EKFAC"), "influence_functions"),
        *(EKFAC, NUM_TRAIN, "all"),
        "it takes the labels as given (the empirical Fisher matrix), and rotates and cuts "
        "gradients otherwise: see below",
    ),
    Pair(
        *("kronfluence", "EK-FAC", call_kronfluence("ekfac"), "influence_functions"),
        *(EKFAC, NUM_TRAIN, "all"),
        "the same, given every class with its probability instead of drawn labels",
    ),
    Pair(
        *("kronfluence", "K-FAC", call_kronfluence("kfac"), "influence_functions"),
        *(EKFAC, NUM_TRAIN, "all"),
        "products of the factors' eigenvalues instead of corrected ones",
    ),
    Pair(
        *("kronfluence", "EK-FAC", call_kronfluence("ekfac"), "influence_functions"),
        *(EXACT, NUM_TRAIN, "all"),
        "against the explicit matrix, which neither EK-FAC is",
    ),
    Pair(
        *("kronfluence", "K-FAC", call_kronfluence("kfac"), "influence_functions"),
        *(EXACT, NUM_TRAIN, "all"),
        "the same",
    ),
    Pair(
        *("kronfluence", "identity", call_kronfluence("identity"), "last_checkpoint"),
        *({"layers": "all"}, 1, "all"),
        "gradient products, without rates",
    ),
)


def describe_pair(pair: Pair, tracin: TracIn, train: Any, test: Any) -> str:
    """Return a peer's line of the table; what it raises stands there instead of figures."""
    usual = TracIn(
        tracin.model,
        tracin.checkpoints,
        tracin.loss,
        pair.layers,
        tracin.device,
        tracin.batch_size,
    )
    ours, _, _ = run_method(pair.method, usual, train, test, pair.options)
    named = " ".join(f"{key}={value}" for key, value in pair.options.items() if key == "solver")
    begin = f"| {pair.peer} `{pair.title}` | `{pair.method}` {named} |".replace("  ", " ")
    try:
        # Peers draw progress bars, log and warn; none of it belongs in a table.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            theirs = pair.call(tracin, train, test).detach().double() / pair.scale
    except Exception as error:
        return f"{begin} refused | | {type(error).__name__}: {str(error).splitlines()[0][:90]} |"
    error, correlation = compare(theirs, ours.double())
    return f"{begin} {error:.1e} | {correlation:.4f} | {pair.reason} |"


def describe() -> str:
    """Return the table as Markdown."""
    train, test = make_data(NUM_TRAIN, 1), make_data(20, 2)
    tracin = train_network(train)
    peers = dict.fromkeys(pair.peer for pair in PAIRS)
    found = [name for name in peers if importlib.util.find_spec(name) is not None]
    missing = [name for name in peers if name not in found]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in found)
    lines = [
        f"`python -m benchmarks.method_peers`, {versions or 'no peer'}; 120 train and 20 test "
        "examples, float64. The error is relative, of all pairs.",
        "",
        "| peer | ours | relative error | correlation | why |",
        "|---|---|--:|--:|---|",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = [pair for pair in PAIRS if pair.peer in found]
        lines += [describe_pair(pair, tracin, train, test) for pair in chosen]
        if "dattri" in found:
            off = rebuild_dattri(tracin, train, test)
            lines.append(
                "\ndattri's EK-FAC is rebuilt to "
                f"{off:.0e} with the labels as given, eigenvectors' matrices where their "
                "transposes belong, and weight and bias cut as one run of numbers."
            )
    lines += [f"\n{name} is not installed, so it was not measured." for name in missing]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.manual_seed(0)
    print_part("method_peers", describe, __doc__)
