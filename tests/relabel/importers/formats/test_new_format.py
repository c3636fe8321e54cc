"""One new file among the formats is a new kind of data everywhere."""

from __future__ import annotations

import re
import zipfile

import pytest

from relabel.importers import formats
from relabel.importers.detect import list_columns, open_source
from relabel.importers.formats.registry import (
    IMPORTERS,
    Form,
    list_forms,
    load_importers,
    register_importer,
)
from relabel.importers.formats.table import TableImporter
from relabel.importers.options import ImportOptions, OptionWithoutEffectError
from tests.new_modules import run_with_module
from tests.relabel.importers.formats.toy_format import added_importer, write_data, write_toy
from tests.test_docs import describe_importers
from tracin_core.errors import ConfigurationError, InputError
from ui.uploads import list_upload_types

NAMES = [
    *("image-folder", "text-folder", "table", "arrow", "excel", "huggingface"),
    *("label-studio", "doccano", "prodigy", "coco", "torchvision", "npz"),
]


def test_it_is_found_by_its_ending_and_understood_as_a_table(tmp_path):
    data = write_data(tmp_path / "reviews.ini")
    with pytest.raises(InputError, match="no kind that can be imported"):
        open_source(data, ImportOptions())
    with added_importer(tmp_path):
        assert list(IMPORTERS) == [*NAMES[:3], "ini", *NAMES[3:]]
        preview = open_source(data, ImportOptions()).preview()
        assert (preview.format, preview.kind, preview.target) == ("ini", "text", "label")
        assert preview.class_counts == {"bad": 12, "good": 12}
        assert [one.name for one in list_columns(data, ImportOptions())] == [
            *("section", "label", "text"),
        ]
    assert list(IMPORTERS) == NAMES


def test_it_is_found_in_a_folder_and_in_an_archive(tmp_path):
    data = write_data(tmp_path / "data" / "reviews.ini")
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(data, "data/reviews.ini")
    with added_importer(tmp_path):
        for path in (data.parent, archive):
            source = open_source(path, ImportOptions())
            assert source.format == "ini"
            assert sum(source.preview().counts.values()) == 24


def test_its_name_and_its_options_are_checked(tmp_path):
    data = write_data(tmp_path / "reviews.ini")
    with pytest.raises(ConfigurationError, match=r"format 'ini'.*Expected one of image-folder, "):
        ImportOptions(format="ini")
    with added_importer(tmp_path):
        said = ImportOptions(format="ini", text="text", label="label")
        assert open_source(data, said).preview().options.text == "text"
        useless = ImportOptions(delimiter=";", classes=("bad", "good"))
        with pytest.raises(OptionWithoutEffectError) as error:
            open_source(data, useless)
    assert error.value.names == ("classes", "delimiter")
    assert "no effect on a file of sections." in str(error.value)
    assert "Options that have one: --text, --features, --label" in str(error.value)


def test_messages_and_uploads_name_it(tmp_path):
    (tmp_path / "data.xyz").write_bytes(b"nothing")
    with added_importer(tmp_path):
        assert "ini" in list_upload_types()
        for path in (tmp_path / "none", tmp_path / "data.xyz"):
            with pytest.raises(InputError, match=r"a file of sections \(\.ini\), an Arrow or"):
                open_source(path, ImportOptions())
    types = [
        *("csv", "tsv", "parquet", "jsonl", "ndjson", "arrow", "feather", "xlsx", "json", "npz"),
        *("gz", "zip"),
    ]
    assert list_upload_types() == types


def test_the_command_offers_it_and_imports_it(place, tmp_path):
    data = write_data(tmp_path / "reviews.ini")
    toy = (formats, load_importers, write_toy(tmp_path))
    help_text = run_with_module(*toy, "import", "--help").stdout
    assert re.search(
        r"image-folder\W+text-folder\W+table\W+ini\W+arrow\W+excel\W+huggingface", help_text
    )
    words = ("--workspace", place.root, "import", "kettles", data)
    done = run_with_module(*toy, *words, "--yes")
    assert (done.returncode, "rror" in done.stderr) == (0, False)
    assert "ini, text, classification: label" in done.stdout
    assert "kettles: imported" in done.stdout
    done = run_with_module(*toy, *words, "--columns", "a,b", "--yes")
    assert done.returncode == 2
    assert "--columns has no effect on a file of sections." in done.stderr


def test_the_check_of_the_documentation_misses_it(tmp_path):
    with added_importer(tmp_path):
        described, expected = describe_importers()
    assert expected - described == {("ini", "a file of sections (.ini)", ".ini")}


def test_names_are_taken_once():
    class Again(TableImporter):
        name = "other"

    before = dict(IMPORTERS)
    with pytest.raises(ValueError, match="other, delimited, json-lines, parquet is registered"):
        register_importer(Again)
    Again.name, Again.forms = "table", (Form(name="new", words="a new one", options=()),)
    with pytest.raises(ValueError, match="table is registered"):
        register_importer(Again)
    assert before == IMPORTERS


def test_every_option_of_a_form_exists():
    known = set(vars(ImportOptions())) - {"format", "test_share", "seed", "plant"}
    used = set()
    for form in list_forms().values():
        assert len(set(form.options)) == len(form.options)
        used |= set(form.options)
    assert used == known
