"""A run folder gives back what was written, and says which file is broken."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relabel.errors import RunFolderError
from relabel.runs.config import RunConfig, TargetScale
from relabel.runs.folder import RunFolder
from relabel.runs.signals import (
    ROWS_PER_GROUP,
    merge_signals,
    read_all_signals,
    read_example_signals,
    write_signals,
)
from tests.relabel.runs.builders import (
    CLASSES,
    COUNTS,
    make_config,
    make_run_folder,
    make_signals,
    write_array,
)
from tracin_core.errors import ConfigurationError


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    return make_run_folder(tmp_path_factory.mktemp("digits") / "runs" / "20260102-1a2b3c4d")


@pytest.fixture
def own_run(tmp_path) -> RunFolder:
    return make_run_folder(tmp_path / "digits" / "runs" / "20260102-1a2b3c4d")


def test_the_configuration_loads_back_equal(run):
    assert run.read_config() == make_config()


@given(st.integers(1, 9), st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_any_configuration_loads_back_equal(count, classes):
    config = make_config(classes=tuple(classes), counts={"train": count, "test": 0})
    assert RunConfig.from_json(config.to_json()) == config


def test_a_field_of_a_later_minor_version_is_ignored():
    values = json.loads(make_config().to_json())
    values["added_later"] = 1
    values["checkpoints"][0]["added_later"] = 1
    assert RunConfig.from_json(json.dumps(values)) == make_config()


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "sound"},
        {"rates": "half"},
        {"checkpoints": ()},
        {"counts": {"train": 1}},
        {"layers": {"all": ("head",)}},
    ],
)
def test_an_impossible_configuration_is_refused(changes):
    with pytest.raises(ConfigurationError):
        make_config(**changes)


@pytest.mark.parametrize("position", [0, 1, 2730, 2731, COUNTS["train"] - 1])
def test_one_examples_signals_are_the_ones_written(run, position):
    expected = make_signals(COUNTS["train"])
    actual = run.read_signals("train", position)
    for name in ("self_influence_last", "margin", "predicted", "given_probability"):
        wanted = expected.list_columns()[name][:, position]
        np.testing.assert_array_equal(actual.list_columns()[name], wanted)


def test_all_signals_are_the_ones_written(run):
    actual, expected = run.read_all_signals("test"), make_signals(COUNTS["test"])
    np.testing.assert_array_equal(actual.loss, expected.loss)
    np.testing.assert_array_equal(actual.predicted, expected.predicted)


@settings(max_examples=20, deadline=None)
@given(checkpoints=st.integers(1, 7), offset=st.integers(-3, 3))
def test_examples_on_the_border_of_two_row_groups_are_read(tmp_path_factory, checkpoints, offset):
    count = ROWS_PER_GROUP // checkpoints + 4
    signals = make_signals(count, checkpoints)
    path = tmp_path_factory.mktemp("border") / "signals.parquet"
    write_signals(path, signals)
    position = min(ROWS_PER_GROUP // checkpoints + offset, count - 1)
    actual = read_example_signals(path, position, checkpoints)
    np.testing.assert_array_equal(actual.loss, signals.loss[:, position])


def test_probabilities_and_vectors_are_read_from_memory_maps(run):
    assert run.read_probabilities("test", 3).shape == (len(CLASSES),)
    assert run.read_probabilities("test", 3).sum() == pytest.approx(1, abs=1e-6)
    assert isinstance(run.vectors("all", "train"), np.memmap)
    assert run.vectors("last", "test").shape == (COUNTS["test"], 6)


def test_one_example_is_read_in_milliseconds(run):
    run.read_signals("train", 7)
    start = time.process_time()
    for position in range(20):
        run.read_signals("train", position * 100)
    assert (time.process_time() - start) / 20 < 0.05


def test_a_sound_folder_has_no_problems(run):
    assert list(run.find_problems()) == []


FILES = [
    "run.json",
    "signals-train.parquet",
    "probabilities-test.npy",
    "vectors-all-train.npy",
    "checkpoints/step-1.pt",
]


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named_with_the_way_out(own_run, file):
    (own_run.root / file).unlink()
    (problem,) = own_run.find_problems()
    assert file in str(problem)
    assert "score digits" in str(problem)


@pytest.mark.parametrize("file", FILES[:4])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_file_is_named_with_the_way_out(own_run, file, damage):
    path = own_run.root / file
    content = path.read_bytes()
    replacement = {"truncated": content[: len(content) // 2], "garbage": b"\x00\xff" * 99}
    path.write_bytes(replacement.get(damage, b""))
    (problem,) = own_run.find_problems()
    assert file in str(problem)
    assert "score digits" in str(problem)


def test_an_array_of_the_wrong_shape_is_refused(own_run):
    write_array(own_run.vectors_path("last", "test"), np.zeros((3, 6)))
    with pytest.raises(RunFolderError, match=r"vectors-last-test.npy.*expected float32 \(40, 6\)"):
        own_run.vectors("last", "test")


def test_signals_of_another_run_are_refused(own_run):
    own_run.write_signals("test", make_signals(7))
    with pytest.raises(RunFolderError, match="found 21 rows, expected 120"):
        own_run.read_signals("test", 0)


def test_a_run_of_a_newer_program_is_refused_with_the_way_out(own_run):
    values = json.loads(own_run.config_path.read_text())
    own_run.config_path.write_text(json.dumps(values | {"schema_version": 99}))
    with pytest.raises(RunFolderError, match=r"newer version of this program.*99.*Update"):
        own_run.read_config()


@pytest.mark.parametrize("position", [-1, COUNTS["test"]])
def test_an_unknown_position_is_refused(run, position):
    with pytest.raises(RunFolderError, match="has no test example"):
        run.read_signals("test", position)
    with pytest.raises(RunFolderError, match="has no test example"):
        run.read_probabilities("test", position)


def test_signals_of_a_regression_load_back_with_their_values(tmp_path):
    signals = make_signals(50)
    values = np.random.default_rng(1).standard_normal((2, *signals.loss.shape), dtype=np.float32)
    numbers = replace(signals, predicted_value=values[0], residual=values[1])
    path = tmp_path / "signals.parquet"
    write_signals(path, numbers)
    one, everything = read_example_signals(path, 7, 3), read_all_signals(path, 3)
    np.testing.assert_array_equal(one.residual, values[1][:, 7])
    np.testing.assert_array_equal(everything.predicted_value, values[0])
    write_signals(path, signals)  # as all runs were before there was regression
    assert read_all_signals(path, 3).residual is None


def test_a_run_of_the_last_layer_alone_is_whole_without_the_others(own_run):
    changed = make_config(
        layers={"last": ("head",)}, projection={"last": None}, indexes=make_config().indexes
    )
    own_run.write_config(changed)
    for split, count in COUNTS.items():
        own_run.vectors_path("all", split).unlink()
        signals = make_signals(count)
        alone = {"self_influence_last": signals.scores["self_influence_last"]}
        own_run.write_signals(split, replace(signals, scores=alone))
    own_run.index_path("all").rmdir()
    assert list(own_run.find_problems()) == []
    assert (changed.scored_layers, changed.layer_choice) == (("last",), "last")
    assert own_run.read_signals("train", 7).scores.get("self_influence_all") is None
    assert own_run.vectors("last", "test").shape == (40, 6)
    with pytest.raises(RunFolderError, match=r"over the last layer alone.*--layers both"):
        own_run.vectors("all", "test")


def test_class_numbers_beyond_sixteen_bits_load_back(tmp_path):
    signals = make_signals(5)
    many = replace(signals, predicted=np.full(signals.loss.shape, 70_000, dtype=np.int32))
    parts = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for part in parts:
        write_signals(part, many)
    merge_signals(tmp_path / "both.parquet", parts)
    assert (read_all_signals(tmp_path / "both.parquet", 3).predicted == 70_000).all()


def test_a_regressions_configuration_loads_back_equal():
    scale = TargetScale(mean=1.5, std=0.25)
    config = make_config(classes=(), task="regression", target="price", target_scale=scale)
    assert RunConfig.from_json(config.to_json()) == config


def test_a_configuration_from_before_there_was_regression_is_a_classification():
    values = json.loads(make_config().to_json())
    for name in ("task", "target", "target_scale"):
        del values[name]
    config = RunConfig.from_json(json.dumps(values))
    assert (config.task, config.target_scale) == ("classification", None)


def test_a_record_from_before_the_methods_is_one_of_tracincp():
    values = json.loads(make_config().to_json())
    for name in ("method", "method_configuration", "scores"):
        del values[name]
    old = RunConfig.from_json(json.dumps(values))
    assert (old.method, old.scores) == ("tracincp", ())
    assert old.method_configuration == {
        "rates": "ones",
        "projection": {"all": {"dim": 8, "seed": 0}, "last": None},
    }


def test_the_method_and_its_scores_load_back():
    made = make_config(method="other", method_configuration={"k": 1}, scores=("a", "b"))
    assert RunConfig.from_json(made.to_json()) == made


def test_any_number_of_scores_loads_back(tmp_path):
    signals = make_signals(6)
    scores = {f"score_{number}": signals.loss + number for number in range(5)}
    write_signals(tmp_path / "signals.parquet", replace(signals, scores=scores))
    actual = read_all_signals(tmp_path / "signals.parquet", len(signals.loss))
    assert list(actual.scores) == list(scores)
    for name, values in scores.items():
        np.testing.assert_array_equal(actual.scores[name], values)


def test_a_score_that_the_record_names_and_the_file_lacks_is_a_damage(own_run):
    own_run.write_config(make_config(scores=("self_influence_last", "gone")))
    assert any("found no column gone" in str(problem) for problem in own_run.find_problems())


@pytest.mark.parametrize("name", ["loss", "position", "residual"])
def test_a_score_with_the_name_of_another_column_is_refused(name):
    signals = make_signals(3)
    with pytest.raises(ValueError, match=f"scores are called {name}"):
        replace(signals, scores={name: signals.loss})


@pytest.mark.parametrize("changes", [{"method": 3}, {"scores": (None,)}])
def test_methods_and_scores_have_names(changes):
    with pytest.raises(ConfigurationError, match="expected names"):
        make_config(**changes)
