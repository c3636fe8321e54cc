"""What is installed is what the checkout runs, and it runs from anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from playwright.sync_api import expect, sync_playwright

from relabel.doctor import diagnose
from relabel.workspace import find_app_folder
from scripts.serving import Server, free_port, launch_browser
from tests.conftest import copy_workspace
from tracin_core import __version__

ROOT = Path(__file__).resolve().parent.parent
# What lies in site-packages; the screens have a folder of their own in the last one.
PACKAGES = [name for name in ("tracin_core", "relabel") if (ROOT / name / "__init__.py").exists()]
APP = f"{PACKAGES[-1]}/_app"
SCREENS = ("ui", "pages")
MOST_SECONDS = 3.0  # of processor time to import the engine, most of which torch takes
MOST_OF_TORCH = 1.3  # times what torch alone takes, where that is slow


def build(project: Path, folder: Path, target: str = "wheel") -> Path:
    """Build a wheel, or "sdist", with what this environment holds, asking no index."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("application"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT / "tracin_core", tmp_path_factory.mktemp("engine"))


def list_contents(wheel: Path) -> set[str]:
    """Return the files of a wheel without its own description."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def read_description(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [path for path in archive.namelist() if path.endswith(f".dist-info/{name}")]
        return archive.read(path).decode()


def read_metadata(wheel: Path) -> Message:
    return Parser().parsestr(read_description(wheel, "METADATA"))


def list_sources(package: str) -> set[str]:
    """Return what a folder of the checkout holds, but for leftovers and its own packaging."""
    apart = {"pyproject.toml", "README.md", "LICENSE"}
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not (path.parent == ROOT / "tracin_core" and path.name in apart)
    }


def required(wheel: Path) -> set[str]:
    """Return the names of what a wheel needs without any extra."""
    needs = read_metadata(wheel).get_all("Requires-Dist", [])
    return {re.split(r"[^\w.-]", need)[0] for need in needs if "extra ==" not in need}


def test_the_application_brings_its_packages_and_its_screens(application: Path) -> None:
    expected = set().union(*map(list_sources, PACKAGES))
    for folder in SCREENS:
        expected |= {f"{APP}/{name}" for name in list_sources(folder)}
    expected |= {f"{APP}/app.py", f"{APP}/.streamlit/config.toml"}
    assert list_contents(application) == expected
    kinds = {Path(name).suffix for name in expected}
    assert kinds >= {".css", ".js", ".mako", ".toml", ".typed"}


def test_the_application_has_its_command(application: Path) -> None:
    told = read_description(application, "entry_points.txt")
    assert re.search(rf"^relabel = {PACKAGES[-1]}\.cli:main$", told, flags=re.MULTILINE)


def test_the_engine_alone_is_its_package_and_needs_torch_and_numpy(engine: Path) -> None:
    assert list_contents(engine) == list_sources("tracin_core")
    assert required(engine) == {"torch", "numpy"}


def test_both_have_one_version_and_the_licence(application: Path, engine: Path) -> None:
    for wheel, name in ((application, "tracin-relabel"), (engine, "tracin-core")):
        told = read_metadata(wheel)
        assert (told["Name"], told["Version"]) == (name, __version__)
        assert told["License-Expression"] == "Apache-2.0"
        assert read_description(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("project", [ROOT, ROOT / "tracin_core"], ids=["application", "engine"])
def test_a_source_distribution_makes_the_same_wheel(
    project: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    direct: Path = request.getfixturevalue("application" if project == ROOT else "engine")
    archive = build(project, tmp_path / "sdist", "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    wheel = build(sources, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as made, zipfile.ZipFile(direct) as expected:
        assert {name: made.read(name) for name in made.namelist()} == {
            name: expected.read(name) for name in expected.namelist()
        }


def test_extras_are_the_promised_ones(application: Path, engine: Path) -> None:
    offered = [
        *("annoy", "app", "dask", "dev", "excel", "gcs", "heic", "hub", "progress"),
        *("ray", "s3", "team", "texts", "timm", "transformers"),
    ]
    assert read_metadata(application).get_all("Provides-Extra") == offered
    assert read_metadata(engine).get_all("Provides-Extra") == ["annoy", "dask", "progress", "ray"]


def test_the_engine_needs_no_other_versions_than_the_application(
    application: Path, engine: Path
) -> None:
    mine = set(read_metadata(engine).get_all("Requires-Dist", []))
    assert mine <= set(read_metadata(application).get_all("Requires-Dist", []))


def test_a_checkout_runs_its_own_screens() -> None:
    assert find_app_folder() == ROOT
    assert (find_app_folder() / "app.py").exists()


@pytest.mark.parametrize(("version", "level"), [(__version__, "note"), ("0.0.9", "broken")])
def test_the_doctor_tells_two_owners_of_the_engine(
    version: str, level: str, tmp_path: Path, place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("tracin_core", __version__), ("tracin_relabel", version)):
        folder = tmp_path / f"{name}-{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    (told,) = [found for found in diagnose(place) if "installed beside" in found.text]
    assert told.level == level
    assert "pip uninstall tracin-core" in told.text


def make_environment(folder: Path, wheel: Path, libraries: Sequence[str]) -> Path:
    """Install a wheel beside libraries that are here already, and return the Python to run it.

    Args:
        folder: Where the environment is made.
        wheel: What is installed.
        libraries: Folders in which Python looks for what the wheel needs.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    place = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
    # addsitedir and not the bare path: the libraries' own .pth files count, too.
    lines = [f"import site; site.addsitedir({path!r})" for path in libraries]
    (Path(place.strip()) / "libraries.pth").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", str(wheel)], check=True)
    return python


def find_requirements(names: Iterable[str]) -> dict[str, Distribution]:
    """Return the installed distributions of these names and of all that they need."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found[name] = distribution(name)
            needs = map(Requirement, found[name].requires or [])
            waiting += [
                need.name
                for need in needs
                if need.marker is None or need.marker.evaluate({"extra": ""})
            ]
    return found


@pytest.fixture(scope="module")
def bare(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the engine and nothing that it does not ask for."""
    folder = tmp_path_factory.mktemp("bare")
    for found in find_requirements(required(engine)).values():
        for name in {path.parts[0] for path in found.files or []} - {"..", "__pycache__"}:
            if not (folder / name).exists():
                (folder / name).symlink_to(str(found.locate_file(name)))
    return make_environment(tmp_path_factory.mktemp("engine-alone") / "venv", engine, [str(folder)])


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program as a person would, outside the checkout, and return what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_readmes_example_runs_on_the_engine_alone(bare: Path, tmp_path: Path) -> None:
    names = ("streamlit", "annoy", "sqlalchemy", "alembic", "pandas", "sklearn", "PIL", "relabel")
    code = f"from importlib.util import find_spec; print(*filter(find_spec, {names}))"
    assert run(bare, "-c", code, cwd=tmp_path).split() == []
    readme = (ROOT / "tracin_core" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    check = "assert own.shape == (200,) and (own > 0).all() and scores.shape == (200, 20)\n"
    check += "assert vectors.shape == (200, 512)\n"
    (tmp_path / "example.py").write_text(example + check, encoding="utf-8")
    assert "rule" in run(bare, "example.py", cwd=tmp_path)


@pytest.mark.slow
def test_the_engine_alone_is_imported_quickly(bare: Path, tmp_path: Path) -> None:
    # Processor time, because how long it takes by the clock says how busy the machine is.
    command = "import time; {}; print(time.process_time())"
    engine = "from tracin_core import Checkpoint, Projection, TracIn"
    taken = float(run(bare, "-c", command.format(engine), cwd=tmp_path))
    most = MOST_SECONDS
    if taken >= most:
        # It had to read all files from the disk, perhaps; and a busy processor does less in a
        # second, for torch alone, too.
        torch = float(run(bare, "-c", command.format("import torch"), cwd=tmp_path))
        taken = min(taken, float(run(bare, "-c", command.format(engine), cwd=tmp_path)))
        most = max(most, MOST_OF_TORCH * torch)
    assert taken < most


@pytest.fixture(scope="module")
def installed(application: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the application, outside the checkout."""
    places = [sysconfig.get_path("purelib"), *(path for path in sys.path if "-packages" in path)]
    folder = tmp_path_factory.mktemp("installed") / "venv"
    return make_environment(folder, application, list(dict.fromkeys(places)))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with modules whose names are those of ours."""
    for name in ("app.py", "ui.py", "pages.py"):
        (tmp_path / name).write_text("raise AssertionError('another program')\n")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass
class InstalledServer(Server):
    """The app of an installed copy, started from another folder."""

    program: Sequence[str | Path] = ()
    folder: Path = Path()

    def start(self) -> None:
        self.port = free_port()
        words = [*self.program, "--port", str(self.port), "--workspace", str(self.workspace)]
        with (self.workspace / "server.log").open("ab") as log:
            self._process = subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log)
        self._wait()


@pytest.mark.slow
def test_an_installed_copy_makes_its_database_and_its_examples(
    installed: Path, elsewhere: Path
) -> None:
    rows = [f"a line of words {n},{'ab'[n % 2]}\n" for n in range(16)]
    (elsewhere / "notes.csv").write_text("".join(["text,label\n", *rows]))
    command = (installed.with_name("relabel"), "--workspace", str(elsewhere / "workspace"))
    run(*command, "import", "notes", "notes.csv", "--yes", cwd=elsewhere)
    assert "notes" in run(*command, "projects", cwd=elsewhere)


@pytest.mark.slow
@pytest.mark.browser
def test_an_installed_copy_shows_a_ranked_queue(
    installed: Path, elsewhere: Path, built_demos: Path
) -> None:
    # Built by the checkout's own command; that the same files are installed is another test.
    workspace = copy_workspace(built_demos, elsewhere / "workspace")
    command = (installed.with_name("relabel"), "--workspace", str(workspace))
    assert "already there" in run(*command, "demo", "digits", cwd=elsewhere)
    queue = run(*command, "queue", "digits", "--top", "1", cwd=elsewhere)
    (seen,) = re.findall(r"│ +1 │ \w+ +│ (\d) > \d ", queue)

    code = f"import {PACKAGES[-1]}.workspace as found; print(found.find_app_folder())"
    folder = Path(run(installed, "-c", code, cwd=elsewhere).strip())
    assert folder.is_relative_to(installed.parents[1])
    program = (installed, folder / "app.py")
    with (
        InstalledServer(workspace, program=program, folder=elsewhere) as server,
        sync_playwright() as playwright,
    ):
        browser = launch_browser(playwright)
        page = browser.new_page()
        page.goto(f"{server.url}/queue?project=digits")
        first = page.get_by_role("option", name=f"Suspect 1: Example with the given label {seen}")
        expect(first).to_be_visible(timeout=120_000)  # of a machine under load
        # The rules of .streamlit/config.toml hold, although we are not in its folder.
        size = "getComputedStyle(document.documentElement).fontSize"
        assert page.evaluate(size) == "15px"
        browser.close()
