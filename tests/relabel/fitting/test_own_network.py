"""A person's own checkpoints are looked at, chosen, copied and scored."""

from __future__ import annotations

import json
import math
import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from relabel.errors import NotFoundError
from relabel.fitting.data import SplitSource
from relabel.fitting.network import TrainedNetwork, open_network
from relabel.fitting.options import WorkOptions
from relabel.fitting.user_checkpoints import check_network, check_trainable, spread_evenly
from relabel.fitting.user_inputs import OwnExamples
from relabel.fitting.user_network import network_from_checkpoints
from relabel.models.user.config import describe_own_model
from relabel.models.user.inputs import OwnEncoder
from relabel.models.user.load import load_own_model
from relabel.runs.folder import digest_example, stack_digests
from relabel.scoring.run import ScoredRun, score_run
from relabel.training.config import TrainingConfig
from relabel.training.loop import train
from relabel.triage.new_example import score_new_example
from relabel.triage.signals import compute_signals
from tracin_core import Checkpoint, TracIn
from tracin_core.errors import CheckpointError, ConfigurationError

CLASSES = ("cold", "warm")
WORDS = ("ice", "snow", "sun", "fire")
BAG = """
    import torch
    from torch import nn
    from tracin_core import OwnModel
    WORDS = ("ice", "snow", "sun", "fire")
    def bag(text):
        return torch.tensor([float(text.split().count(word)) for word in WORDS])
    def build(num_classes):
        return OwnModel(nn.Linear(4, num_classes), bag)
"""


class ListedContents:
    """Contents in memory as a source."""

    def __init__(self, contents) -> None:
        self._contents = contents

    def read(self, positions):
        """Yield the contents at some positions."""
        return (self._contents[position] for position in positions)


def make_texts(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    words = [rng.choice(WORDS[2:] if label else WORDS[:2], 3) for label in labels]
    return [" ".join(chosen) for chosen in words], labels


def bag(texts: list[str]) -> Tensor:
    return torch.tensor([[float(t.split().count(word)) for word in WORDS] for t in texts])


def train_linear(folder: Path, *, epochs=6, start=0.0, recorded=True) -> None:
    """Save a checkpoint before the training, where all outputs are alike, and one an epoch."""
    texts, labels = make_texts(60, 0)
    model = nn.Linear(4, 2)
    nn.init.constant_(model.weight, start)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in range(epochs + 1):
        content: dict[str, Any] = {"model": model.state_dict(), "step": 10 * epoch}
        if recorded:
            content["optimizer"] = optimizer.state_dict()
        torch.save(content, folder / f"epoch{epoch}.pt")
        loss = nn.functional.cross_entropy(model(bag(texts)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Case:
    """A project's examples, a model file and a folder for the checkpoints."""

    def __init__(self, root: Path, source: str = BAG, **options: Any) -> None:
        self.root = root
        self.file = root / "net.py"
        self.file.write_text(textwrap.dedent(source))
        self.saved = root / "saved"
        self.contents: dict[str, list[Any]] = {}
        self.targets: dict[str, np.ndarray] = {}
        for split, count, seed in (("train", 60, 0), ("test", 30, 1)):
            self.contents[split], self.targets[split] = make_texts(count, seed)
        self.described = {"kind": "text", "classes": CLASSES} | options

    def open(self, **options: Any) -> TrainedNetwork:
        config = describe_own_model(f"{self.file}:build", **self.described)
        self.encoder = OwnEncoder(load_own_model(config, run_my_code=True), config)
        self.examples = {
            split: OwnExamples(self.encoder, ListedContents(c), self.targets[split])
            for split, c in self.contents.items()
        }
        return network_from_checkpoints(
            self.root / "own",
            self.encoder,
            self.examples,
            WorkOptions(checkpoints=str(self.saved), **options),
            data_hash="data",
        )

    def open_and_check(self) -> None:
        config = describe_own_model(f"{self.file}:build", **self.described)
        encoder = OwnEncoder(load_own_model(config, run_my_code=True), config)
        source = ListedContents(self.contents["train"])
        check_trainable(encoder, OwnExamples(encoder, source, self.targets["train"]))

    def score(self, network: TrainedNetwork, **options: Any) -> ScoredRun:
        sources = [
            SplitSource(
                split=split,
                examples=self.examples[split],
                digests=stack_digests(
                    digest_example(t, str(c))
                    for t, c in zip(self.targets[split].tolist(), contents, strict=True)
                ),
            )
            for split, contents in self.contents.items()
        ]
        return score_run(self.root / "runs", network, sources, data_hash="data", **options)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    made = Case(tmp_path)
    train_linear(made.saved)
    return made


# Choice.


def test_all_that_beat_guessing_are_used_where_they_are_few(case: Case):
    network = case.open()
    # The checkpoint from before the training says the same class to everything.
    assert [entry.step for entry in network.checkpoints] == [10, 20, 30, 40, 50, 60]
    assert all("guessing reaches" in entry.reason for entry in network.checkpoints)
    assert all(entry.learning_rate == 0.1 for entry in network.checkpoints)
    assert [entry.test_accuracy for entry in network.checkpoints] == [1.0] * 6


def test_of_more_those_on_the_way_down_are_chosen_and_the_curve_shows_all(case: Case):
    network = case.open(num_checkpoints=3)
    steps = [entry.step for entry in network.checkpoints]
    assert steps[0] == 10
    assert steps[-1] == 60
    assert len(steps) == 3
    assert "of the way down" in network.checkpoints[1].reason
    assert [epoch["step"] for epoch in network.epochs] == [0, 10, 20, 30, 40, 50, 60]
    losses = [epoch["train_loss"] for epoch in network.epochs]
    assert losses == sorted(losses, reverse=True)


def test_measures_are_the_models_own(case: Case):
    network = case.open()
    model = nn.Linear(4, 2)
    for entry in network.checkpoints:
        model.load_state_dict(
            torch.load(case.saved / f"epoch{entry.step // 10}.pt", weights_only=True)["model"]
        )
        for split, loss in (("train", entry.train_loss), ("test", entry.test_loss)):
            targets = torch.from_numpy(case.targets[split])
            expected = nn.functional.cross_entropy(model(bag(case.contents[split])), targets)
            assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_person_may_choose_the_steps(case: Case):
    network = case.open(steps=(0, 30))
    assert [entry.step for entry in network.checkpoints] == [0, 30]
    assert network.checkpoints[0].reason.startswith("Chosen by a person; train loss 0.693")
    with pytest.raises(NotFoundError, match=r"step 35.*0, 10, 20"):
        case.open(steps=(35,))


def test_a_network_that_has_learned_nothing_is_refused_with_the_usual_causes(case: Case):
    case.file.write_text(case.file.read_text().replace("text.split()", "text.split('-')"))
    with pytest.raises(ConfigurationError, match=r"guessing.*classes=.*transform.*--steps"):
        case.open()
    assert [entry.step for entry in case.open(steps=(10,)).checkpoints] == [10]


def test_a_person_may_say_what_the_last_layer_is(case: Case):
    assert case.open().last_layer == ()
    source = case.file.read_text()
    case.file.write_text(source.replace(", bag)", ", bag, last_layer='')"))
    assert case.open().last_layer == ("",)
    case.file.write_text(source.replace(", bag)", ", bag, last_layer=['head'])"))
    with pytest.raises(ConfigurationError, match="last_layer='head', which is no part"):
        case.open()


def test_an_order_of_classes_that_was_not_said_is_found_out(case: Case):
    case.described["classes"] = CLASSES[::-1]
    case.targets = {split: 1 - labels for split, labels in case.targets.items()}
    with pytest.raises(ConfigurationError, match=r"another order of classes"):
        case.open()
    source = case.file.read_text().replace(", bag)", ", bag, classes=['cold', 'warm'])")
    case.file.write_text(source)
    assert case.open().checkpoints[-1].test_accuracy == 1.0


def test_a_sample_of_very_many_checkpoints_is_looked_at():
    assert spread_evenly(5, 40) == [0, 1, 2, 3, 4]
    assert spread_evenly(1000, 3) == [0, 500, 999]
    many = spread_evenly(977, 40)
    assert (len(many), many[0], many[-1]) == (40, 0, 976)


# Copies.


def test_the_checkpoints_are_copied_and_found_again(case: Case):
    network = case.open()
    before = {entry.file: (network.folder / entry.file).stat() for entry in network.checkpoints}
    again = case.open()
    assert again.checkpoints == network.checkpoints
    assert before == {file: (again.folder / file).stat() for file in before}
    kept = torch.load(network.folder / network.checkpoints[0].file, weights_only=True)
    assert sorted(kept) == ["learning_rate", "state_dict", "step"]  # and no optimizer


def test_a_checkpoint_that_was_written_again_is_read_again(case: Case):
    case.open()
    (first,) = (case.root / "own").iterdir()
    train_linear(case.saved, start=0.5)
    os.utime(case.saved / "epoch1.pt", (1, 1))
    weights = case.open().checkpoints[0]
    assert weights.train_loss is not None
    kept = torch.load(case.open().folder / weights.file, weights_only=True)["state_dict"]
    assert float(kept["weight"].sum()) == pytest.approx(4.0, abs=1e-5)  # 8 weights of 0.5
    assert not first.exists()  # runs hold links of their own


def test_rates_that_are_not_recorded_are_needed_for_recorded_rates_only(tmp_path: Path):
    case = Case(tmp_path)
    train_linear(case.saved, recorded=False)
    network = case.open()
    assert [entry.learning_rate for entry in network.checkpoints] == [None] * 6
    with pytest.raises(CheckpointError, match=r"--learning-rate-of-checkpoints 0\.1"):
        case.open(rates="recorded")
    given = case.open(rates="recorded", learning_rate_of_checkpoints=0.2)
    assert [entry.learning_rate for entry in given.checkpoints] == [0.2] * 6


def test_different_rates_of_parameter_groups_reach_the_scores(tmp_path: Path):
    case = Case(tmp_path)
    train_linear(case.saved, epochs=1)
    content = torch.load(case.saved / "epoch1.pt", weights_only=True)
    names = ("weight", "bias")
    groups = [{"lr": r, "params": [i]} for i, r in enumerate((0.5, 0.25))]
    for index, group in enumerate(groups):
        group["param_names"] = [names[index]]
    content["optimizer"] = {"state": {}, "param_groups": groups}
    torch.save(content, case.saved / "epoch1.pt")
    network = case.open(rates="recorded")
    assert [entry.learning_rate for entry in network.checkpoints] == [None]
    (copied,) = network.checkpoints
    kept = TracIn(network.model, [Checkpoint(network.folder / copied.file)])
    assert kept.rates == [{"weight": 0.5, "bias": 0.25}]


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(case: Case):
    trace = case.root / "ran"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    content = torch.load(case.saved / "epoch2.pt", weights_only=True)
    torch.save(content | {"epoch": Hostile()}, case.saved / "epoch2.pt")
    with pytest.raises(CheckpointError, match=r"epoch2\.pt .*would run"):
        case.open()
    assert not trace.exists()


# Mistakes.


@pytest.mark.parametrize("kept", [0, 900])
def test_a_checkpoint_that_is_still_being_written_is_told(case: Case, kept: int):
    os.truncate(case.saved / "epoch6.pt", kept)
    with pytest.raises(CheckpointError, match=r"epoch6\.pt is not whole.*move it out"):
        case.open()
    assert not (case.root / "own").exists()


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf])
def test_a_rate_that_can_be_none_is_refused_before_anything_is_copied(case: Case, rate: float):
    with pytest.raises(ConfigurationError, match="--learning-rate-of-checkpoints"):
        case.open(rates="recorded", learning_rate_of_checkpoints=rate)
    assert not (case.root / "own").exists()


def test_a_training_that_had_diverged_is_told(case: Case):
    for path in case.saved.iterdir():
        content = torch.load(path, weights_only=True)
        content["model"]["bias"].fill_(math.nan)
        torch.save(content, path)
    with pytest.raises(ConfigurationError, match=r"not finite at every checkpoint.*diverged"):
        case.open()


def test_a_network_without_gradients_is_refused_before_its_training(case: Case):
    source = case.file.read_text() + textwrap.dedent(
        """
        class Still(nn.Linear):
            def forward(self, inputs):
                return super().forward(inputs).detach()
        def build():
            return OwnModel(Still(4, 2), bag)
        """
    )
    case.file.write_text(source)
    with pytest.raises(ConfigurationError, match=r"no weight that has a gradient"):
        case.open_and_check()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("nn.Linear(4, num_classes)", "nn.Linear(5, num_classes)"), "does not fit the model"),
        (("nn.Linear(4, num_classes)", "nn.Linear(4, 2).eval"), "expected a network"),
        (("in WORDS]", "in WORDS[:3]]"), r"mat1 and mat2.*for an input of \(60, 3\) float32"),
        (("float(", "str("), "The transform"),
    ],
)
def test_what_does_not_fit_is_explained(case: Case, change: tuple[str, str], found: str):
    case.file.write_text(case.file.read_text().replace(*change))
    with pytest.raises((CheckpointError, ConfigurationError), match=found):
        case.open()


def test_outputs_for_other_classes_are_refused(case: Case):
    case.described["classes"] = (*CLASSES, "mild")
    case.file.write_text(case.file.read_text().replace("num_classes)", "2)").replace("(2)", "()"))
    with pytest.raises(ConfigurationError, match=r"\(60, 2\).*expected \(60, 3\)"):
        case.open()


def test_an_error_of_the_forward_pass_names_its_line(case: Case):
    source = """
    class Net(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs)["logits"]
    def build():
        return OwnModel(Net(4, 2), bag)
    """
    case.file.write_text(case.file.read_text() + textwrap.dedent(source))
    with pytest.raises(ConfigurationError, match=r"net\.py, line 13: return super"):
        case.open()


def test_a_loss_of_the_wrong_shape_is_refused(case: Case):
    source = case.file.read_text().replace(", bag)", ", bag, loss=nn.functional.cross_entropy)")
    case.file.write_text(source)
    with pytest.raises(ConfigurationError, match=r"one number for each example"):
        case.open()


# Scores.


def test_the_run_holds_what_the_engine_computes_on_the_same_tensors(case: Case):
    network = case.open()
    folder = case.score(network).folder
    checkpoints = [Checkpoint(case.saved / f"epoch{n}.pt") for n in range(1, 7)]
    inputs = bag(case.contents["train"])
    dataset = TensorDataset(inputs, torch.from_numpy(case.targets["train"]))
    expected = TracIn(nn.Linear(4, 2), checkpoints, rates="ones").capture(dataset)
    signals = folder.read_all_signals("train")
    np.testing.assert_allclose(
        signals.scores["self_influence_all"], expected.squared_norms_all.numpy(), rtol=1e-5
    )
    np.testing.assert_allclose(signals.loss, expected.losses.numpy(), rtol=1e-5)
    config = folder.read_config()
    assert config.model["name"] == "own"
    assert [epoch["step"] for epoch in config.epochs] == [0, 10, 20, 30, 40, 50, 60]
    means = signals.loss.mean(axis=1)
    assert [entry.train_loss for entry in config.checkpoints] == pytest.approx(means, rel=1e-4)


def test_a_stored_run_opens_again_with_consent_only(case: Case):
    folder = case.score(case.open()).folder
    with pytest.raises(ConfigurationError, match="--run-my-code"):
        open_network(folder)
    network = open_network(folder, run_my_code=True)
    assert torch.equal(network.encoder.encode("ice sun ice"), torch.tensor([2.0, 0, 1, 0]))
    case.file.write_text(case.file.read_text() + "\n")
    with pytest.raises(ConfigurationError, match="has changed since"):
        open_network(folder, run_my_code=True)


def test_a_new_example_is_explained_with_consent_only(case: Case):
    folder = case.score(case.open()).folder
    scored = score_new_example(folder.root, text="sun fire ice", run_my_code=True)
    with torch.no_grad():
        last = torch.load(case.saved / "epoch6.pt", weights_only=True)["model"]
        logits = bag(["sun fire ice"]) @ last["weight"].T + last["bias"]
    np.testing.assert_allclose(scored.probabilities, logits.softmax(1)[0].numpy(), rtol=1e-4)
    with pytest.raises(ConfigurationError, match="--run-my-code"):
        score_new_example(folder.root, text="sun fire ice")  # though it is in memory


def test_a_loss_of_the_persons_own_is_what_is_differentiated(case: Case):
    own = "loss=lambda outputs, targets: 2 * nn.functional.cross_entropy(outputs, targets, "
    plain = case.score(case.open()).folder.read_all_signals("train")
    source = case.file.read_text().replace(", bag)", f", bag, {own}reduction='none'))")
    case.file.write_text(source)
    doubled = case.score(case.open()).folder.read_all_signals("train")
    np.testing.assert_allclose(doubled.loss, 2 * plain.loss, rtol=1e-5)
    np.testing.assert_allclose(
        doubled.scores["self_influence_all"], 4 * plain.scores["self_influence_all"], rtol=1e-5
    )


@pytest.mark.parametrize("structure", ["tuple", "dict"])
def test_inputs_of_several_tensors_score_like_one(case: Case, structure: str):
    plain = case.score(case.open()).folder.read_all_signals("train")
    parts = {"tuple": "(x[:2], x[2:])", "dict": "{'cold': x[:2], 'warm': x[2:]}"}[structure]
    source = f"""
    class Net(nn.Linear):
        def forward(self, cold, warm):
            return super().forward(torch.cat([cold, warm], 1))
    def cut(text):
        x = bag(text)
        return {parts}
    def build():
        return OwnModel(Net(4, 2), cut)
    """
    case.file.write_text(case.file.read_text() + textwrap.dedent(source))
    several = case.score(case.open()).folder.read_all_signals("train")
    np.testing.assert_allclose(
        several.scores["self_influence_all"], plain.scores["self_influence_all"], rtol=1e-5
    )


def test_a_network_that_takes_its_inputs_by_name_can_be_trained_here(case: Case):
    source = """
    class Net(nn.Linear):
        def forward(self, words):
            return super().forward(words)
    def build():
        return OwnModel(Net(4, 2), lambda text: {"words": bag(text)})
    """
    case.file.write_text(case.file.read_text() + textwrap.dedent(source))
    case.open(steps=(0,))
    model = case.encoder.own.model
    check_network(case.encoder, case.examples["train"])
    config = TrainingConfig(epochs=3, device="cpu", learning_rate=0.2, num_threads=1)
    train(model, case.examples["train"], case.examples["test"], config, case.root / "training")
    predicted = model(bag(case.contents["test"])).argmax(1)
    assert (predicted.numpy() == case.targets["test"]).mean() > 0.9


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("outputs.logsumexp(1) / len(targets)", "examples and .* alone. Expected a number that"),
        ("outputs.logsumexp(1).detach()", "without a gradient"),
    ],
)
def test_a_loss_of_no_single_example_is_refused_before(case: Case, loss: str, message: str):
    case.open_and_check()
    source = case.file.read_text().replace(
        ", bag)", f", bag, loss=lambda outputs, targets: {loss})"
    )
    case.file.write_text(source)
    with pytest.raises(ConfigurationError, match=message):
        case.open_and_check()


def test_a_network_that_cannot_be_trained_is_refused_before(case: Case):
    case.open()
    source = case.file.read_text().replace("in WORDS]", "in WORDS[:3]]")
    case.file.write_text(source)
    with pytest.raises(ConfigurationError, match=r"for an input of \(3, 3\)"):
        case.open_and_check()


def test_unknown_rates_leave_out_the_ranking_that_needs_them(tmp_path: Path):
    case = Case(tmp_path)
    train_linear(case.saved, recorded=False)
    folder = case.score(case.open()).folder
    rates = [entry.learning_rate for entry in folder.read_config().checkpoints]
    names = set(compute_signals(folder.read_all_signals("train"), rates))
    assert "self_influence_recorded" not in names
    assert "self_influence" in names


def test_one_logit_for_two_classes_is_scored(tmp_path: Path):
    source = BAG.replace("nn.Linear(4, num_classes), bag", "nn.Linear(4, 1), bag, BCE")
    case = Case(
        tmp_path, source.replace("WORDS = (", "BCE = 'binary_cross_entropy'\n    WORDS = (")
    )
    case.saved.mkdir()
    weights = {"weight": torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), "bias": torch.zeros(1)}
    torch.save(weights, case.saved / "step1.pt")
    network = case.open()
    assert network.checkpoints[0].test_accuracy == 1.0
    folder = case.score(network).folder
    assert folder.probabilities("train").shape == (60, 2)
    predicted = folder.read_all_signals("train").predicted[-1]
    np.testing.assert_array_equal(predicted, case.targets["train"])


# Numbers as targets, rows as examples.


def test_a_regression_on_rows_is_scored_in_the_persons_unit(tmp_path: Path):
    source = """
        import torch
        from torch import nn
        from tracin_core import OwnModel
        def build():
            return OwnModel(nn.Linear(1, 1), lambda row: torch.tensor([row["size"]]),
                            target_mean=100.0, target_std=10.0)
    """
    case = Case(tmp_path, source, kind="table", task="regression", classes=())
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 20)):
        sizes = rng.normal(size=count)
        case.contents[split] = [{"size": float(size)} for size in sizes]
        case.targets[split] = 100.0 + 10.0 * (2.0 * sizes + 0.1 * rng.normal(size=count))
    case.saved.mkdir()
    for step, weight in ((1, 0.0), (2, 1.0), (3, 2.0)):
        state = {"weight": torch.tensor([[weight]]), "bias": torch.zeros(1)}
        torch.save(state, case.saved / f"step{step}.pt")
    network = case.open()
    assert [entry.step for entry in network.checkpoints] == [2, 3]  # the first is the mean
    assert network.checkpoints[-1].test_rmse == pytest.approx(1.0, rel=0.4)
    assert network.checkpoints[-1].test_r2 > 0.99
    assert (network.loss, network.target_scale.mean, network.target_scale.std) == ("mse", 100, 10)
    folder = case.score(network).folder
    residuals = (case.targets["train"] - 100) / 10 - 2 * np.array(
        [row["size"] for row in case.contents["train"]]
    )
    np.testing.assert_allclose(
        folder.read_all_signals("train").loss[-1], residuals**2, rtol=1e-3, atol=1e-6
    )


def test_batches_come_in_the_order_that_was_asked_for(case: Case):
    case.open()
    inputs, targets = case.examples["train"].read_batch(torch.tensor([7, 2, 7]))
    texts = [case.contents["train"][index] for index in (7, 2, 7)]
    assert torch.equal(inputs, bag(texts))
    assert targets.tolist() == case.targets["train"][[7, 2, 7]].tolist()


def test_examples_that_were_left_out_are_not_read(case: Case):
    case.open()
    chosen = np.array([1, 4, 9])
    contents = ListedContents(case.contents["train"])
    part = OwnExamples(case.encoder, contents, case.targets["train"], chosen=chosen)
    assert len(part) == 3
    inputs, targets = part.read_batch(torch.arange(3))
    assert torch.equal(inputs, bag([case.contents["train"][index] for index in chosen]))
    assert torch.equal(part[2][0], inputs[2])
    assert targets.tolist() == case.targets["train"][chosen].tolist()


def test_what_is_kept_is_plain_json(case: Case):
    network = case.open()
    saved = json.loads((network.folder / "own.json").read_text())
    assert saved["training"]["num_found"] == 7
    assert len(saved["epochs"]) == 7
