"""Growth from data of another kind: what was recalled may be nothing there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from relabel.features.image import read_image
from relabel.importers.ingest.truth import read_truth
from relabel.importers.options import OptionWithoutEffectError
from tests.relabel.importers.builders import image_folder, make_tar, pets, picture, texts
from tests.relabel.importers.files.test_deep_pictures import deep_folder
from tests.relabel.importers.ingest.test_importing import command, run, views
from tests.relabel.importers.ingest.test_importing import engine as engine
from tests.relabel.importers.ingest.test_importing import own as own
from tracin_core.errors import InputError


def test_columns_that_were_recalled_are_no_matter_for_folders(engine, own, tmp_path):
    lines = [f"{n},the text of number {n} is this and then some more of it" for n in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(line.replace(",", f",{'ab'[i % 2]},", 1)
                                              for i, line in enumerate(lines)))  # fmt: skip
    run(engine, own, tmp_path / "t.csv", columns=("id", "label", "words"), delimiter=",")
    for number in range(6):
        path = tmp_path / "more" / "ab"[number % 2] / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"another text {number}")
    report = run(engine, own, tmp_path / "more")
    assert sum(report.added.values()) == 6
    with pytest.raises(OptionWithoutEffectError, match="--delimiter has no effect"):
        run(engine, own, tmp_path / "more", delimiter=";")


def test_a_share_that_was_recalled_is_no_matter_where_the_data_has_a_split(engine, own, tmp_path):
    run(engine, own, image_folder(tmp_path / "first", pets(each=10)), test_share=0.4)
    names = pets("train", "test", each=10)
    root = tmp_path / "second"
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(500 + number))
    with pytest.raises(OptionWithoutEffectError, match="--test-share has no effect"):
        run(engine, own, root, test_share=0.3)
    assert run(engine, own, root).added == {"train": 20, "test": 20}


def test_a_name_for_a_project_that_has_one_is_refused(own, tmp_path, capsys):
    path = texts(tmp_path / "t.csv")
    assert command(own, "mine", str(path), "--yes", "--title", "Mine") == 0
    for switch in ("--title", "--description"):
        assert command(own, "mine", str(path), "--yes", switch, "Yours") == 2
        assert f"{switch} has no effect" in capsys.readouterr().err


def test_a_tar_of_a_folder_adds_nothing_to_it(engine, own, tmp_path):
    root = image_folder(tmp_path / "pets", pets(each=10))
    run(engine, own, root)
    before = {view.key for view in views(engine)}
    members = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.png"))[::-1]}
    report = run(engine, own, make_tar(tmp_path / "pets.tar.gz", members), slug="again")
    assert {view.key for view in views(engine, "again")} == before
    assert sum(report.added.values()) == 20
    assert sum(run(engine, own, tmp_path / "pets.tar.gz").added.values()) == 0


def test_deep_pictures_are_stored_as_they_are_to_be_seen(engine, own, tmp_path):
    root = deep_folder(tmp_path / "scans", 4095)
    run(engine, own, root)
    shown = [
        read_image((own.media_folder("mine") / view.media_path).read_bytes(), channels=1)
        for view in (*views(engine), *views(engine, split="test"))
    ]
    assert max(np.asarray(image).max() for image in shown) == 255
    assert sum(run(engine, own, root).added.values()) == 0


def test_the_truth_of_arrays_is_kept_for_the_evaluation(engine, own, tmp_path):
    labels = np.arange(20) % 2
    truth = np.where(np.arange(20) < 3, 1 - labels, labels)
    np.savez(tmp_path / "a.npz", x_train=np.random.default_rng(0).normal(size=(20, 3)),
             y_train=labels, truth_train=truth)  # fmt: skip
    run(engine, own, tmp_path / "a.npz", truth="truth")
    known = read_truth(own.truth_path("mine"))
    assert len(known) == 20


def test_a_folder_with_a_table_beside_grows_by_another(engine, own, tmp_path):
    for name, start in (("first", 0), ("second", 100)):
        folder = tmp_path / name
        (folder / "batch_a").mkdir(parents=True)
        frame = pd.DataFrame({"file_name": [f"batch_a/{n}.png" for n in range(12)]})
        frame["label"] = ["disc", "bar"] * 6
        frame.to_csv(folder / "metadata.csv", index=False)
        for number in range(12):
            (folder / "batch_a" / f"{number}.png").write_bytes(picture(start + number))
    assert sum(run(engine, own, tmp_path / "first").added.values()) == 12
    assert sum(run(engine, own, tmp_path / "second").added.values()) == 12
    with pytest.raises(InputError, match="no effect on a folder of images"):
        run(engine, own, tmp_path / "first", slug="other", format="image-folder", label="label")
