"""The report: one page that says what was found, and that nothing in data can make do anything."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from PIL import Image

from relabel.cli import main
from relabel.db.engine import open_database
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project, get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.worth.gain.measure import measure_gain
from relabel.worth.gain.options import GainOptions
from relabel.worth.noise_rate import ClassNoise, NoiseRate
from relabel.worth.report.collect import collect_facts
from relabel.worth.report.drawing import Drawing, fit, make_png, make_svg, split_dashes
from relabel.worth.report.figures import draw_all
from relabel.worth.report.page import make_page
from relabel.worth.report.write import make_report, make_slides
from tests.relabel.scoring.small_projects import (
    make_houses,
    make_images,
    make_texts,
    open_workspace,
)
from tests.relabel.worth.gain.small import correct_texts, decide
from tracin_core.errors import ConfigurationError

WRONG = tuple(range(0, 60, 5))
EVIL = "</style></title><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\"'&"


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes, and its visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


@pytest.fixture
def opened(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    yield engine, workspace
    engine.dispose()


def parse(svg: str | bytes) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def check_harmless(page: str) -> Tags:
    """Check that a page has no script, no request and no style of data's."""
    tags = Tags(page)
    names = {name for name, _ in tags.found}
    assert not names & {"script", "iframe", "object", "embed", "link", "form", "base", "audio"}
    for name, attributes in tags.found:
        for attribute, value in attributes.items():
            assert not attribute.startswith("on"), (name, attribute)
            assert attribute != "style"
            if attribute in {"src", "href", "action", "data"}:
                assert str(value).startswith("data:image/"), (name, attribute, value)
    assert "url(" not in page
    assert page.count("<style>") == 1
    style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    policy = next(a["content"] for n, a in tags.found if n == "meta" and "http-equiv" in a)
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return tags


def test_a_reviewed_project_is_told_in_words_and_figures(opened):
    engine, workspace = opened
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, WRONG[:8])
    decide(engine, project, 50, "exclude")
    decide(engine, project, 51, "keep")
    measure_gain(engine, workspace, "weather", GainOptions(seeds=3))
    text = check_harmless(make_report(engine, workspace, "weather").decode()).text
    assert "10 of the train examples (16.7% of 60) were reviewed by 1 person." in text
    assert "9 wrong labels were found: 8 corrected, 1 left out." in text
    assert "Ann" in text
    assert "test accuracy" in text
    assert "95% interval" in text
    names = [one.name for one in draw_all(collect_facts(engine, workspace, "weather"))]
    assert names == ["flows", "levels", "gain", "gain-by-class"]  # nothing was ranked or audited


def test_a_project_that_nobody_has_touched_has_a_report_too(opened):
    engine, workspace = opened
    make_texts(engine)
    text = check_harmless(make_report(engine, workspace, "weather").decode()).text
    assert "Nothing has been decided about the 60 train examples yet" in text
    with pytest.raises(ConfigurationError, match="nothing to draw"):
        make_slides(engine, workspace, "weather")


def test_an_audit_says_how_many_are_left(opened):
    engine, workspace = opened
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, WRONG[:8])
    facts = collect_facts(engine, workspace, "weather")
    drawn, by_name = 50, (("sun", 0.1, 0.04, 0.23), ("rain", 0.3, 0.19, 0.44))
    classes = tuple(
        ClassNoise(
            label=label,
            name=name,
            rate=rate,
            low=low,
            high=high,
            num_audited=drawn // 2,
            num_wrong=round(rate * drawn / 2),
            num_examples=30,
        )
        for label, (name, rate, low, high) in enumerate(by_name)
    )
    audit = NoiseRate(
        rate=0.2,
        low=0.15,
        high=0.3,
        num_audited=drawn,
        num_wrong=10,
        num_drawn=drawn,
        num_skipped=0,
        num_examples=60,
        design="uniform",
        by_class=classes,
        uniform_worth=50.0,
    )
    audited = replace(facts, audit=audit, noise_classes=classes)
    text = check_harmless(make_page(audited)).text
    assert "20.0% of the labels as given are wrong (95% interval 15.0% to 30.0%)" in text
    assert "With 8 found, about 4 are left (between 1 and 10) among the 60" in text
    noise = next(one for one in draw_all(audited) if one.name == "noise")
    said = [shape.text for shape in noise.shapes if shape.kind == "text"]
    assert said.index("rain") < said.index("sun")  # the noisiest class on top
    assert "30.0%" in said


def test_hostile_names_texts_and_notes_stay_text(opened):
    engine, workspace = opened
    title = f"Title {EVIL}"
    project = create_project(
        engine, slug="weather", title=title, kind="text", classes=(f"a{EVIL}", f"b{EVIL}")
    )
    examples = [
        NewExample(
            key=f"{split}-{i}", split=split, position=i, given_label=i % 2, text=f"{EVIL} word {i}"
        )
        for split in ("train", "test")
        for i in range(8)
    ]
    add_examples(engine, project.id, examples)
    for position in (0, 3):
        new = 1 - position % 2
        decide(engine, project, position, "relabel", new_label=new, note=f"note {EVIL}")
    measure_gain(engine, workspace, "weather", GainOptions(seeds=3))
    page = make_report(engine, workspace, "weather").decode()
    tags = check_harmless(page)
    assert "<script>alert(1)</script>" in tags.text  # shown as it is, to be read
    assert "note </style>" in tags.text
    with zipfile.ZipFile(io.BytesIO(make_slides(engine, workspace, "weather"))) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".svg"):
                drawn = {one.tag.split("}")[1] for one in parse(content).iter()}
                assert drawn <= {"svg", "title", "desc", "rect", "polyline", "polygon", "circle",
                                 "text"}  # fmt: skip
            else:
                assert Image.open(io.BytesIO(content)).size == (1920, 1080)


def test_pictures_are_inside_and_those_that_cannot_be_read_are_said(opened):
    engine, workspace = opened
    project = make_images(engine, workspace)
    decide(engine, project, 0, "relabel", new_label=1)
    decide(engine, project, 1, "relabel", new_label=0)
    (workspace.media_folder("squares") / "train" / "1.png").write_bytes(b"no picture")
    tags = check_harmless(make_report(engine, workspace, "squares").decode())
    pictures = [attributes["src"] for name, attributes in tags.found if name == "img"]
    assert len(pictures) == 1
    shown = Image.open(io.BytesIO(base64.b64decode(pictures[0].split(",", 1)[1])))
    assert max(shown.size) <= 224
    assert "The picture cannot be read." in tags.text


def test_numbers_have_a_report_without_classes(opened):
    engine, workspace = opened
    project = make_houses(engine, wrong=(3,))
    decide(engine, project, 3, "relabel", new_value=100_000.0)
    measure_gain(engine, workspace, "houses", GainOptions(seeds=3))
    tags = check_harmless(make_report(engine, workspace, "houses").decode())
    assert "1 wrong value was found" in tags.text
    assert "test R²" in tags.text


def test_evidence_of_a_demo_stands_beside_its_corrections(workspace):
    engine = open_database(workspace.database_url)
    project = get_project(engine, "digits")
    run = current_run(engine, project.id)
    for view in fetch_page(engine, run.id, page_size=12).rows:
        if view.suggested_label not in (None, view.given_label):
            new = view.suggested_label
            decide(engine, project, view.position, "relabel", new_label=new)
    facts = collect_facts(engine, workspace, "digits")
    assert 1 <= len(facts.telling) <= 5
    first = facts.telling[0]
    assert first.votes is not None
    assert first.votes > first.asked / 2  # most of those that spoke against have the right label
    assert len(first.opponents) == len(first.proponents) == 3
    tags = check_harmless(make_page(facts))
    assert sum(name == "img" for name, _ in tags.found) == 7 * len(facts.telling)
    assert "found" in [one.name for one in draw_all(facts)]
    assert len(make_page(facts)) < 400_000
    engine.dispose()


def test_the_command_writes_the_page_and_the_slides(tmp_path, monkeypatch, capsys):
    engine, workspace = open_workspace(tmp_path / "work")
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, WRONG[:3])
    engine.dispose()
    monkeypatch.setenv("TRACIN_WORKSPACE", str(workspace.root))
    page, folder = tmp_path / "out.html", tmp_path / "slides"
    assert main(["report", "weather", "-o", str(page), "--figures", str(folder)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert sorted(one.name for one in folder.iterdir()) == ["1-flows.png", "1-flows.svg"]
    assert str(page) in capsys.readouterr().out


def test_the_same_is_drawn_as_svg_and_png():
    drawing = Drawing("one", "Title", "What it shows")
    drawing.box(100, 100, 200, 50, "#1d5fa8")
    drawing.area([(500, 100), (600, 100), (600, 200)], "#b35a00", 0.5)
    drawing.text(10, 400, "名前 <b>", size=20)
    picture = Image.open(io.BytesIO(make_png(drawing))).convert("RGB")
    assert picture.getpixel((400, 250)) == (0x1D, 0x5F, 0xA8)
    assert picture.getpixel((410, 350)) == (255, 255, 255)
    assert picture.getpixel((1190, 220)) == (217, 172, 128)  # half of the colour, half of white
    root = parse(make_svg(drawing))
    box = root.find("{http://www.w3.org/2000/svg}rect")
    assert [float(box.get(name)) for name in ("x", "y", "width", "height")] == [100, 100, 200, 50]
    assert root.find("{http://www.w3.org/2000/svg}text").text == "名前 <b>"


def test_long_names_are_shortened_to_their_place():
    assert fit("short", 200, 16) == "short"
    assert fit("a" * 100, 100, 10).endswith("…")
    assert len(fit("名" * 100, 100, 10)) < len(fit("a" * 100, 100, 10))


def test_a_dashed_picture_has_gaps_however_short_its_pieces_are():
    points = [(100 + place / 2, 300.0) for place in range(400)]
    pieces = split_dashes(points, 24)
    drawn = sum(right[0] - left[0] for left, right in pieces)
    assert drawn == pytest.approx(199.5 / 2, abs=24)
