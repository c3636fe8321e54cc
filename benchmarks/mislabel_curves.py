"""How fast each method finds planted errors: four data sets, 10% wrong, three seeds.

    python -m benchmarks.mislabel_curves [--only digits ...] [--write]

Fashion-MNIST and California housing are read from the folder that TRACIN_BENCHMARK_DATA names, and
skipped without. ``--write`` puts tables into docs/methods.md and pictures into docs/pictures.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.method_page import PAGE
from benchmarks.mislabel_subjects import EPOCHS, HIDDEN, NEED_FOLDER, READERS, Subject, train
from benchmarks.own_data import DATA_VARIABLE
from benchmarks.report import fill
from relabel.comparison.curves import CurveBand, MislabelCurve, join_seeds, trace_curve
from relabel.comparison.figures import rank_curves
from relabel.comparison.pictures import picture_curves
from relabel.scoring.evaluate import INSPECTED_SHARES
from relabel.worth.report.drawing import make_svg
from tracin_core import AttributionSetup, Checkpoint, TracIn, get_method

SHARE, SEEDS = 0.1, (0, 1, 2)
PICTURES = PAGE.parent / "pictures"
TABLE_SHARES = (0.1, 0.2, 0.3)


def score_methods(
    subject: Subject, given: Tensor, model: nn.Sequential, checkpoints: list[Checkpoint], seed: int
) -> dict[str, Tensor]:
    """Return every method's scores of the train examples, high for suspects."""
    examples = TensorDataset(subject.inputs, given)
    loss: Any = "cross_entropy" if subject.num_classes else "mse"

    def ask(
        name: str, chosen: Any = checkpoints, rates: Any = "recorded", **options: Any
    ) -> Tensor:
        tracin = TracIn(model, chosen, loss, device="cpu", batch_size=256, rates=rates)
        setup = AttributionSetup(tracin=tracin, rates=rates, options=options)
        found = get_method(name).make(setup).scores(examples)
        return next(iter(found.values())).double()

    scores = {
        "TracIn, equal rates": ask("tracincp", rates="ones"),
        "TracIn, recorded rates": ask("tracincp"),
        "TracIn, last checkpoint": ask("tracincp", checkpoints[-1:]),
        "influence functions": ask("influence_functions"),
    }
    model.load_state_dict(checkpoints[-1].weights)
    with torch.no_grad():
        outputs = model(subject.inputs)
    if subject.num_classes:
        scores["representer points"] = ask("representer")
        scores["loss"] = F.cross_entropy(outputs, given, reduction="none")
        shares = outputs.softmax(1)
        own = shares.gather(1, given[:, None])[:, 0]
        scores["margin"] = shares.scatter(1, given[:, None], -1.0).amax(1) - own
    else:
        scores["loss"] = (outputs - given).square().mean(1)
    scores["random"] = torch.rand(len(given), generator=torch.Generator().manual_seed(seed))
    return scores


def measure(subject: Subject) -> dict[str, list[MislabelCurve]]:
    """Return each method's curves, one a seed."""
    curves: dict[str, list[MislabelCurve]] = {}
    for seed in SEEDS:
        given, wrong = subject.plant(SHARE, seed)
        model, checkpoints = train(subject, given, seed)
        for name, scores in score_methods(subject, given, model, checkpoints, seed).items():
            curves.setdefault(name, []).append(trace_curve(scores.numpy(), wrong))
    return curves


def describe_curves(curves: dict[str, list[MislabelCurve]], bands: dict[str, CurveBand]) -> str:
    """Return the table of what is found after a tenth, two and three tenths, best area first."""
    lines = [
        "| method | 10% inspected | 20% | 30% | area under the curve |",
        "|---|--:|--:|--:|--:|",
    ]
    places = [INSPECTED_SHARES.index(share) for share in TABLE_SHARES]
    for name, _ in rank_curves(bands):
        cells = []
        for place in places:
            values = [curve.found_at[place] for curve in curves[name]]
            cells.append(f"{np.mean(values):.0%} ({min(values):.0%} to {max(values):.0%})")
        areas = [curve.area for curve in curves[name]]
        cells.append(f"{np.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tell_best(title: str, bands: dict[str, CurveBand]) -> str:
    """Return the sentence of what a picture says."""
    ranked = [(name, band.mean.found_at[1], band.mean.area) for name, band in bands.items()]
    first = max(ranked, key=lambda entry: entry[1])
    usual = next(entry for entry in ranked if entry[0] == "TracIn, equal rates")
    told = f"On {title} **{first[0]}** finds most after a tenth, {first[1]:.0%}"
    if first[0] == usual[0]:
        second = max((e for e in ranked if e[0] != first[0]), key=lambda entry: entry[1])
        return f"{told}; the next is {second[0]} with {second[1]:.0%}."
    return f"{told}; TracIn with equal rates, the usual score, finds {usual[1]:.0%}."


def describe(names: list[str], *, draws: bool) -> str:
    """Return the tables as Markdown, and write the pictures if asked."""
    folder = Path(os.environ[DATA_VARIABLE]) if DATA_VARIABLE in os.environ else None
    parts = [
        "`python -m benchmarks.mislabel_curves`: "
        f"{SHARE:.0%} of the targets planted wrong, {len(SEEDS)} seeds of errors and network, "
        f"{HIDDEN} hidden units, {EPOCHS} epochs of plain SGD whose rate falls to a tenth for the "
        "last third, six checkpoints, one thread. Wrong targets found, mean and range over the "
        "seeds. TracIn takes all layers, influence functions the last with damping 0.01; loss and "
        "margin are those of the last checkpoint."
    ]
    for name in names:
        if folder is None and name in NEED_FOLDER:
            parts.append(f"{name} was skipped: {DATA_VARIABLE} does not name its folder.")
            continue
        began = time.process_time()
        subject = READERS[name](folder)
        curves = measure(subject)
        bands = {title: join_seeds(found) for title, found in curves.items()}
        seconds = time.process_time() - began
        parts.append(f"**{subject.title}**, {len(subject.inputs):,} examples ({seconds:.0f} s):")
        parts.append(tell_best(subject.title, bands))
        shown = {title: band for title, band in bands.items() if title != "random"}
        parts.append(f"![Mislabel curves of {subject.title}](pictures/mislabel-{name}.svg)")
        parts.append(describe_curves(curves, bands))
        if draws:
            PICTURES.mkdir(exist_ok=True)
            drawn = make_svg(picture_curves(shown), on_white=True)
            (PICTURES / f"mislabel-{name}.svg").write_text(drawn, encoding="utf-8")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Print the tables, and put them and the pictures into the documents if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(READERS), choices=list(READERS))
    parser.add_argument("--write", action="store_true", help="put them into docs/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    text = describe(options.only, draws=options.write)
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(fill(page, "mislabel_curves", text), encoding="utf-8")


if __name__ == "__main__":
    main()
