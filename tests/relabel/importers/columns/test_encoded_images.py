"""Pictures in the cells of a table."""

from __future__ import annotations

import base64
import json
from itertools import product

import pandas as pd
import pytest

from tests.relabel.importers.builders import picture, preview, problems, read
from tracin_core.errors import InputError

LABELS = ["bar", "disc"] * 10
WRITTEN = {
    "address": lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
    "base64": lambda data: base64.b64encode(data).decode(),
    "wrapped": lambda data: base64.encodebytes(data).decode(),
    "without padding": lambda data: base64.b64encode(data).decode().rstrip("="),
    "for addresses": lambda data: base64.urlsafe_b64encode(data).decode(),
    "hexadecimal": lambda data: data.hex(),
    "postgres": lambda data: "\\x" + data.hex(),
    "python": repr,
}


def save(tmp_path, cells, name="image"):
    path = tmp_path / "data.csv"
    pd.DataFrame({name: cells, "label": LABELS}).to_csv(path, index=False)
    return path


# In hexadecimal these two begin like many other things.
UNCLEAR = {(way, form) for way in ("hexadecimal", "postgres") for form in ("WEBP", "TIFF")}


@pytest.mark.parametrize(
    ("way", "form"), sorted({*product(WRITTEN, ("PNG", "JPEG", "WEBP", "GIF", "TIFF"))} - UNCLEAR)
)
def test_pictures_in_cells_are_decoded_byte_by_byte(tmp_path, way, form):
    data = [picture(n, form=form) for n in range(20)]
    path = save(tmp_path, [WRITTEN[way](one) for one in data], name="content")
    found = preview(path)
    assert (found.kind, found.options.image, found.problem_counts) == ("image", "content", {})
    assert any("decoded from its cells" in note for note in found.notes)
    assert [record.image.data for record in read(path)] == data


def test_bytes_in_parquet_and_addresses_in_json_are_pictures(tmp_path):
    data = [picture(n) for n in range(20)]
    parquet = tmp_path / "data.parquet"
    pd.DataFrame({"scan": data, "label": LABELS}).to_parquet(parquet)
    lines = tmp_path / "data.jsonl"
    rows = [
        {"scan": WRITTEN["address"](one), "label": label}
        for one, label in zip(data, LABELS, strict=True)
    ]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path in (parquet, lines):
        assert [record.image.data for record in read(path)] == data


def test_damaged_pictures_are_reported_by_row(tmp_path):
    cells = [WRITTEN["address"](picture(n)) for n in range(20)]
    cells[3] = cells[3][:60]
    cells[5] = cells[5][:40] + "!" + cells[5][40:]
    found = problems(save(tmp_path, cells))
    assert [(problem.row, problem.what) for problem in found] == [
        (5, "unreadable image"),
        (7, "unreadable image"),
    ]
    assert "in the cell cannot be decoded" in found[1].message


def test_addresses_of_pictures_are_refused_by_name(tmp_path):
    path = save(tmp_path, [f"https://example.org/i/{n}" for n in range(20)])
    with pytest.raises(InputError, match=r"missing image \(20\).*is an address, and nothing is"):
        preview(path)


def test_addresses_alone_are_texts(tmp_path):
    path = save(tmp_path, [f"https://example.org/i?n={n}" for n in range(20)], name="url")
    assert preview(path).options.text == "url"
