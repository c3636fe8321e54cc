from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from relabel.errors import RunFolderError
from relabel.runs.config import CheckpointEntry, RunConfig
from relabel.runs.folder import RunFolder
from relabel.triage.evidence import Neighbour, open_evidence
from tests.relabel.runs.builders import write_array
from tracin_core.errors import RetrievalError
from tracin_core.retrieval import build_index

COUNTS = {"train": 200, "test": 30}
DIMENSIONS = {"all": 12, "last": 6}


def vectors_of(layers, split):
    generator = np.random.default_rng(COUNTS[split] + DIMENSIONS[layers])
    return generator.standard_normal((COUNTS[split], DIMENSIONS[layers])).astype(np.float32)


@pytest.fixture
def run_folder(tmp_path):
    folder = RunFolder(tmp_path / "digits" / "runs" / "20260102-1a2b3c4d")
    folder.root.mkdir(parents=True)
    entry = CheckpointEntry(file="checkpoints/step-1.pt", step=1, epoch=1, learning_rate=0.1)
    folder.write_config(
        RunConfig(
            key=folder.root.name,
            kind="image",
            classes=("null", "eins"),
            model={},
            encoder={},
            training={},
            checkpoints=(entry,),
            counts=COUNTS,
            layers={"all": ("conv", "head"), "last": ("head",)},
            rates="ones",
            projection={"all": None, "last": None},
        )
    )
    for layers in DIMENSIONS:
        for split in COUNTS:
            write_array(folder.vectors_path(layers, split), vectors_of(layers, split))
        build_index(folder.vectors(layers, "train"), "exact", folder.index_path(layers))
    return folder


def expected(scores, side, k):
    """All pairs of the right sign by a plain sort."""
    sign = 1 if side == "proponents" else -1
    order = np.argsort(-sign * scores, kind="stable")
    return [(i, scores[i]) for i in order.tolist() if sign * scores[i] > 0][:k]


def pairs(neighbours):
    return [(neighbour.position, pytest.approx(neighbour.score)) for neighbour in neighbours]


@pytest.mark.parametrize("side", ["proponents", "opponents"])
@pytest.mark.parametrize("layers", ["all", "last"])
def test_neighbours_of_a_test_example_are_the_largest_dot_products(run_folder, side, layers):
    scores = vectors_of(layers, "train") @ vectors_of(layers, "test")[4]
    found = open_evidence(run_folder.root).neighbours("test", 4, side=side, layers=layers)
    assert pairs(found) == expected(scores, side, 10)
    assert len(found) == 10


@pytest.mark.parametrize("measure", ["influence", "cosine"])
def test_a_train_example_is_never_its_own_neighbour(run_folder, measure):
    evidence = open_evidence(run_folder.root)
    for position in range(20):
        found = evidence.neighbours("train", position, side="proponents", k=5, measure=measure)
        assert len(found) == 5
        assert position not in [neighbour.position for neighbour in found]


def test_the_vector_of_a_train_example_does_not_find_the_example_itself(run_folder):
    evidence, vector = open_evidence(run_folder.root), vectors_of("all", "train")[7]
    every = evidence.neighbours_of_vector(vector, side="proponents", k=5)
    others = evidence.neighbours_of_vector(vector, side="proponents", k=5, itself=7)
    assert 7 in [one.position for one in every]
    assert [one.position for one in others][:4] == [o.position for o in every if o.position != 7]
    assert len(others) == 5


def test_a_test_example_may_have_the_train_example_of_its_own_position(run_folder):
    train = vectors_of("all", "train")
    train[3] = 100 * vectors_of("all", "test")[3]
    write_array(run_folder.vectors_path("all", "train"), train)
    build_index(train, "exact", run_folder.index_path("all"))
    found = open_evidence(run_folder.root).neighbours("test", 3, side="proponents", k=1)
    assert found[0].position == 3


@pytest.mark.parametrize("side", ["proponents", "opponents"])
def test_scores_have_the_sign_of_their_side_even_if_fewer_remain(run_folder, side):
    scores = vectors_of("all", "train").astype(float) @ vectors_of("all", "test")[0]
    found = open_evidence(run_folder.root).neighbours("test", 0, side=side, k=1000)
    assert pairs(found) == expected(scores, side, 1000)
    assert 0 < len(found) < 200


def test_cosine_ignores_the_size_of_the_gradients(run_folder):
    train, query = vectors_of("all", "train").astype(float), vectors_of("all", "test")[1]
    cosines = train @ query / np.linalg.norm(train, axis=1) / np.linalg.norm(query)
    found = open_evidence(run_folder.root).neighbours("test", 1, side="opponents", measure="cosine")
    assert pairs(found) == expected(cosines, "opponents", 10)


def test_a_new_example_has_the_neighbours_of_its_vector(run_folder):
    evidence = open_evidence(run_folder.root)
    vector = vectors_of("last", "test")[2]
    found = evidence.neighbours_of_vector(vector, side="opponents", k=4, layers="last")
    assert found == evidence.neighbours("test", 2, side="opponents", k=4, layers="last")


def test_an_example_with_a_zero_gradient_has_no_neighbours(run_folder):
    assert open_evidence(run_folder.root).neighbours_of_vector(np.zeros(12), side="opponents") == []


@pytest.mark.parametrize("side", ["proponents", "opponents"])
def test_who_has_no_influence_is_on_neither_side(run_folder, side):
    evidence = open_evidence(run_folder.root)
    assert evidence.neighbours_of_vector(np.zeros(12), side=side) == []
    train = np.zeros_like(vectors_of("all", "train"))
    train[3, 0], train[8, 0] = 2, -2
    write_array(run_folder.vectors_path("all", "train"), train)
    build_index(train, "exact", run_folder.index_path("all"))
    found = open_evidence(run_folder.root).neighbours_of_vector(np.eye(12)[0], side=side, k=5)
    assert pairs(found) == [(3, 2.0) if side == "proponents" else (8, -2.0)]


def test_without_an_index_the_search_is_exact_all_the_same(run_folder):
    before = open_evidence(run_folder.root).neighbours("test", 0, side="proponents")
    for file in run_folder.index_path("all").iterdir():
        file.unlink()
    run_folder.index_path("all").rmdir()
    evidence = open_evidence(run_folder.root)
    assert evidence.neighbours("test", 0, side="proponents") == before
    assert evidence.recall("all") == 1.0


def test_instead_of_an_index_of_other_vectors_all_are_compared_and_it_is_said(run_folder):
    before = open_evidence(run_folder.root).neighbours("test", 0, side="proponents")
    build_index(vectors_of("all", "test"), "exact", run_folder.index_path("all"))
    evidence = open_evidence(run_folder.root)
    assert evidence.neighbours("test", 0, side="proponents") == before
    assert "index-all is stale" in evidence.index_fault()


def test_instead_of_a_corrupt_index_all_are_compared_and_it_is_said(run_folder):
    before = open_evidence(run_folder.root).neighbours("test", 0, side="proponents")
    (run_folder.index_path("all") / "index.json").write_text("{")
    evidence = open_evidence(run_folder.root)
    assert evidence.neighbours("test", 0, side="proponents") == before
    assert "no sound index" in evidence.index_fault()
    assert evidence.index_fault("last") == ""


def test_missing_vectors_are_named_with_the_way_out(run_folder):
    run_folder.vectors_path("all", "test").unlink()
    with pytest.raises(RunFolderError, match=r"vectors-all-test.npy.*Score"):
        open_evidence(run_folder.root).neighbours("test", 0, side="proponents")


def test_vectors_that_were_cut_off_are_named_with_the_way_out(run_folder):
    path = run_folder.vectors_path("last", "train")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunFolderError, match=r"vectors-last-train.npy.*Score"):
        open_evidence(run_folder.root).neighbours("test", 0, side="proponents", layers="last")


def test_a_missing_run_folder_is_said_when_it_is_opened(tmp_path):
    with pytest.raises(RunFolderError, match="missing"):
        open_evidence(tmp_path / "digits" / "runs" / "gone")


@pytest.mark.parametrize(("split", "position"), [("train", 200), ("test", 30), ("test", -1)])
def test_a_position_outside_the_run_is_refused(run_folder, split, position):
    with pytest.raises(RunFolderError, match=f"no {split} example {position}"):
        open_evidence(run_folder.root).neighbours(split, position, side="proponents")


def test_a_vector_of_another_run_is_refused(run_folder):
    with pytest.raises(RetrievalError, match="expected 12 numbers"):
        open_evidence(run_folder.root).neighbours_of_vector(np.ones(5), side="proponents")


def test_neighbours_are_plain_values(run_folder):
    neighbour = open_evidence(run_folder.root).neighbours("test", 0, side="proponents")[0]
    assert isinstance(neighbour, Neighbour)
    assert (type(neighbour.position), type(neighbour.score)) == (int, float)


def test_evidence_needs_neither_torch_nor_annoy():
    code = (
        "import sys, relabel.triage.evidence; "
        "sys.exit(bool({'torch', 'annoy', 'streamlit'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_vectors_cut_while_they_are_open_are_an_error_and_not_the_end(run_folder):
    evidence = open_evidence(run_folder.root)
    found = evidence.neighbours("train", 3, side="proponents")
    path = run_folder.vectors_path("all", "train")
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(len(whole) // 2)
    with pytest.raises(RunFolderError):
        evidence.neighbours("train", 3, side="proponents")
    path.write_bytes(whole)
    assert evidence.neighbours("train", 3, side="proponents") == found


@pytest.mark.parametrize("measure", ["influence", "cosine"])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("count", [1, 5])
def test_both_sides_at_once_are_the_two_sides(run_folder, measure, split, count):
    evidence = open_evidence(run_folder.root)
    positions = list(range(3, 3 + count))
    both = evidence.both_sides_of_many(split, positions, k=8, measure=measure)
    for side in ("proponents", "opponents"):
        alone = evidence.neighbours_of_many(split, positions, side=side, k=8, measure=measure)
        assert both[side] == alone
        # The more that are asked for begin with the fewer.
        few = evidence.neighbours_of_many(split, positions, side=side, k=3, measure=measure)
        assert [one[:3] for one in both[side]] == few
