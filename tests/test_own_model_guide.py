"""The guide to a person's own model does what it says: its files and commands are run as shown."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from relabel.db.engine import open_database
from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.queue import QueueRow, fetch_page
from relabel.db.runs import current_run
from relabel.runs.folder import RunFolder
from relabel.workspace import REPOSITORY_ROOT, resolve_workspace
from tests.preloaded import Preloaded, preload

DOCS = REPOSITORY_ROOT / "docs"
GUIDE = (DOCS / "your-own-model.md").read_text(encoding="utf-8")
FILES = dict(
    re.findall(r"\]\(examples/([a-z_]+\.py)\)\n\n```python\n(.*?)```", GUIDE, flags=re.DOTALL)
)
COMMANDS = [block.strip() for block in re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.DOTALL)]
# Wrong labels that the queue must begin with; the table has few in all.
AMONG_FIRST_EIGHT = {"own-digits": 7, "own-wine": 4, "own-messages": 7}
PROJECTS = tuple(AMONG_FIRST_EIGHT)
# What the examples import, which takes them longer than what they do.
LIBRARIES = (
    *("pandas", "sklearn.datasets", "torchvision.datasets", "torchvision.transforms.v2"),
    *("pytorch_lightning", "tokenizers", "transformers.trainer"),
    "transformers.models.bert.modeling_bert",
    # What their trainings and the commands ask for when they begin.
    *("torch._dynamo", "torch.utils.data", "safetensors.torch", "sklearn.linear_model"),
    *("app", "relabel.cli.imports", "relabel.cli.work", "relabel.scoring.run"),
    *("relabel.importers.preview", "relabel.crossval.run", "relabel.fitting.training"),
)


def test_the_guide_shows_the_files_that_lie_beside_it():
    beside = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("examples/*.py")}
    library = (DOCS / "library.md").read_text(encoding="utf-8")
    of_library = set(re.findall(r"\]\(examples/([a-z_]+\.py)\)", library))
    assert {name: text for name, text in beside.items() if name not in of_library} == FILES
    assert of_library == {"custom_layer.py"}
    assert len(beside) == 7 + len(of_library)


def test_every_example_has_its_commands():
    assert COMMANDS[0] == "python make_data.py"
    for project, block in zip(PROJECTS, COMMANDS[1:], strict=True):
        steps = [re.sub(r"^python (-m relabel )?", "", line) for line in block.splitlines()]
        assert [step.split()[0].split("_")[-1] for step in steps] == [
            "train.py",
            "import",
            "score",
            "queue",
        ]
        assert all(step.split()[1] == project for step in steps[1:])


@dataclass(frozen=True)
class Folder:
    """Where somebody follows the guide."""

    root: Path
    preloaded: Preloaded

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY_ROOT),
            "TRACIN_WORKSPACE": str(self.root / "workspace"),
        }

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as it stands in the guide, in a fork and without a shell or a terminal."""
        python, *words = shlex.split(command)
        assert python == "python"
        return self.preloaded.run(*words, folder=self.root, environment=self.environment)

    def run_each(self, commands: str) -> str:
        """Run commands of the guide, each of which ends well, and return what they print."""
        shown = ""
        for line in commands.splitlines():
            done = self.run(line)
            shown += done.stdout
            assert done.returncode == 0, shown + done.stderr
        return shown


@pytest.fixture(scope="module", autouse=True)
def _settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # two trainings side by side would wait for each other
        patch.setenv("HF_HUB_OFFLINE", "1")  # nothing is downloaded, or the test fails
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    with preload(LIBRARIES) as preloaded:
        made = Folder(tmp_path_factory.mktemp("guide"), preloaded)
        for name, content in FILES.items():
            (made.root / name).write_text(content, encoding="utf-8")
        made.run_each(COMMANDS[0])
        yield made


def name_truth(project: Project, row: QueueRow, media: Path) -> str:
    """Return the class that an example has, whatever its label says."""
    if project.kind == "image":
        pixels = np.asarray(Image.open(media / str(row.media_path)).convert("L"))
        digits = load_digits()
        same = (digits.images * 15 == pixels).all(axis=(1, 2))
        return str(digits.target[same][0])
    if project.kind == "table":
        wine = load_wine()
        numbers = [float(value) for value in dict(row.fields or {}).values()]
        return f"grower {wine.target[(wine.data == numbers).all(axis=1)][0] + 1}"
    words = {
        "billing": ("invoice", "charged", "refund", "price"),
        "delivery": ("parcel", "box", "address", "courier"),
        "login": ("password", "locked", "code", "sign"),
    }
    return next(team for team, known in words.items() if any(w in str(row.text) for w in known))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "slug"), [*enumerate(PROJECTS, start=1)])
def test_the_commands_lead_to_a_queue_that_begins_with_wrong_labels(
    folder: Folder, number: int, slug: str
):
    assert "given > predicted" in folder.run_each(COMMANDS[number])
    workspace = resolve_workspace(folder.root / "workspace")
    engine = open_database(workspace.database_url)
    try:
        project = get_project(engine, slug)
        run = current_run(engine, project.id)
        assert run is not None
        config = RunFolder(workspace.project_folder(slug) / run.folder).read_config()
        rows = fetch_page(engine, run.id, page_size=8).rows
    finally:
        engine.dispose()
    assert config.model["name"] == "own"
    assert 3 <= len(config.checkpoints) <= 8
    assert len(config.epochs) >= len(config.checkpoints)
    assert config.checkpoints[-1].test_accuracy > 0.9
    assert all(entry.learning_rate for entry in config.checkpoints)  # read from the files
    media = workspace.media_folder(slug)
    wrong = [name_truth(project, row, media) != project.classes[row.given_label] for row in rows]
    assert sum(wrong) >= AMONG_FIRST_EIGHT[slug]


@pytest.mark.slow
def test_without_consent_nothing_is_run(folder: Folder):
    (folder.root / "trace_model.py").write_text("open('ran', 'w').close()\ndef build(): pass\n")
    folder.run_each("python -m relabel import traced messages.csv --text message --yes")
    done = folder.run(
        "python -m relabel score traced --model trace_model.py:build --checkpoints runs"
    )
    assert done.returncode != 0
    assert "--run-my-code" in done.stderr
    assert not (folder.root / "ran").exists()
