"""CSV and TSV as programs write them: first lines, quotes, blanks, one field more or less."""

from __future__ import annotations

import pytest

from tests.relabel.importers.builders import preview, problems, read
from tracin_core.errors import InputError

BODY = "".join(f"the text of number {n};{'ja' if n % 2 else 'nein'}\r\n" for n in range(20))
MEASURES = "".join(f"{n / 7:.2f}{{0}}{n % 3}{{0}}{'xy'[n % 2]}{{1}}\n" for n in range(20))


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\r\n', "SEP=;;\r\n", "sep=;\n"])
def test_the_line_that_names_the_separator_is_no_row(tmp_path, line):
    path = tmp_path / "data.csv"
    path.write_text(line + "text;label\r\n" + BODY, newline="")
    records = read(path)
    assert (len(records), records[0].where) == (20, "row 2")  # as a spreadsheet counts
    assert [c.name for c in preview(path).columns] == ["text", "label"]


def test_a_text_about_a_separator_is_a_row(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text;label\nsep=;\n" + BODY)
    assert [p.what for p in problems(path)] == ["no label"]


def test_quotes_written_with_a_backslash_are_read(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(
        f'"he said \\"hi, you\\" in C:\\\\new\\dir {n}, then left",{"pn"[n % 2]}\n'
        for n in range(20)
    )
    path.write_text("text,label\n" + rows)
    assert read(path)[3].text == 'he said "hi, you" in C:\\new\\dir 3, then left'
    assert any("backslash" in note for note in preview(path).notes)


def test_a_backslash_is_a_letter_where_quotes_are_doubled(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(f'"the path C:\\{n}\\",{"pn"[n % 2]}\n' for n in range(20))
    path.write_text("text,label\n" + rows)
    assert read(path)[3].text == "the path C:\\3\\"


def test_a_blank_after_each_delimiter_is_passed_over(tmp_path):
    path = tmp_path / "data.csv"
    rows = "".join(f'"text, number {n}", "{"pn"[n % 2]}, yes"\n' for n in range(20))
    path.write_text("text, label\n" + rows)
    assert preview(path).classes == ("n, yes", "p, yes")
    assert any("comma and a blank" in note for note in preview(path).notes)


def test_the_name_that_r_leaves_out_is_added(tmp_path):
    path = tmp_path / "data.tsv"
    rows = "".join(f"{n + 1}\t{line}\n" for n, line in enumerate(MEASURES.split("\n")[:-1]))
    path.write_text("a\tb\tspecies\n" + rows.format("\t", ""))
    found = preview(path)
    assert (found.num_usable, found.options.features) == (20, ("a", "b"))
    assert any("one name fewer" in note for note in found.notes)


def test_a_delimiter_at_the_end_of_every_row_is_passed_over(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b,species\n" + MEASURES.format(",", ","))
    found = preview(path)
    assert (found.num_usable, found.options.features) == (20, ("a", "b"))


def test_lines_before_the_row_of_names_are_told(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("# exported by the lab\n\na,b,species\n" + MEASURES.format(",", ""))
    with pytest.raises(InputError, match=r"'# exported by the lab'.*remove what stands before"):
        preview(path)


@pytest.mark.parametrize(
    "row",
    [
        "5.1,3.5,1.4,0.2,Iris-{0}\n",
        '{0},"Wall St. Bears","Short-sellers are seeing green again, and {0}"\n',
        '"0","14678{0}","Mon Apr 06","NO_QUERY","user{0}","is upset that he can not {0}"\n',
    ],
)
def test_a_table_without_a_row_of_names_is_refused(tmp_path, row):
    path = tmp_path / "data.csv"
    path.write_text("".join(row.format(1 + n % 4) for n in range(30)))
    with pytest.raises(
        InputError, match=r"looks like the rows below it.*name its \d columns.*--columns"
    ):
        preview(path, label="label")


@pytest.mark.parametrize("names", ["1990,2000,2010", "0,1,2", "1,2,b", "0,b,c"])
def test_names_may_be_numbers(tmp_path, names):
    path = tmp_path / "data.csv"
    rows = "".join(f"{n * 150 % 2300},{n * 7 % 9},{n},{'xy'[n % 2]}\n" for n in range(30))
    path.write_text(f"{names},label\n{rows}")
    assert preview(path).num_usable == 30


def test_quotes_that_run_lines_together_are_letters_of_their_lines(tmp_path):
    path = tmp_path / "data.tsv"
    lines = ['"open, a pipe', 'of 5" width', "plain", '"closed" well', '"open again', 'and 6" wide']
    path.write_text("text\tlabel\n" + "".join(f"{t}\t{'pn'[n % 2]}\n" for n, t in enumerate(lines)))
    records = read(path)
    assert [r.text for r in records] == [*lines[:3], "closed well", *lines[4:]]
    assert [r.row for r in records] == [2, 3, 4, 5, 6, 7]


def test_lines_that_quotes_run_together_and_that_are_no_rows_are_reported(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\nfine,a\n"open, and\nnot closed before 5" here,b\nfine too,b\n')
    assert [(p.row, p.what) for p in problems(path, text="text")] == [(3, "unclosed quote")]
    assert [r.text for r in read(path, text="text")] == ["fine", "fine too"]
