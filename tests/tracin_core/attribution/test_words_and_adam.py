"""TracIn on words and with Adam's steps agree with one example at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from tests import oracles
from tests.oracles import EXACT
from tests.tracin_core.curvature import small
from tracin_core import AttributionSetup, Checkpoint, Projection, TracIn, get_method
from tracin_core.errors import CheckpointError, ConfigurationError

RATES = (0.5, 0.25)


class Texts(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, tokens):
        return self.out(self.words(tokens).mean(1).tanh())


def make_texts(count, seed):
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(7, (count, 3), generator=draw)
    return TensorDataset(tokens, torch.randint(3, (count,), generator=draw))


def make_words(model=None, **options):
    torch.manual_seed(0)
    model = (model or Texts()).double()
    checkpoints = [
        Checkpoint({name: value * scale for name, value in model.state_dict().items()}, rate)
        for scale, rate in zip((1.0, 1.5), RATES, strict=True)
    ]
    tracin = TracIn(model, checkpoints, device="cpu")
    return get_method("word_gradients").make(AttributionSetup(tracin=tracin, options=options))


def _entropy(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="none")


def test_only_embedding_gradients_count_and_sum_over_shared_words():
    train, test = make_texts(5, 1), make_texts(3, 2)
    method = make_words()
    tracin = method._setup.tracin
    expected = oracles.influence(
        tracin.model, tracin.checkpoints, train, test, _entropy, ["words.weight"]
    )
    torch.testing.assert_close(method.influence(train, test), expected, **EXACT)
    itself = oracles.influence(
        tracin.model, tracin.checkpoints, train, train, _entropy, ["words.weight"]
    ).diagonal()
    torch.testing.assert_close(method.scores(train)["self_influence_words"], itself, **EXACT)
    for n in range(5):
        for m in range(3):
            pair = [
                TensorDataset(*(t[at : at + 1] for t in part.tensors))
                for part, at in ((train, n), (test, m))
            ]
            parts = method.influence_by_word(*pair)["words.weight"]
            torch.testing.assert_close(parts.sum(), expected[n, m], **EXACT)
            shared = {*train[n][0].tolist()} & {*test[m][0].tolist()}
            assert {int(word) for word in parts.nonzero()} <= shared


def test_a_network_without_words_is_refused():
    with pytest.raises(ConfigurationError, match="no embedding layer"):
        make_words(small.make_model()).scores(small.make_examples(3, 1))
    with pytest.raises(ConfigurationError, match="the option 'layers'"):
        make_words(layers="all")


def test_several_examples_have_no_words_of_one_pair():
    texts = make_texts(2, 1)
    with pytest.raises(ConfigurationError, match="2 train and 2 test"):
        make_words().influence_by_word(texts, texts)


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw by names": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "centred rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}


def train_steps(optimizer, model, train, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(train.tensors[0]), train.tensors[1]).backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("layers", ["last", "all"])
def test_gradients_are_divided_as_the_optimizer_divides_them(name, layers, tmp_path):
    train, test = small.make_examples(9, 1), small.make_examples(4, 2)
    model = small.make_model()
    by_names = name.endswith("names")
    optimizer = OPTIMIZERS[name](model.named_parameters() if by_names else model.parameters())
    train_steps(optimizer, model, train)
    path = tmp_path / "model.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    tracin = TracIn(model, Checkpoint(path, 0.5), device="cpu", batch_size=4)
    setup = AttributionSetup(tracin=tracin, options={"layers": layers})
    method = get_method("tracin_adam").make(setup)
    # The step that the optimizer itself makes on a gradient g without its momentum: of RMSprop
    # and Adagrad exactly rate * g / (sqrt(v) + eps).
    names = small.name_parameters(model, layers)
    scale = []
    for parameter in [model.get_parameter(key) for key in names]:
        state = optimizer.state[parameter]
        if "exp_avg_sq" in state:
            squares = state["exp_avg_sq"] / (1 - 0.999**3)
        elif "square_avg" in state:
            squares = state["square_avg"] - state.get("grad_avg", torch.zeros(())).square()
        else:
            squares = state["sum"]
        scale.append((1 / (squares.sqrt() + optimizer.defaults["eps"])).flatten())
    scale = torch.cat(scale)
    left = small.gradients(model, train, "cross_entropy", names)
    right = small.gradients(model, test, "cross_entropy", names)
    expected = 0.5 * (left * scale) @ right.T
    torch.testing.assert_close(method.influence(train, test), expected, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(
        method.scores(train)["self_influence_adam"],
        0.5 * (left.square() @ scale),
        rtol=1e-7,
        atol=1e-9,
    )
    assert method.vectors(train, Projection(dim=8)).shape == (9, 8)


def test_a_checkpoint_without_an_adaptive_optimizer_is_refused():
    train = small.make_examples(9, 1)
    setup = AttributionSetup(tracin=small.make_tracin())
    with pytest.raises(CheckpointError, match="no optimizer's state"):
        get_method("tracin_adam").make(setup).scores(train)
    model = small.make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train_steps(optimizer, model, train)
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    tracin = TracIn(model, Checkpoint(content, 0.1), device="cpu")
    with pytest.raises(CheckpointError, match="keeps no squared gradients"):
        get_method("tracin_adam").make(AttributionSetup(tracin=tracin)).scores(train)


def test_parameters_whose_numbers_are_in_doubt_are_refused():
    model = small.make_model()
    train = small.make_examples(9, 1)
    groups = [{"params": [v]} for v in reversed(list(model.parameters()))]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    train_steps(optimizer, model, train)
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    tracin = TracIn(model, Checkpoint(content, 0.1), device="cpu")
    with pytest.raises(CheckpointError, match="whose state is whose is in doubt"):
        get_method("tracin_adam").make(AttributionSetup(tracin=tracin)).scores(train)
