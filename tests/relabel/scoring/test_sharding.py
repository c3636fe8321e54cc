"""Scoring in shards: resumed after a kill to the same bits, and only what changed is computed."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from relabel.progress import Progress
from relabel.runs import scoring_version
from relabel.scoring import run as run_module
from tests.relabel.scoring import small_runs
from tests.relabel.scoring.small_runs import SHARD, read_arrays, score
from tracin_core.errors import GradientError


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run scored in six shards without any interruption; read only."""
    return score(tmp_path_factory.mktemp("small"))


def assert_bit_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values, err_msg=name)


def test_a_run_that_is_there_is_used_and_said(scored):
    reports = []
    again = score(scored.folder.root.parent.parent, on_progress=reports.append)
    assert again.num_computed == {"train": 0, "test": 0}
    stage = f"using run {scored.folder.root.name}, which has these scores already"
    assert reports == [Progress(stage, 1, 1)]


def test_shards_give_the_numbers_of_one_piece(scored, tmp_path):
    whole = score(tmp_path, shard=4096)
    assert_bit_equal(read_arrays(scored.folder), read_arrays(whole.folder))
    groups = [
        [file.row_group(number).num_rows for number in range(file.num_row_groups)]
        for file in (pq.read_metadata(run.folder.signals_path("train")) for run in (scored, whole))
    ]
    assert groups[0] == groups[1]


def test_a_finished_run_holds_what_is_promised_and_nothing_else(scored):
    assert list(scored.folder.find_problems()) == []
    assert {path.name for path in scored.folder.root.iterdir()} == {
        "run.json",
        "checkpoints",
        "index-all",
        "index-last",
        *(f"{name}-{split}.npy" for name in ("probabilities", "digests") for split in SPLITS),
        *(f"vectors-{layers}-{split}.npy" for layers in ("all", "last") for split in SPLITS),
        *(f"signals-{split}.parquet" for split in SPLITS),
    }
    assert list(scored.folder.root.parent.iterdir()) == [scored.folder.root]
    assert scored.num_computed == {"train": 1500, "test": 40}


SPLITS = ("train", "test")


def kill_after(preloaded, root, reports: int) -> None:
    """Score in a process of its own and kill it after so many reports of progress."""
    process = preloaded.start("-m", "tests.relabel.scoring.small_runs", str(root))
    for _ in range(reports):
        assert process.stdout.readline()
    process.kill()
    process.communicate()


def test_a_killed_scoring_goes_on_after_its_last_shard_to_the_same_bits(
    scored, tmp_path, preloaded
):
    kill_after(preloaded, tmp_path, 3 * 3 + 1)  # three checkpoints a batch, a batch a shard
    (unfinished,) = (tmp_path / "runs").iterdir()
    journal = (unfinished / "shards" / "journal.jsonl").read_text().splitlines()
    assert 1 + 3 <= len(journal) < 1 + 6
    reports = []
    resumed = score(tmp_path, on_progress=reports.append)
    assert reports[0].done > (len(journal) - 1) * SHARD * 3
    assert_bit_equal(read_arrays(resumed.folder), read_arrays(scored.folder))
    assert resumed.num_computed == scored.num_computed
    assert list((tmp_path / "runs").iterdir()) == [resumed.folder.root]


class Killed(BaseException):
    """Ends a scoring at a chosen moment."""


@pytest.mark.parametrize("moment", ["build_index", "write_digests"])
def test_what_dies_after_the_shards_computes_none_again(scored, tmp_path, monkeypatch, moment):
    def die(*arguments, **options):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(run_module, moment, die)
        with pytest.raises(Killed):
            score(tmp_path)
    reports = []
    resumed = score(tmp_path, on_progress=reports.append)
    computed = {report.stage for report in reports} - {"building the indexes"}
    assert computed <= {"scoring the test examples"}
    assert_bit_equal(read_arrays(resumed.folder), read_arrays(scored.folder))


def die_in_shard(root, number: int, **options) -> None:
    def die(report):
        if report.done > number * SHARD * 3:
            raise Killed

    with pytest.raises(Killed):
        score(root, on_progress=die, **options)


def test_a_line_cut_off_in_the_journal_is_done_again(scored, tmp_path):
    die_in_shard(tmp_path, 2)
    (journal,) = tmp_path.glob("runs/.*.unfinished/shards/journal.jsonl")
    journal.write_bytes(journal.read_bytes()[:-9])
    resumed = score(tmp_path)
    assert_bit_equal(read_arrays(resumed.folder), read_arrays(scored.folder))


def test_an_unfinished_run_of_other_data_is_not_continued(tmp_path):
    die_in_shard(tmp_path, 2)
    run = score(tmp_path, relabelled=(3,))
    assert run.num_computed["train"] == 1500
    assert list((tmp_path / "runs").iterdir()) == [run.folder.root]


def test_a_changed_label_computes_one_row_for_each_checkpoint(scored, tmp_path):
    changed = score(tmp_path, relabelled=(700,), base=scored.folder)
    assert changed.num_computed == {"train": 1, "test": 0}
    assert changed.rows_computed == 3
    full = read_arrays(score(tmp_path / "full", relabelled=(700,)).folder)
    before = read_arrays(scored.folder)
    others = np.arange(1500) != 700
    for name, values in read_arrays(changed.folder).items():
        # One example alone in its batch: float32 sums in another order.
        np.testing.assert_allclose(values, full[name], rtol=1e-4, atol=1e-5, err_msg=name)
        axis = 0 if name.startswith(("vectors", "prob")) else 1
        if name.endswith("train"):
            kept = np.compress(others, values, axis=axis)
            np.testing.assert_array_equal(kept, np.compress(others, before[name], axis=axis))
    assert (full["loss-train"][:, 700] != before["loss-train"][:, 700]).all()


def test_a_rescoring_that_dies_goes_on(scored, tmp_path):
    options = {"relabelled": (3, 700, 1400), "base": scored.folder}
    die_in_shard(tmp_path, 4, **options)
    resumed = score(tmp_path, **options)
    assert resumed.num_computed["train"] == 3
    whole = score(tmp_path / "whole", **options)
    assert_bit_equal(read_arrays(resumed.folder), read_arrays(whole.folder))


@pytest.mark.parametrize("loss", ["digests", "program"])
def test_a_run_that_cannot_be_relied_on_is_not_reused(scored, tmp_path, monkeypatch, loss):
    base = type(scored.folder)(tmp_path / "base")
    shutil.copytree(scored.folder.root, base.root)
    if loss == "digests":
        base.digests_path("train").unlink()
    else:
        monkeypatch.setattr(scoring_version, "SCORING_VERSION", 2)
    assert score(tmp_path, relabelled=(3,), base=base).num_computed["train"] == 1500


def test_a_gradient_that_is_not_finite_is_named_from_the_start_of_its_shard(tmp_path):
    network = small_runs.make_network(tmp_path / "training")
    sources = small_runs.make_sources(network)
    sources[0].examples.labels[700] = 9
    with pytest.raises(GradientError, match=r"Counting from the train example 512: Example 188 "):
        run_module.score_run(
            tmp_path / "runs", network, sources, data_hash="", shard_examples=SHARD
        )


def test_no_more_than_a_batch_is_read_at_a_time(tmp_path):
    network = small_runs.make_network(tmp_path / "training")
    sources = small_runs.make_sources(network)
    run_module.score_run(tmp_path / "runs", network, sources, data_hash="", shard_examples=SHARD)
    # Each example once for all checkpoints, and each shard's first batch once more to see
    # what kind of input it holds.
    assert sources[0].examples.rows_read <= 2 * 1500 + 2 * 3
