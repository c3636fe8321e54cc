"""The forms in which the page gives the corrected labels away."""

from __future__ import annotations

from tests.relabel.exporters.toy import added_exporter


def formats_of(app):
    return next(item for item in app.button_group if item.key == "export-format")


def test_the_page_offers_every_exporter_and_says_what_it_changes(open_app):
    app = open_app("history", project="digits")
    assert not app.exception
    assert formats_of(app).options == ["CSV", "Parquet", "JSON Lines"]
    assert any(
        one.value == "In the CSV, cells that a spreadsheet would run as a formula begin with an "
        "apostrophe; Parquet and JSON Lines hold the texts as they are."
        for one in app.caption
    )


def test_a_new_exporter_is_offered(open_app, tmp_path):
    with added_exporter(tmp_path):
        app = open_app("history", project="digits")
        titles = formats_of(app).options
        assert titles == ["CSV", "Pairs", "Parquet", "JSON Lines"]
        assert any("; in the Pairs, line ends become blanks; " in one.value for one in app.caption)
        app = formats_of(app).set_value("pairs").run()
        assert not app.exception
        assert formats_of(app).value == "pairs"
