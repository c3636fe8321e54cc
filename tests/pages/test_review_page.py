"""The review page: each decision is recorded and changes what is shown."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import update

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import writing
from relabel.db.examples import fetch_test_page, get_example
from relabel.db.projects import get_project
from relabel.db.queue import QueueFilter, fetch_page, next_suspect
from relabel.db.runs import current_run
from relabel.db.schema import ExampleRow, ProjectRow
from tests.pages.review_screen import ReviewScreen


@pytest.fixture
def digits(engine):
    project = get_project(engine, "digits")
    return project, current_run(engine, project.id)


def events(engine, project):
    return fetch_history(engine, project.id).rows


def first_suspect(engine, run):
    return next_suspect(engine, run.id)


@pytest.mark.parametrize(
    ("button", "action"), [("keep", "keep"), ("exclude", "exclude"), ("ambiguous", "ambiguous")]
)
def test_a_button_records_its_decision_on_the_suspect_shown(
    open_review, engine, digits, button, action
):
    project, run = digits
    suspect = first_suspect(engine, run)
    screen = open_review(project="digits")
    assert (screen.sheet["id"], screen.sheet["version"]) == (suspect.example_id, 0)
    assert screen.press(button)["message"].startswith("Recorded: ")
    event = events(engine, project)[0]
    assert (event.example_id, event.action) == (suspect.example_id, action)
    assert event.run_id == run.id
    assert (event.rank, event.seconds_spent) == (suspect.rank, 1.5)
    following = first_suspect(engine, run)
    assert following.example_id != suspect.example_id
    assert screen.sheet["id"] == following.example_id


def test_every_class_has_a_button_and_the_given_one_keeps(open_review, engine, digits):
    project, run = digits
    suspect = first_suspect(engine, run)
    screen = open_review(project="digits")
    assert [one["name"] for one in screen.sheet["classes"]] == [
        f"class-{label}" for label in range(len(project.classes))
    ]
    screen.press(f"class-{suspect.given_label}")
    assert events(engine, project)[0].action == "keep"


def test_relabel_with_a_note(open_review, engine, digits):
    project, run = digits
    suspect = first_suspect(engine, run)
    label = (suspect.given_label + 1) % len(project.classes)
    open_review(project="digits").press(f"class-{label}", note=" looks like it ")
    event = events(engine, project)[0]
    assert (event.action, event.new_label, event.note) == ("relabel", label, "looks like it")


def test_undo_brings_the_example_back(open_review, engine, digits):
    project, run = digits
    suspect = first_suspect(engine, run)
    screen = open_review(project="digits")
    assert screen.undoable is None
    screen.press("keep", note="sure")
    assert screen.undoable == events(engine, project)[0].id
    outcome = screen.undo()
    assert (outcome["recorded"], outcome["note"]) == (True, "sure")
    assert [event.action for event in events(engine, project)] == ["undo", "keep"]
    assert (screen.sheet["id"], screen.sheet["version"]) == (suspect.example_id, 2)


def test_a_skipped_example_comes_again_at_the_end(open_review, engine, digits):
    project, run = digits
    suspect = first_suspect(engine, run)
    open_review(project="digits").press("skip")
    assert events(engine, project)[0].action == "skip"
    assert first_suspect(engine, run).example_id != suspect.example_id


def test_a_stale_press_is_told_and_changes_nothing(open_review, engine, digits):
    project, run = digits
    suspect = first_suspect(engine, run)
    screen = open_review(project="digits")
    record_decision(
        engine,
        NewDecision(
            example_id=suspect.example_id, expected_version=0, reviewer="Ada", action="exclude"
        ),
    )
    outcome = screen.press("keep")
    assert not outcome["recorded"]
    assert "Ada excluded it" in outcome["message"]
    assert "Nothing of yours was recorded" in outcome["message"]
    assert "Your note was" not in outcome["message"]
    # It comes back as it is now, so that it can be decided otherwise.
    assert (screen.sheet["id"], screen.sheet["version"]) == (suspect.example_id, 1)
    assert "Excluded" in screen.words()
    assert [event.action for event in events(engine, project)] == ["exclude"]


def test_the_note_of_a_stale_press_is_given_back(open_review, engine, digits):
    project, run = digits
    suspect = first_suspect(engine, run)
    screen = open_review(project="digits")
    record_decision(engine, NewDecision(suspect.example_id, 0, "Ada", "exclude"))
    outcome = screen.press("keep", note="a 7, not a 1")
    assert "Your note was: “a 7, not a 1”" in outcome["message"]
    assert [event.action for event in events(engine, project)] == ["exclude"]


def test_a_class_named_by_its_digit_has_no_second_one_beside_it(open_review, engine, digits):
    _, run = digits
    suspect = first_suspect(engine, run)
    screen = open_review(project="digits")
    label = get_example(engine, suspect.example_id, run.id).given_label
    choice = screen.choices[f"class-{label}"]
    assert (choice["label"], choice["key"]) == (f"{label} (given)", str(label))


def test_a_decided_example_can_be_decided_again_from_its_address(open_review, engine, digits):
    project, run = digits
    suspect = first_suspect(engine, run)
    record_decision(
        engine,
        NewDecision(
            example_id=suspect.example_id, expected_version=0, reviewer="Ada", action="exclude"
        ),
    )
    screen = open_review(project="digits", example=str(suspect.example_id))
    assert (screen.given["asked"], screen.sheet["version"]) == (suspect.example_id, 1)
    screen.press("keep")
    assert get_example(engine, suspect.example_id, run.id).status == "kept"
    assert len(events(engine, project)) == 2


def test_a_test_example_is_reviewed_at_its_address(open_review, engine, digits):
    _project, run = digits
    test_example = fetch_test_page(engine, run.id).rows[0]
    screen = open_review(project="digits", example=str(test_example.id))
    assert not screen.app.warning
    assert screen.sheet["id"] == test_example.id
    assert screen.press("keep")["recorded"]
    assert get_example(engine, test_example.id, None).status == "kept"


def test_history_lists_the_decision(open_app, open_review):
    open_review(project="digits").press("keep")
    history = open_app("history", project="digits")
    assert not history.exception
    assert any("1 event, " in item.value.replace("\\", "") for item in history.caption)


def test_the_queues_filters_go_with_it_to_the_review(open_app, engine):
    project = get_project(engine, "docs")
    run = current_run(engine, project.id)
    first = first_suspect(engine, run)
    contradicted = QueueFilter(disagreement_only=True, text="the")
    rows = fetch_page(engine, run.id, signal="mean_loss", filter=contradicted).rows
    labels = sorted({row.given_label for row in rows} - {first.given_label})[:2]
    wanted = replace(contradicted, given_labels=tuple(labels))
    names = [project.classes[label] for label in labels]
    suspect = next_suspect(engine, run.id, signal="mean_loss", filter=wanted)
    assert suspect.example_id != first.example_id
    app = open_app("queue", project="docs")
    app.selectbox(key="signal").set_value("mean_loss")
    app.multiselect(key="given").set_value(names)
    app.toggle(key="disagrees").set_value(True)
    app = app.text_input(key="contains").set_value("the").run()
    (link,) = app.get("link_button")
    assert link.proto.label == "Review these"
    address = urlsplit(link.proto.url)
    assert address.path == "review"
    app = open_app("review", **parse_qs(address.query))
    assert not app.exception
    assert app.expander[0].label.replace("\\", "") == "Which suspects: by mean loss, 4 filters on"
    screen = ReviewScreen(app)
    assert screen.sheet["id"] == suspect.example_id
    screen.press("keep")
    following = next_suspect(engine, run.id, signal="mean_loss", filter=wanted)
    assert (screen.sheet and screen.sheet["id"]) == (following and following.example_id)


def test_what_has_been_reviewed_is_not_reviewed_from_the_queue(open_app):
    app = open_app("queue", project="docs", status="reviewed")
    assert not app.get("link_button")


def test_the_example_leads_back_to_the_persons_own_data(open_app, open_review, engine, digits):
    _project, run = digits
    suspect = first_suspect(engine, run)
    asked = {"project": "digits", "example": str(suspect.example_id)}
    assert not any(item.value.startswith("From ") for item in open_app("inspect", **asked).caption)
    assert open_review(**asked).sheet["source"] == ""
    place = f"{'folder/' * 20}*im* 3.JPG"
    with writing(engine) as connection:
        of_suspect = ExampleRow.id == suspect.example_id
        connection.execute(update(ExampleRow).where(of_suspect).values(source_place=place))
    app = open_app("inspect", **asked)
    assert not app.exception
    assert open_review(**asked).sheet["source"].startswith("From \u2068…")
    assert open_review(**asked).sheet["source"].endswith("folder/*im* 3.JPG\u2069")
    (shown,) = (item.value for item in app.caption if item.value.startswith("From "))
    assert shown.startswith("From \u2068…")
    assert "folder/\\*im\\* 3\\.JPG" in shown


def test_imported_pictures_are_found_by_their_paths(open_app, engine, digits):
    project, run = digits
    assert not any(box.key == "contains" for box in open_app("queue", project="digits").text_input)
    wanted = fetch_page(engine, run.id, page_size=3).rows[2]
    with writing(engine) as connection:
        of_wanted = ExampleRow.id == wanted.example_id
        connection.execute(update(ExampleRow).where(of_wanted).values(source_place="3/im 3.JPG"))
        imported = {**project.settings, "imports": []}
        connection.execute(
            update(ProjectRow).where(ProjectRow.id == project.id).values(settings=imported)
        )
    app = open_app("review", project="digits", contains="im 3.jpg")
    assert not app.exception
    assert app.text_input(key="contains").label == "Path contains"
    assert ReviewScreen(app).sheet["id"] == wanted.example_id


def test_the_place_says_how_far_the_review_is(open_review, engine, digits):
    _project, run = digits
    suspect = first_suspect(engine, run)
    screen = open_review(project="digits")
    assert f"Suspect {suspect.rank:,} of 1,438, top 0.07%" in screen.sheet["place"]
    screen.press("keep")
    assert "1 of 1,438 reviewed" in screen.words()


@pytest.fixture
def after_the_first_draw_of_a_suspect(engine, digits):
    """Make Ada exclude the suspect right after the transaction that found it for another page."""
    from sqlalchemy import Engine, event

    suspect = first_suspect(engine, digits[1])
    done = []

    def find(connection, cursor, statement, *_):
        if "score" in statement and connection.engine is not engine:
            connection.info["found-suspect"] = True

    def decide(connection):
        if connection.info.pop("found-suspect", False) and not done:
            done.append(suspect)
            ada = NewDecision(suspect.example_id, 0, "Ada", "exclude", note="broken scan")
            record_decision(engine, ada)

    event.listen(Engine, "after_cursor_execute", find)
    event.listen(Engine, "rollback", decide)
    try:
        yield done
    finally:
        event.remove(Engine, "after_cursor_execute", find)
        event.remove(Engine, "rollback", decide)


def test_a_decision_between_the_drawing_and_the_holding_of_a_suspect_is_seen(
    open_review, engine, digits, after_the_first_draw_of_a_suspect
):
    project, _run = digits
    screen = open_review(project="digits")
    (suspect,) = after_the_first_draw_of_a_suspect
    shown = screen.sheet["id"]
    assert shown != suspect.example_id
    assert screen.press("keep")["recorded"]
    found = [(one.action, one.reviewer, one.example_id) for one in events(engine, project)]
    assert found == [("keep", "tester", shown), ("exclude", "Ada", suspect.example_id)]


def test_an_example_that_others_decide_while_it_is_held_is_not_gone_without_a_word(
    open_app, engine, digits
):
    _project, run = digits
    suspect = first_suspect(engine, run)
    app = open_app("review", project="digits", example=str(suspect.example_id))
    record_decision(engine, NewDecision(suspect.example_id, 0, "Ada", "exclude"))
    app.run()
    assert "Ada excluded it" in app.warning[0].value
    assert ReviewScreen(app).sheet["id"] == first_suspect(engine, run).example_id


def test_undo_takes_back_what_was_offered_or_nothing(open_review, engine, digits):
    project, run = digits
    screen = open_review(project="digits")
    screen.press("keep")
    second = first_suspect(engine, run)
    screen.press("keep")
    last = events(engine, project)[0]
    # Ada decides on top of the second: the offer does not stand any more, and the first must stay.
    record_decision(engine, NewDecision(second.example_id, 1, "Ada", "exclude"))
    outcome = screen.undo(last.id)
    assert "Ada excluded it" in outcome["message"]
    assert [event.action for event in events(engine, project)] == ["exclude", "keep", "keep"]


def test_an_undo_by_the_same_name_elsewhere_is_not_added_to(open_review, engine, digits):
    project, run = digits
    screen = open_review(project="digits")
    screen.press("keep")
    ours = events(engine, project)[0]
    # A second tab, or a second person under the server's account.
    second = first_suspect(engine, run)
    record_decision(engine, NewDecision(second.example_id, 0, ours.reviewer, "exclude"))
    assert screen.undo(ours.id)["recorded"]
    assert [event.action for event in events(engine, project)] == ["undo", "exclude", "keep"]
    assert get_example(engine, second.example_id, run.id).status == "excluded"
