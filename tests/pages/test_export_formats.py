"""The forms in which the page gives the corrected labels away, and takes decisions back."""

from __future__ import annotations

import csv
import io

from relabel.db.decisions.audit import Shown
from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.projects import create_project, get_project
from relabel.export import export_labels
from relabel.export.history import export_history
from relabel.exporters.registry import list_fitting
from relabel.importers.files.shared import measure_files
from relabel.importers.options import ImportOptions
from tests.relabel.exporters.toy import added_exporter


def formats_of(app):
    return next(item for item in app.selectbox if item.key == "export-format")


def captions(app):
    return " ".join(one.value for one in app.caption)


def test_the_page_offers_every_exporter_and_says_what_is_in_the_file(open_app):
    app = open_app("history", project="digits")
    assert not app.exception
    titles = [one.title for one in list_fitting("image", "classification")]
    assert formats_of(app).options == titles
    assert "1,797 examples, 0 of them reviewed, 0 corrected, 0 excluded. In the CSV, " in captions(
        app
    )
    app = formats_of(app).set_value("parquet").run()
    assert "Parquet holds the texts as they are." in captions(app)
    app = formats_of(app).set_value("label-studio").run()
    assert '<Image name="image" value="$image"/>' in app.code[0].value
    # A demo was imported from no file: that is said before anything is pressed.
    app = formats_of(app).set_value("own").run()
    assert not app.exception
    assert "not imported from a file" in app.error[0].value


def test_a_file_that_changes_under_the_page_is_told_before_it_is_exported(
    open_app, engine, tmp_path
):
    path = tmp_path / "pets.csv"
    path.write_text("text,label\na good one,pos\na bad one,neg\n")
    entry = {
        "path": str(path),
        "file": measure_files((path,)),
        "options": ImportOptions(text="text", label="label").to_json(),
    }
    create_project(
        engine,
        slug="own",
        title="Own",
        kind="text",
        classes=("neg", "pos"),
        settings={"imports": [entry]},
    )
    app = open_app("history", project="own")
    app = formats_of(app).set_value("own").run()
    assert not app.exception
    assert not app.error
    path.write_text("text,label\na good one,pos\na sad one,neg\n")
    assert "is not what was imported" in app.run().error[0].value


def test_a_new_exporter_is_offered(open_app, tmp_path):
    with added_exporter(tmp_path):
        app = open_app("history", project="digits")
        assert formats_of(app).options[:3] == ["CSV", "Pairs", "Parquet"]
        app = formats_of(app).set_value("pairs").run()
        assert not app.exception
        assert formats_of(app).value == "pairs"
        assert "In the Pairs, line ends become blanks." in captions(app)


def test_decisions_come_back_and_the_history_says_on_which_evidence(open_app, engine, tmp_path):
    project = get_project(engine, "digits")
    content = export_labels(engine, project.id, format="csv").decode()
    rows = list(csv.DictReader(io.StringIO(content)))
    rows[0]["label"] = "8" if rows[0]["label"] != "8" else "3"
    rows[1] |= {"action": "exclude", "reviewer": "Zoë", "decided_at": "2026-01-02T03:04:05+00:00"}
    rows[2] |= {"key": "nobody", "action": "keep"}
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows[:3])
    path = tmp_path / "back.csv"
    path.write_text(lines.getvalue(), newline="")
    app = open_app("history", project="digits")
    app = app.text_input(key="decisions-path").set_value(str(path)).run()
    assert not app.exception
    plan = next(one.value for one in app.markdown if "to be recorded" in one.value)
    assert "2 to be recorded" in plan
    assert "1 of an example that is not here" in plan
    app = app.button(key="returned-record").click().run()
    assert not app.exception
    assert "2 recorded" in app.success[0].value
    found = fetch_history(engine, project.id)
    assert [(row.action, row.source) for row in found.rows] == [
        ("exclude", "import"),
        ("relabel", "import"),
    ]
    shown = Shown(signal="suspicion", suggested_label=3, suggested_probability=0.93)
    example = found.rows[0].example_id
    record_decision(engine, NewDecision(example, 1, "ann", "keep", rank=7, score=0.5, shown=shown))
    app = open_app("inspect", project="digits", example=str(example))
    assert not app.exception
    told = next(one.value for one in app.markdown if "in force" in one.value)
    assert "suspect 7 by suspicion, score 0.5, suggested 3 93%" in told.replace("\\", "")
    assert "stated as 2026-01-02 03:04 UTC" in told.replace("\\", "")
    events = csv.DictReader(io.StringIO(export_history(engine, project.id, format="csv").decode()))
    last = list(events)[-1]
    assert (last["signal"], last["suggested_label"], last["suggested_probability"]) == (
        "suspicion",
        "3",
        "0.93",
    )
    assert (last["label_before"], last["rank"], last["in_force"]) == (rows[1]["label"], "7", "true")
