"""One new file in the folder of the exporters is a new form everywhere."""

from __future__ import annotations

import re

import pytest

from relabel import exporters
from relabel.db.engine import open_database
from relabel.export import export_labels
from relabel.exporters.registry import EXPORTERS, find_exporter, load_exporters, register_exporter
from tests.new_modules import run_with_module
from tests.relabel.exporters.toy import added_exporter, write_toy
from tests.test_docs import describe_exporters


def test_it_is_listed_among_the_others_in_its_place(tmp_path):
    before = list(EXPORTERS)
    with added_exporter(tmp_path):
        assert list(EXPORTERS) == ["csv", "pairs", *before[1:]]
        assert find_exporter("a.PAIRS").name == "pairs"
    assert list(EXPORTERS) == before
    assert find_exporter("a.pairs").name == "csv"


def test_the_longest_ending_counts_and_no_two_are_the_same():
    assert find_exporter("a.csv").name == "csv"
    assert find_exporter("a.cleanlab.csv").name == "cleanlab"
    assert find_exporter("labelstudio.json").name == "label-studio"
    assert find_exporter("a").name == find_exporter("").name == "csv"


def test_it_is_written_by_the_command_and_told_by_its_ending(workspace, tmp_path):
    place = (exporters, load_exporters, write_toy(tmp_path))
    help_text = run_with_module(*place, "export", "--help").stdout
    assert re.search(r"csv\W+pairs\W+parquet\W+jsonl", help_text)
    said, ending = tmp_path / "said.txt", tmp_path / "ending.pairs"
    for path, words in ((said, ["--format", "pairs"]), (ending, [])):
        done = run_with_module(*place, "export", "digits", "-o", path, *words)
        assert (done.stderr, done.returncode) == ("", 0)
    assert said.read_bytes() == ending.read_bytes()
    assert len(said.read_text().splitlines()) == 1797


def test_python_takes_its_name(workspace, tmp_path):
    engine = open_database(workspace.database_url)
    with added_exporter(tmp_path):
        content = export_labels(engine, 1, format="pairs").decode()
    engine.dispose()
    assert re.fullmatch(r"(\w+=\w+\n)+", content)


def test_the_check_of_the_documentation_misses_it(tmp_path):
    with added_exporter(tmp_path):
        described, expected = describe_exporters()
    assert expected - described == {("pairs", "Pairs", "pairs", "line ends become blanks")}


@pytest.mark.parametrize(("name", "extension"), [("csv", "other"), ("other", "csv")])
def test_a_name_or_ending_is_taken_once(name, extension):
    before = dict(EXPORTERS)
    with pytest.raises(ValueError, match="registered already, as CSV"):
        register_exporter(name, "Other", extension, mime="text/plain")(print)
    assert before == EXPORTERS
