"""Errors that people really made: what the queue finds, beside cleanlab in the same run.

Run: ``python -m benchmarks.real_errors --data DIR [--seeds 0,1,2] [--without-cnn] [SET ...]``,
where DIR (or the variable TRACIN_BENCHMARK_DATA) holds the sets named below; one that is missing is
skipped, and said so. cleanlab is in requirements-bench.txt.

Every project is made by the commands that a person types, ``import`` and ``train``, with default
options but for the seed. Beside its signals stand cleanlab's two scores (Northcutt et al. 2021,
arXiv:1911.00068; self-confidence and normalised margin) on out-of-fold probabilities of (a) a
logistic regression on the same features, fitted as people do to the train split, and once more with
the test split to learn from as well, which the suspicion does, and (b) what people have without any
features: a plain small convolutional network, or TF-IDF of single words with logistic regression.
True labels are read here alone; no command sees them.

- photos, photos_of_one: ``cifar10n_dev.npz``, labelled by a vote of three people, or by one.
- photos_without_weights: the first, with ``--features none``.
- news: ``noisy_ag_news.parquet``, headlines, the test split clean.
- reviews: ``imdb_dev.parquet``, film reviews, a part of whose errors is known.
- tickets: ``tickets.csv`` with ``tickets_truth.csv``, 500 short texts (five seeds).
- small: 240 photographs enlarged to 96 pixels, 27 labels flipped.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.own_data import DATA_VARIABLE, run_step
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.runs import current_run, stream_scores
from relabel.features.frozen import FeatureEncoder
from relabel.fitting.data import open_stored_rows
from relabel.fitting.stored import ProjectExamples, read_project
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import open_held_out
from relabel.text import SPLITS
from relabel.workspace import resolve_workspace

FOLDS = 5
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One data set as a project.

    Attributes:
        source: What is imported.
        options: Of the import.
        train_options: Of the training.
        truth: True class names or indices by the train examples' content (a text, or the bytes of
            a picture's pixels).
        features: What cleanlab's first column is computed on: "frozen" or "words".
        has_test: Whether the data says itself what is for testing; else the seed draws it.
    """

    source: Path
    options: tuple[str, ...]
    truth: Mapping[Any, int]
    train_options: tuple[str, ...] = ()
    features: str = "words"
    has_test: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one training found.

    Attributes:
        wrong: Which labels are wrong, shape ``(N,)``.
        signals: Scores by signal, shape ``(N,)``.
        peers: The same of cleanlab, by what it was computed on and how.
        suggested: Share of the wrong labels whose out-of-fold label is the true one.
        seconds: Of import and training.
        network: Name of the chosen network.
    """

    wrong: npt.NDArray[np.bool_]
    signals: Mapping[str, npt.NDArray[np.float64]]
    peers: Mapping[str, npt.NDArray[np.float64]]
    suggested: float
    seconds: float
    network: str


def run_task(
    task: Task, workspace: Path, seed: int, *, with_cnn: bool, with_peers: bool
) -> Outcome:
    """Import and train a data set, and measure what its signals find."""
    name = f"project{seed}"
    drawn = () if task.has_test else ("--seed", str(seed))
    steps = [
        run_step(workspace, "import", name, str(task.source), "--yes", *drawn, *task.options),
        run_step(workspace, "train", name, "--seed", str(seed), *task.train_options),
    ]
    place = resolve_workspace(str(workspace), None)
    engine = open_database(place.database_url)
    try:
        project = get_project(engine, name)
        run = current_run(engine, project.id)
        if run is None:
            raise RuntimeError(f"{name} has no run")
        examples = read_project(engine, project, place.media_folder(name), "given")
        train = examples.splits["train"]
        given = train.targets.astype(np.int64)
        truth = np.array([task.truth[_key(content)] for content in train.contents()])
        signals = {}
        for signal in run.signals:
            scores = np.empty(len(given))
            for one in stream_scores(engine, run, signal):
                scores[one.position] = one.score
            signals[signal] = scores
        folder = RunFolder(place.project_folder(name) / run.folder)
        held_out = open_held_out(folder.root, len(given), len(project.classes))
        said = (
            given
            if held_out is None
            else np.array([held_out.opinion(i, int(label)).label for i, label in enumerate(given)])
        )
        wrong = given != truth
        peers = (
            dict(_ask_cleanlab(task, place.project_folder(name), folder, examples, seed, with_cnn))
            if with_peers
            else {}
        )
    finally:
        engine.dispose()
    return Outcome(
        wrong=wrong,
        signals=signals,
        peers=peers,
        suggested=float((said == truth)[wrong].mean()),
        seconds=sum(step.wall for step in steps),
        network=str(run.config["model"]["name"]),
    )


def _key(content: Any) -> Any:
    """Return what a content is looked up by: a text itself, or a picture's pixels."""
    if isinstance(content, str):
        return content
    from relabel.features.image import read_image

    return np.asarray(read_image(content)).tobytes()


def _ask_cleanlab(
    task: Task,
    project_folder: Path,
    folder: RunFolder,
    examples: ProjectExamples,
    seed: int,
    with_cnn: bool,
) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Yield cleanlab's scores, high for suspects, by what its probabilities come from."""
    from cleanlab.rank import get_label_quality_scores

    train, test = examples.splits["train"], examples.splits["test"]
    labels, others = train.targets.astype(np.int64), test.targets.astype(np.int64)
    sources: dict[str, Callable[[], npt.NDArray[np.float64]]] = {}
    if task.features == "frozen":
        encoder = _read_encoder(folder)
        if encoder is not None:
            stored = open_stored_rows(project_folder, encoder, examples)
            rows, more = (_as_inputs(encoder, stored[split]) for split in SPLITS)
            sources |= _with_and_without_test(rows, labels, more, others, seed)
        if with_cnn:
            pictures = np.stack([np.frombuffer(_key(one), np.uint8) for one in train.contents()])
            sources["plain CNN"] = lambda: _cross_validate_cnn(pictures, labels, seed)
    else:
        texts = [str(one) for split in (train, test) for one in split.contents()]
        counts, count = _count(texts, 2), len(labels)
        sources |= _with_and_without_test(counts[:count], labels, counts[count:], others, seed)
        sources["TF-IDF"] = lambda: _cross_validate(_count(texts[:count], 1), labels, seed)
    for source, make in sources.items():
        probabilities = make()
        for method in ("self_confidence", "normalized_margin"):
            quality = get_label_quality_scores(labels, probabilities, method=method)
            yield f"cleanlab {method} ({source})", -np.asarray(quality, dtype=np.float64)


def _read_encoder(folder: RunFolder) -> FeatureEncoder | None:
    from relabel.features.encoding import encoder_from_json

    encoder = encoder_from_json(dict(folder.read_config().encoder))
    return encoder if isinstance(encoder, FeatureEncoder) else None


def _as_inputs(encoder: FeatureEncoder, rows: Any) -> npt.NDArray[np.float32]:
    import torch

    made: npt.NDArray[np.float32] = encoder.to_inputs(torch.from_numpy(np.array(rows))).numpy()
    return made


def _count(texts: list[str], longest: int) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, longest), min_df=2).fit_transform(texts)


def _with_and_without_test(
    rows: Any, labels: Labels, more: Any, others: Labels, seed: int
) -> dict[str, Callable[[], npt.NDArray[np.float64]]]:
    return {
        "same features": lambda: _cross_validate(rows, labels, seed),
        "same features, test split learned": lambda: _cross_validate(
            rows, labels, seed, (more, others)
        ),
    }


def _cross_validate(
    rows: Any, labels: Labels, seed: int, more: tuple[Any, Labels] | None = None
) -> npt.NDArray[np.float64]:
    """Return out-of-fold probabilities of a logistic regression; agreement chooses its penalty.

    Args:
        rows: Of the train split, shape ``(N, D)``.
        labels: Their given labels, shape ``(N,)``.
        seed: Of the folds.
        more: Rows and labels that every fold learns from as well.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.multiclass import OneVsRestClassifier

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    best: tuple[float, npt.NDArray[np.float64]] | None = None
    for strength in (1.0, 10.0):
        model: Any = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        if scipy.sparse.issparse(rows):  # for which liblinear takes seconds instead of minutes
            model = OneVsRestClassifier(LogisticRegression(C=strength, solver="liblinear"))
        found = np.zeros((len(labels), int(labels.max()) + 1))
        for learned, asked in folds.split(np.zeros(len(labels)), labels):
            known, targets = rows[learned], labels[learned]
            if more is not None:
                stack = scipy.sparse.vstack if scipy.sparse.issparse(rows) else np.concatenate
                known, targets = stack([known, more[0]]), np.concatenate([targets, more[1]])
            found[asked] = model.fit(known, targets).predict_proba(rows[asked])
        agreement = float((found.argmax(axis=1) == labels).mean())
        if best is None or agreement > best[0]:
            best = (agreement, found)
    if best is None:
        raise RuntimeError("no strength was tried")
    return best[1]


def _cross_validate_cnn(
    pictures: npt.NDArray[np.uint8], labels: Labels, seed: int
) -> npt.NDArray[np.float64]:
    """Return out-of-fold probabilities of a plain small convolutional network."""
    import torch
    from sklearn.model_selection import StratifiedKFold
    from torch import nn

    side = round((pictures.shape[1] / 3) ** 0.5)
    rows = torch.from_numpy(pictures.reshape(-1, side, side, 3)).permute(0, 3, 1, 2).float() / 255
    targets, count = torch.from_numpy(labels), int(labels.max()) + 1
    found = np.zeros((len(labels), count))
    for learned, asked in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(
        rows, labels
    ):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        layers += [nn.Linear(64 * (side // 4) ** 2, 128), nn.ReLU(), nn.Linear(128, count)]
        model = nn.Sequential(*layers)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(8):
            for chosen in torch.from_numpy(learned)[torch.randperm(len(learned))].split(64):
                loss = nn.functional.cross_entropy(model(rows[chosen]), targets[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.inference_mode():
            found[asked] = model(rows[asked]).softmax(dim=1).double().numpy()
    return found


# The data sets


def _make_photos(data: Path, work: Path, labels: str, *train_options: str) -> Task:
    found = np.load(data / "cifar10n_dev.npz")
    source = work / f"{labels}.npz"
    parts = {name: found[name] for name in ("x_train", "x_test", "y_test")}
    np.savez(source, y_train=found[labels], **parts)
    pixels = [picture.tobytes() for picture in found["x_train"]]
    truth = dict(zip(pixels, found["truth_train"].astype(int).tolist(), strict=True))
    return Task(
        source=source,
        options=(),
        truth=truth,
        features="frozen",
        train_options=train_options,
        has_test=True,
    )


def make_photos(data: Path, work: Path, seed: int) -> Task:
    """Photographs labelled by the vote of three people."""
    return _make_photos(data, work, "y_train_aggre")


def make_photos_of_one(data: Path, work: Path, seed: int) -> Task:
    """Photographs labelled by one person each."""
    return _make_photos(data, work, "y_train_random1")


def make_photos_without_weights(data: Path, work: Path, seed: int) -> Task:
    """The photographs of the vote, where no frozen network is at hand."""
    return _make_photos(data, work, "y_train_aggre", "--features", "none")


def make_news(data: Path, work: Path, seed: int) -> Task:
    """Headlines labelled by people; the test split carries the labels of the source."""
    import pandas as pd

    source = data / "noisy_ag_news.parquet"
    rows = pd.read_parquet(source)
    truth = dict(zip(rows["text"], rows["true_label"].astype(int), strict=True))
    columns = (
        "--text",
        "text",
        "--label",
        "given_label",
        "--classes",
        "World,Sports,Business,Sci/Tech",
    )
    splits = ("--split", "split", "--train-values", "noisy", "--test-values", "clean_test")
    return Task(source=source, options=(*columns, *splits), truth=truth, has_test=True)


def make_reviews(data: Path, work: Path, seed: int) -> Task:
    """Film reviews, of which a part was read again by five people."""
    import pandas as pd

    rows = pd.read_parquet(data / "imdb_dev.parquet")
    source = work / "reviews.csv"
    rows[["text", "label"]].to_csv(source, index=False)
    is_wrong = rows["real_error"].fillna(False).astype(bool)
    true = rows["label"].astype(int).where(~is_wrong, 1 - rows["label"].astype(int))
    return Task(source=source, options=(), truth=dict(zip(rows["text"], true, strict=True)))


def make_tickets(data: Path, work: Path, seed: int) -> Task:
    """Short texts of three teams."""
    import pandas as pd

    rows = pd.read_csv(data / "tickets.csv").merge(pd.read_csv(data / "tickets_truth.csv"), on="id")
    classes = sorted(rows["team"].unique())
    truth = {
        text: classes.index(team) for text, team in zip(rows["comment"], rows["truth"], strict=True)
    }
    return Task(
        source=data / "tickets.csv",
        options=("--text", "comment", "--label", "team", "--classes", ",".join(classes)),
        truth=truth,
    )


def make_small(data: Path, work: Path, seed: int) -> Task:
    """240 photographs of three classes, enlarged, with 27 labels flipped."""
    from PIL import Image

    found = np.load(data / "cifar10n_dev.npz")
    draw = np.random.default_rng(seed)
    truths = found["truth_train"].astype(int)
    pictures, labels = [], []
    for number, label in enumerate((0, 3, 8)):  # airplane, cat, ship
        for place in draw.choice(np.flatnonzero(truths == label), 80, replace=False):
            picture = Image.fromarray(found["x_train"][place]).resize(
                (96, 96), Image.Resampling.BICUBIC
            )
            pictures.append(picture)
            labels.append(number)
    given = np.array(labels)
    flipped = draw.choice(len(given), 27, replace=False)
    given[flipped] = (given[flipped] + draw.integers(1, 3, size=27)) % 3
    folder = work / f"small{seed}"
    folder.mkdir()
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "label"))
        for number, (picture, label) in enumerate(zip(pictures, given, strict=True)):
            picture.save(folder / f"{number:03d}.png")
            table.writerow((f"{number:03d}.png", "abc"[label]))
    truth = {np.asarray(p).tobytes(): label for p, label in zip(pictures, labels, strict=True)}
    options = ("--image", "image", "--label", "label", "--classes", "a,b,c")
    return Task(source=folder / "labels.csv", options=options, truth=truth, features="frozen")


SETS: dict[str, tuple[Callable[[Path, Path, int], Task], str]] = {
    "photos": (make_photos, "cifar10n_dev.npz"),
    "photos_of_one": (make_photos_of_one, "cifar10n_dev.npz"),
    "photos_without_weights": (make_photos_without_weights, "cifar10n_dev.npz"),
    "news": (make_news, "noisy_ag_news.parquet"),
    "reviews": (make_reviews, "imdb_dev.parquet"),
    "tickets": (make_tickets, "tickets.csv"),
    "small": (make_small, "cifar10n_dev.npz"),
}
# Sets that are so small that chance decides more, and that no peer is measured on.
SMALL_SETS = {"tickets": (5, 0.2), "small": (5, None)}


def measure(name: str, data: Path, seeds: list[int], *, with_cnn: bool) -> Iterator[str]:
    """Yield the table of one data set over some seeds, means with the spread."""
    make, _ = SETS[name]
    count, share = SMALL_SETS.get(name, (len(seeds), None))
    is_small = name in SMALL_SETS
    outcomes = []
    for seed in range(count) if is_small else seeds:
        with tempfile.TemporaryDirectory() as made:
            work = Path(made)
            task = make(data, work, seed)
            outcomes.append(
                run_task(
                    task,
                    work / "workspace",
                    seed,
                    with_cnn=with_cnn and seed == seeds[0] and name == "photos",
                    with_peers=not is_small and name != "photos_without_weights",
                )
            )
    wrong = ", ".join(f"{int(each.wrong.sum())} of {len(each.wrong):,}" for each in outcomes)
    networks = ", ".join(sorted({each.network for each in outcomes}))
    suggested = _spread([each.suggested for each in outcomes], percent=True)
    seconds = _spread([each.seconds for each in outcomes], digits=0)
    yield f"\n### {name}: {make.__doc__}\n"
    yield (
        f"Wrong labels: {wrong}. Network chosen: {networks}. The suggested label is right for "
        f"{suggested} of them. Import and training: {seconds} s.\n"
    )
    if is_small:
        yield from _describe_small(outcomes, share)
        return
    yield "| ranked by | average precision | AUROC |\n|---|--:|--:|"
    names = list(dict.fromkeys(key for each in outcomes for key in (*each.signals, *each.peers)))
    for key in names:
        having = [each for each in outcomes if key in each.signals or key in each.peers]
        scores = [each.signals.get(key, each.peers.get(key)) for each in having]
        precision = [
            float(average_precision_score(each.wrong, found))
            for each, found in zip(having, scores, strict=True)
        ]
        auroc = [
            float(roc_auc_score(each.wrong, found))
            for each, found in zip(having, scores, strict=True)
        ]
        yield f"| {key} | {_spread(precision)} | {_spread(auroc)} |"


def _describe_small(outcomes: list[Outcome], share: float | None) -> Iterator[str]:
    yield "| ranked by | errors found by seed | looked at |\n|---|---|--:|"
    for key in ("suspicion", "self_influence", "mean_margin"):
        found = []
        for each in outcomes:
            top = int(each.wrong.sum()) if share is None else round(share * len(each.wrong))
            first = np.argsort(-each.signals[key], kind="stable")[:top]
            found.append(f"{int(each.wrong[first].sum())}/{int(each.wrong.sum())}")
        yield f"| {key} | {', '.join(found)} | {top} |"


def _spread(values: list[float], *, digits: int = 3, percent: bool = False) -> str:
    """Return the mean with the least and the largest value."""
    shown = (lambda v: f"{v:.1%}") if percent else (lambda v: f"{v:.{digits}f}")
    if len(values) == 1:
        return shown(values[0])
    return f"{shown(float(np.mean(values)))} ({shown(min(values))} - {shown(max(values))})"


def main() -> int:
    """Measure what was asked for and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(SETS))
    parser.add_argument("--data", default=os.environ.get(DATA_VARIABLE), metavar="DIR")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--without-cnn", action="store_true", help="leave out the plain CNN")
    chosen = parser.parse_args()
    if not chosen.data:
        print(f"Say where the data lie: --data DIR, or the variable {DATA_VARIABLE}.")
        return 2
    if unknown := [name for name in chosen.sets if name not in SETS]:
        print(f"There is no set {unknown[0]!r}; expected some of {', '.join(SETS)}.")
        return 2
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    for name in chosen.sets or SETS:
        data = Path(chosen.data)
        if not (data / SETS[name][1]).exists():
            print(f"\n{name} is skipped: there is no {SETS[name][1]} in {data}.")
            continue
        began = time.perf_counter()
        for line in measure(name, data, seeds, with_cnn=not chosen.without_cnn):
            print(line, flush=True)
        print(f"\n({time.perf_counter() - began:.0f} s)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
