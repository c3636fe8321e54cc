"""The Projects page: from data to a project, and what is done to a whole project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Expander

from relabel.db.examples import NewExample, add_examples
from relabel.db.jobs import claim_job, create_job, finish_job, heartbeat, list_jobs
from relabel.db.projects import create_project, list_projects
from relabel.importers.detect import list_columns
from relabel.importers.ingest.project import import_project
from relabel.importers.options import ImportOptions
from relabel.workspace import Workspace
from tests.relabel.importers.builders import image_folder
from tests.relabel.importers.builders import pets as pictures_of_pets
from ui.projects.import_preview import without_switches
from ui.wording import suggest_slug

pytestmark = pytest.mark.usefixtures("forked")

HOSTILE = "<b>T</b> :red[x] ![a](http://example.com/x.png)"


@pytest.fixture
def workspace(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace: these pages are where it gets its first project."""
    monkeypatch.setenv("TRACIN_WORKSPACE", str(place.root))
    return place


@pytest.fixture
def pets(engine: Engine):
    project = create_project(
        engine, slug="pets", title=HOSTILE, kind="text", classes=["cat", "<i>dog</i>"]
    )
    add_examples(
        engine,
        project.id,
        [NewExample(f"k{n}", "train", n, n % 2, text=f"text {n}") for n in range(6)],
    )
    return project


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "Film reviews.csv"
    rows = [
        f"this film was {'good' if n % 2 else 'bad'} in scene {n},{'yes' if n % 2 else 'no'}"
        for n in range(40)
    ]
    path.write_text("\n".join(["review,liked", *rows, "a text without a label,"]) + "\n")
    return path


def said(app: AppTest) -> str:
    """Return all that stands on the page as texts."""
    parts = (app.markdown, app.caption, app.text, app.error, app.warning, app.success, app.info)
    return "\n".join(str(item.value) for part in parts for item in part)


def choose(app: AppTest, path: Path) -> AppTest:
    return app.text_input(key="import-path").set_value(str(path)).run()


@pytest.mark.parametrize("page", ["overview", "queue", "review", "inspect", "history", "runs"])
def test_without_a_project_every_page_leads_to_a_new_one(open_app, page):
    app = open_app(page)
    assert not app.exception
    assert app.title[0].value == "Projects"
    assert app.text_input(key="import-path")
    assert said(app).count("There is no project yet") == 1
    assert "demo all" in app.code[0].value


def test_data_is_shown_as_it_was_understood_and_nothing_is_written(open_app, engine, table):
    app = choose(open_app("projects"), table)
    assert not app.exception
    assert "40 texts, each with one of 2 classes" in said(app)
    assert "1 cannot be used" in said(app)
    assert "row 42" in said(app)
    assert "--label" not in said(app)
    assert list_projects(engine) == []
    assert list_jobs(engine) == []


def test_the_name_is_suggested_from_the_file(open_app, table):
    app = choose(open_app("projects"), table)
    names = {item.label: item.value for item in app.text_input}
    assert (names["Name"], names["Title"]) == ("film-reviews", "Film reviews")


def test_a_column_without_a_guess_is_named_by_hand(open_app, tmp_path):
    path = tmp_path / "rows.csv"
    rows = [f"{n % 7},{n % 3}.5,{n * 1.5}" for n in range(30)]
    path.write_text("\n".join(["rooms,age,price", *rows]) + "\n")
    app = choose(open_app("projects"), path)
    assert not app.exception
    assert "cannot be told" in app.error[0].value
    assert not [item for item in app.button if item.key == "import"]
    kind = next(item for item in app.button_group if item.label == "What is to be predicted")
    app = kind.set_value("target").run()
    number = next(item for item in app.selectbox if item.label == "Column with the number")
    app = number.set_value("price").run()
    assert not app.error
    assert "a number, “price”" in said(app).replace("\\", "")
    assert not app.button(key="import").disabled


@pytest.fixture
def news(tmp_path: Path) -> Path:
    """A table without a row of names."""
    path = tmp_path / "train.csv"
    rows = [f'"{1 + n % 3}","story {n}","the words of story {n}, all of them"' for n in range(30)]
    path.write_text("\n".join(rows) + "\n")
    return path


def name_columns(app: AppTest, names: str) -> AppTest:
    return next(i for i in app.text_input if i.label == "Names of the columns").set_value(names)


def test_columns_without_names_are_named_and_their_texts_joined(open_app, engine, news):
    app = choose(open_app("projects"), news)
    told = app.error[0].value.replace("\\", "")
    assert "name its 3 columns in their order" in told
    assert "--columns" not in told
    app = name_columns(app, "class, title, description").run()
    assert not app.error
    assert "30 texts, each with one of 3 classes" in said(app)
    texts = next(item for item in app.multiselect if item.label == "Columns with the text")
    assert texts.value == ["description"]
    app = texts.set_value(["title", "description"]).run()
    assert not app.exception
    shown = app.dataframe[0].value["Text"]
    # A cell is one line.
    assert shown[0] == "title: story 0 description: the words of story 0, all of them"
    assert not app.button(key="import").disabled


def test_numbers_as_labels_get_the_names_that_are_given(open_app, news):
    app = name_columns(choose(open_app("projects"), news), "class,title,description").run()
    names = next(item for item in app.text_input if item.label == "Names of the classes")
    app = names.set_value('World, Sports, "Business, Tech"').run()
    assert not app.exception
    assert set(app.dataframe[0].value["Label"]) == {"World", "Sports", "Business, Tech"}
    assert app.dataframe[0].value["Label"][0] == "World"
    assert "counted from 1" in said(app)
    first = next(item for item in app.selectbox if item.label == "The first class is")
    app = first.set_value(0).run()
    assert "10 cannot be used" in said(app)


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Texts as an annotation tool exports them: two spellings of a class, 14 columns more."""
    path = tmp_path / "answers.csv"
    more = [f"remark{n}" for n in range(14)]
    rows = [
        ",".join(
            [
                f"this text is number {n} of all",
                ("good", "bad", "Good")[n % 3],
                ("accept", "reject")[n % 5 == 0],
                *(f"a remark in {name} as long as {n}" for name in more),
            ]
        )
        for n in range(60)
    ]
    path.write_text("\n".join([",".join(["text", "label", "answer", *more]), *rows]) + "\n")
    return path


def test_what_a_status_leaves_out_is_said_and_can_be_taken(open_app, annotated):
    app = choose(open_app("projects"), annotated)
    assert not app.exception
    assert "48 texts, each with one of 3 classes" in said(app)
    assert "left out: 12 of 60 rows, 'reject' (12)" in said(app).replace("\\", "")
    values = next(i for i in app.multiselect if i.label == "Values with which a row is taken")
    assert values.value == ["accept"]
    app = values.set_value(["accept", "reject"]).run()
    assert not app.exception
    assert "60 texts, each with one of 3 classes" in said(app)


def test_spellings_are_merged_where_the_box_says_so(open_app, annotated):
    app = choose(open_app("projects"), annotated)
    assert "“Merge spellings of a name” makes them one each" in said(app)
    box = next(item for item in app.checkbox if item.label == "Merge spellings of a name")
    app = box.set_value(True).run()
    assert not app.exception
    assert "48 texts, each with one of 2 classes" in said(app)


def test_every_note_stands_on_the_page_however_many_there_are(open_app, annotated):
    app = choose(open_app("projects"), annotated)
    text = said(app).replace("\\", "")
    assert [
        name for name in (f"remark{n}" for n in range(14)) if f"'{name}': left" not in text
    ] == []
    assert "“Columns with the text” text,remark0 takes it in" in text
    assert "--text" not in text


def test_folders_taken_for_something_else_can_be_named_as_classes(open_app, tmp_path):
    root = image_folder(tmp_path / "sets", [f"{part}/{n}.png" for part in ("images", "masks")
                                            for n in range(6)])  # fmt: skip
    app = choose(open_app("projects"), root)
    assert "look like pictures with masks" in app.error[0].value
    assert "--classes" not in app.error[0].value
    box = next(item for item in app.text_input if item.label == "Folders that are classes")
    app = box.set_value("images,masks").run()
    assert not app.exception
    assert "12 images, each with one of 2 classes" in said(app)
    box = next(item for item in app.text_input if item.label == "Folders to test with")
    app = box.set_value("masks").run()
    assert "no folders masks with folders of classes in them" in app.error[0].value


def test_arrays_are_named_by_hand(open_app, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    labels = np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train_a=labels, y_train_b=1 - labels,
             truth_train=labels)  # fmt: skip
    app = choose(open_app("projects"), tmp_path / "a.npz")
    assert "several arrays of labels" in said(app)
    image = next(item for item in app.selectbox if item.label == "Column with the image")
    app = image.set_value("x_train").run() if image.value is None else app
    label = next(item for item in app.selectbox if item.label == "Column with the class")
    app = label.set_value("y_train_b").run()
    assert not app.exception
    assert "20 images, each with one of 2 classes" in said(app)
    np.savez(tmp_path / "b.npz", x_train=pixels, y_train=labels, truth_train=labels)
    app = choose(open_app("projects"), tmp_path / "b.npz")
    truth = next(item for item in app.text_input if item.label == "Array with the truth")
    app = truth.set_value("truths").run()
    assert "no array" in app.error[0].value
    truth = next(item for item in app.text_input if item.label == "Array with the truth")
    app = truth.set_value("truth").run()
    assert not app.exception
    assert "20 images" in said(app)


def test_an_option_without_an_effect_is_told(open_app, tmp_path):
    root = image_folder(tmp_path / "pets", pictures_of_pets(each=6))
    app = choose(open_app("projects"), root)
    box = next(item for item in app.selectbox if item.label == "Between the fields of a line")
    app = box.set_value(";").run()
    assert "no effect on a folder of images" in app.error[0].value


@pytest.mark.parametrize(("names", "told"), [("a,b", "Found 2 names"), ("a,a,b", "'a' twice")])
def test_names_that_do_not_fit_are_told(open_app, news, names, told):
    app = name_columns(choose(open_app("projects"), news), names).run()
    assert not app.exception
    assert told in app.error[0].value.replace("\\", "")
    assert "--columns" not in app.error[0].value


@pytest.fixture
def known_news(engine: Engine, workspace: Workspace, news: Path) -> Path:
    """The table once more, with a project of it whose columns were not guessed but said."""
    named = ImportOptions(
        columns=("class", "title", "description"),
        text=("title", "description"),
        label="class",
        classes=("World", "Sports", "Business"),
    )
    import_project(engine, workspace, "news", news, named)
    return news


def test_grown_data_is_read_as_the_project_was(open_app, known_news):
    # Without a word about its columns, how texts are joined or what the labels mean.
    app = choose_growth(open_app("projects", show="new"), known_news)
    assert not app.exception
    assert not app.error
    texts = next(item for item in app.multiselect if item.label == "Columns with the text")
    assert texts.value == ["title", "description"]
    names = next(item for item in app.text_input if item.label == "Names of the classes")
    assert names.value == "World,Sports,Business"
    assert "nothing is new. 30 are there already" in said(app).replace("\\", "")


def test_grown_texts_of_fewer_columns_are_warned_of(open_app, known_news):
    app = choose_growth(open_app("projects", show="new"), known_news)
    texts = next(item for item in app.multiselect if item.label == "Columns with the text")
    app = texts.set_value(["description"]).run()
    assert not app.exception
    assert "made of the columns 'title', 'description'" in app.warning[0].value.replace("\\", "")


def test_grown_data_with_a_row_of_names_needs_none(open_app, known_news, tmp_path):
    more = tmp_path / "more.csv"
    more.write_text("class,title,description\n1,a new story,and all of its words\n")
    app = choose_growth(open_app("projects", show="new"), more)
    assert not app.exception
    assert not app.error
    assert "A table with 1 new text: 1 to train with" in said(app).replace("\\", "")


def test_what_cannot_be_read_without_a_word_shows_the_boxes_for_it(open_app, news, table):
    def box(app: AppTest) -> Expander:
        return next(item for item in app.expander if item.label == "How to read it")

    app = choose(open_app("projects"), news)
    assert box(app).proto.expanded
    app = name_columns(app, "class, title, description").run()
    assert box(app).proto.expanded
    assert not box(choose(app, table)).proto.expanded


def test_a_contradiction_is_told_and_the_boxes_stay(open_app, table):
    app = choose(open_app("projects"), table)
    label = next(item for item in app.selectbox if item.label == "Column with the class")
    app = label.set_value("review").run()
    assert not app.exception
    assert "only copy it" in app.error[0].value
    assert [item for item in app.selectbox if item.label == "Column with the class"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.csv", None, "does not exist"),
        ("sheet.xlsx", b"PK??", "Save the sheet as CSV"),
        ("empty.csv", b"", "is empty"),
        ("one.csv", b"text,label\na long text,same\nanother long text,same\n", "class"),
    ],
)
def test_data_that_cannot_be_imported_is_explained(open_app, tmp_path, name, content, told):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    app = choose(open_app("projects"), path)
    assert not app.exception
    assert told in app.error[0].value.replace("\\", "")
    assert not [item for item in app.button if item.key == "import"]


WHOLE = "Expected a whole one"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("reviews.csv", WHOLE),
        ('"data"', WHOLE),
        ("hf://datasets/stanfordnlp/imdb", "relabel import NAME ADDRESS"),
    ],
)
def test_a_path_that_is_not_whole_is_asked_for_again(open_app, typed, told):
    app = open_app("projects")
    app = app.text_input(key="import-path").set_value(typed).run()
    assert not app.exception
    assert told in app.error[0].value


def test_a_name_that_is_taken_is_refused(open_app, pets, table):
    app = choose(open_app("projects", show="new"), table)
    name = next(item for item in app.text_input if item.label == "Name")
    app = name.set_value("pets").run()
    assert "already" in app.warning[0].value
    assert app.button(key="import").disabled


def test_projects_of_one_title_are_told_apart(open_app, engine, workspace, pets, table):
    for slug in ("films", "films-2"):
        import_project(engine, workspace, slug, table, ImportOptions(), title="Films")
    app = choose_growth(open_app("projects", show="new", project="films-2"), table)
    box = next(item for item in app.selectbox if item.label == "Project to add to")
    assert box.options == ["films · Films", "films-2 · Films"]  # what was not imported cannot grow
    assert box.value == "films-2"  # the one that is open
    assert app.sidebar.selectbox[0].options[-2:] == box.options


def choose_growth(app: AppTest, path: Path) -> AppTest:
    app = choose(app, path)
    into = next(item for item in app.button_group if item.label == "Import into")
    return into.set_value("grow").run()


@pytest.fixture
def films(engine: Engine, workspace: Workspace, table: Path) -> Path:
    import_project(engine, workspace, "films", table, ImportOptions())
    return table


def test_what_grown_data_adds_is_said_before_it_is_imported(open_app, films):
    films.write_text(
        films.read_text().replace("in scene 7,yes", "in scene 7,no") + "one more film,no\n"
    )
    app = choose_growth(open_app("projects", show="new"), films)
    assert not app.exception
    text = said(app).replace("\\", "")
    assert "with 1 new text: 1 to train with and 0 to test with. 40 are there already" in text
    assert "with which it was imported. The project keeps that one" in text
    assert not app.button(key="import").disabled


def test_grown_data_without_anything_new_cannot_be_imported(open_app, films):
    app = choose_growth(open_app("projects", show="new"), films)
    assert "nothing is new. 40 are there already" in said(app).replace("\\", "")
    assert app.button(key="import").disabled


def test_new_classes_of_grown_data_are_said(open_app, films, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("remark,label\n" + "".join(f"a remark {n},g{n % 2}\n" for n in range(20)))
    app = choose_growth(open_app("projects", show="new"), other)
    assert "16 to train with and 4 to test with. New classes: “g0”, “g1”." in said(app).replace(
        "\\", ""
    )


def test_without_a_project_that_can_grow_there_is_only_a_new_one(open_app, pets, table):
    app = choose(open_app("projects", show="new"), table)
    assert not app.exception
    assert not [item for item in app.button_group if item.label == "Import into"]
    assert not app.button(key="import").disabled


def test_the_list_says_what_a_project_holds(open_app, pets):
    app = open_app("projects")
    assert not app.exception
    text = said(app).replace("\\", "")
    assert "6 train and 0 test examples" in text
    assert "Texts, 2 classes" in text
    assert "not scored yet" in text


def test_a_title_is_never_markup(open_app, pets):
    app = open_app("projects")
    title = next(item.value for item in app.markdown if "T" in item.value)
    assert "<b>" not in title
    assert "\\!\\[a\\]" in title


def test_a_project_is_opened(open_app, engine, pets):
    create_project(engine, slug="other", title="Other", kind="text", classes=["a", "b"])
    app = open_app("projects")
    app = app.button(key="open-other").click().run()
    assert not app.exception
    assert app.title[0].value == "Runs"
    assert app.session_state["project"] == "other"


def test_an_import_at_work_is_shown_with_its_time_left(open_app, engine):
    job = create_job(engine, "photos", "import")
    claim_job(engine, job.id)
    heartbeat(engine, job.id, progress=0.4, message="writing the examples", seconds_left=42)
    app = open_app("projects")
    assert not app.exception
    assert "40% of the whole · writing the examples · about 42 s left" in progress_texts(app)
    assert app.button(key=f"cancel-{job.id}")


def progress_texts(app: AppTest) -> str:
    bars = app.get("progress")
    return "\n".join(str(bar.proto.text) for bar in bars).replace("\\", "")


def test_what_an_import_brought_and_left_out_is_said(open_app, engine, pets):
    job = create_job(engine, "pets", "import", options={"path": "/nowhere.csv"})
    claim_job(engine, job.id)
    refused = [{"row": 3, "where": "row 3", "message": "The text is empty: <b>write one</b>."}]
    result = {
        "added": {"train": 6, "test": 0},
        "num_refused": 1,
        "refused": refused,
        "duplicates": 2,
        "created": True,
    }
    finish_job(engine, job.id, "succeeded", result=result)
    app = open_app("projects", job=str(job.id))
    text = said(app).replace("\\", "")
    assert "6 examples imported (6 train)" in text
    assert "1 could not be used" in text
    assert "2 came more than once" in text
    assert "row 3: The text is empty: <b>write one</b>." in [item.value for item in app.text]
    app = app.button(key="go-on-pets").click().run()
    assert app.title[0].value == "Runs"


def test_a_failed_import_is_explained(open_app, engine):
    job = create_job(engine, "photos", "import", options={"path": "/nowhere"})
    claim_job(engine, job.id)
    finish_job(engine, job.id, "failed", error="The disk is full. Free some space.")
    app = open_app("projects", job=str(job.id))
    assert not app.exception
    assert "The disk is full" in app.error[0].value.replace("\\", "")
    assert app.button(key=f"retry-{job.id}")


@pytest.mark.parametrize("number", ["0", "999", "x", "9" * 40, "-1"])
def test_an_unknown_job_in_the_address_is_no_harm(open_app, pets, number):
    app = open_app("projects", job=number)
    assert not app.exception
    assert app.button(key="open-pets")


def test_what_is_no_backup_is_refused(open_app, pets, tmp_path):
    path = tmp_path / "some.zip"
    path.write_bytes(b"PK no backup")
    app = open_app("projects", show="restore")
    app = app.text_input(key="backup-path").set_value(str(path)).run()
    assert not app.exception
    assert app.error


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("Film reviews.csv.gz", (), "film-reviews"),
        ("photos", {"photos", "photos-2"}, "photos-3"),
        ("..", (), "my-data"),
        ("Ünïcode 猫.parquet", (), "n-code"),
        ("x" * 90, (), "x" * 40),
    ],
)
def test_a_suggested_name_is_free_and_allowed(name, taken, expected):
    assert suggest_slug(name, taken) == expected


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("Label: column 'a'. --label or --target says otherwise.", "Label: column 'a'."),
        ("Image: 'b'. --image, --text or --features says otherwise.", "Image: 'b'."),
        ("From the table. --format image-folder says otherwise.", "From the table."),
        ("20% for testing. --test-share and --seed say otherwise.", "20% for testing."),
        (
            "Name classes with --label, or numbers with --target.",
            "Name classes under “Column with the class”, or numbers under “Column with the "
            "number”.",
        ),
        ("To join: --text a,b.", "To join: “Columns with the text” a,b."),
        ("Column 'x--y' is a text -- a long one.", "Column 'x--y' is a text -- a long one."),
    ],
)
def test_switches_of_the_command_line_are_not_shown(told, shown):
    assert without_switches(told) == shown


def test_the_box_of_the_classes_is_the_one_that_is_there():
    told = "Name them with --classes: a,b"
    assert without_switches(told) == "Name them under “Names of the classes”: a,b"
    assert without_switches(told, folders=True) == "Name them under “Folders that are classes”: a,b"


def test_columns_whose_roles_cannot_be_told_are_listed(tmp_path):
    for name, content in {
        "a.csv": "rooms;kind\n3;flat\n4;house\n",
        "b.jsonl": '{"rooms": 3, "kind": "flat"}\n{"rooms": 4, "kind": "house"}\n',
    }.items():
        (tmp_path / name).write_text(content)
        columns = list_columns(tmp_path / name, ImportOptions())
        assert [(one.name, one.kind) for one in columns] == [("rooms", "number"), ("kind", "text")]
    assert list_columns(tmp_path, ImportOptions()) == ()
