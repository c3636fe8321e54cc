"""A new example's prediction and vectors fit those stored for the run."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from relabel.db.engine import open_database
from relabel.db.examples import find_by_positions
from relabel.db.projects import get_project
from relabel.errors import RunFolderError
from relabel.features.encoding import encoder_from_json
from relabel.models.build import build_model
from relabel.models.builtin import model_config_from_json
from relabel.runs.folder import RunFolder
from relabel.triage.evidence import open_evidence
from relabel.triage.new_example import score_new_example
from tests.relabel.jobs.workspaces import find_run
from tracin_core.errors import InputError

POSITION = 5


@pytest.fixture
def run(workspace) -> RunFolder:
    return RunFolder(find_run(workspace))


@pytest.fixture
def image(workspace) -> bytes:
    return (workspace.media_folder("digits") / "test" / f"{POSITION:05d}.png").read_bytes()


def test_a_stored_image_scored_as_new_gets_the_stored_probabilities(run, image):
    scored = score_new_example(run.root, image=image)
    stored = run.read_probabilities("test", POSITION)
    assert scored.probabilities == pytest.approx(stored, abs=1e-5)
    assert scored.predicted == int(stored.argmax())


def test_its_last_layer_vector_is_the_stored_one_divided_by_what_the_loss_weighs(run, image):
    """For the given class c, the gradient of the loss has the rows ``(p_c - 1) (h, 1)`` and
    that of minus its logit ``-(h, 1)``: the stored rows are ``1 - p_c`` times the new ones. All
    other rows are zero, because a logit knows nothing of the other classes' weights."""
    scored = score_new_example(run.root, image=image)
    probability = run.read_signals("test", POSITION).given_probability.astype(np.float64)
    num_checkpoints, num_classes = len(probability), len(scored.probabilities)
    new = split_rows(scored.vectors["last"], num_checkpoints, num_classes)
    stored = split_rows(run.vectors("last", "test")[POSITION], num_checkpoints, num_classes)
    c = scored.predicted  # right, as this example was chosen for it
    np.testing.assert_allclose(
        stored[:, c], new[:, c] * (1 - probability)[:, None], rtol=1e-3, atol=1e-5
    )
    others = np.arange(num_classes) != c
    assert not new[:, others].any()
    assert (new[:, c, -1] == -1).all()  # rates are ones


def split_rows(vector: np.ndarray, num_checkpoints: int, num_classes: int) -> np.ndarray:
    """Return weights and bias of each class, shape (C, K, H + 1)."""
    blocks = np.asarray(vector, dtype=np.float64).reshape(num_checkpoints, -1)
    weights = blocks[:, :-num_classes].reshape(num_checkpoints, num_classes, -1)
    return np.concatenate([weights, blocks[:, -num_classes:, None]], axis=2)


def test_its_projected_vector_estimates_influence_on_the_logit(run, image, workspace):
    """Against autograd, one example at a time, for some train examples."""
    scored = score_new_example(run.root, image=image)
    positions = range(12)
    estimates = run.vectors("all", "train")[list(positions)] @ scored.vectors["all"]
    engine = open_database(workspace.database_url)
    project = get_project(engine, "digits")
    views = find_by_positions(engine, project.id, None, "train", positions)
    engine.dispose()
    media = workspace.media_folder("digits")
    trains = [((media / view.media_path).read_bytes(), view.given_label) for view in views]
    exact, bounds = influences_on_logit(run, image, scored.predicted, trains)
    # sqrt(2 / 512) of the product of the norms is one standard error; four hardly ever happen.
    assert (np.abs(estimates - exact) < 4 * (2 / 512) ** 0.5 * bounds).all()
    assert np.corrcoef(estimates, exact)[0, 1] > 0.9


def influences_on_logit(
    run: RunFolder, image: bytes, predicted: int, trains: list[tuple[bytes, int]]
) -> tuple[np.ndarray, np.ndarray]:
    config = run.read_config()
    encoder = encoder_from_json(dict(config.encoder))
    model = build_model(model_config_from_json(dict(config.model))).eval()
    queries, gradients = [], [[] for _ in trains]
    for entry in config.checkpoints:
        state = torch.load(run.root / entry.file, weights_only=True)["state_dict"]
        model.load_state_dict(state)
        logit = model(encoder.encode(image).unsqueeze(0))[0, predicted]
        queries.append(flat_gradient(model, -logit))
        for (content, label), collected in zip(trains, gradients, strict=True):
            logits = model(encoder.encode(content).unsqueeze(0))
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
            collected.append(flat_gradient(model, loss))
    query = torch.cat(queries)
    whole = torch.stack([torch.cat(parts) for parts in gradients])
    bounds = whole.norm(dim=1) * query.norm()
    return (whole @ query).numpy(), bounds.numpy()


def flat_gradient(model: torch.nn.Module, value: torch.Tensor) -> torch.Tensor:
    gradients = torch.autograd.grad(value, list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("layers", ["all", "last"])
def test_proponents_of_a_new_example_have_the_predicted_label(run, image, workspace, layers):
    scored = score_new_example(run.root, image=image)
    found = open_evidence(run.root).neighbours_of_vector(
        scored.vectors[layers], side="proponents", k=10, layers=layers
    )
    engine = open_database(workspace.database_url)
    project = get_project(engine, "digits")
    positions = [neighbour.position for neighbour in found]
    views = find_by_positions(engine, project.id, None, "train", positions)
    engine.dispose()
    assert len(views) == 10
    assert sum(view.given_label == scored.predicted for view in views) >= 8


def test_a_new_text_is_scored(workspace):
    root = find_run(workspace, "docs")
    scored = score_new_example(
        root, text="Return the shortest path between two nodes of a directed graph."
    )
    classes = RunFolder(root).read_config().classes
    assert classes[scored.predicted] == "graph theory"
    # Its network has one layer, which is the last one and all.
    assert set(scored.vectors) == {"last"}
    assert np.isfinite(scored.vectors["last"]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"image": b"no image"}, "image"),
        ({"text": "seven"}, "Give an image"),
        ({}, "Give an image"),
    ],
)
def test_what_is_no_image_is_refused(run, content, message):
    with pytest.raises(InputError, match=message):
        score_new_example(run.root, **content)


def test_an_empty_text_is_refused(workspace):
    root = find_run(workspace, "docs")
    with pytest.raises(InputError, match="empty"):
        score_new_example(root, text="  \n")


def test_a_missing_run_is_said(tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"run\.json"):
        score_new_example(tmp_path / "digits" / "runs" / "gone", image=b"")


def test_four_threads_get_what_one_gets(run, image, workspace):
    other = (workspace.media_folder("digits") / "test" / "00009.png").read_bytes()
    expected = [score_new_example(run.root, image=content) for content in (image, other)]
    found: list[tuple[int, np.ndarray]] = []

    def score(number: int) -> None:
        scored = score_new_example(run.root, image=(image, other)[number % 2])
        found.append((number % 2, scored.vectors["all"]))

    threads = [threading.Thread(target=score, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for number, vector in found:
        np.testing.assert_array_equal(vector, expected[number].vectors["all"])
