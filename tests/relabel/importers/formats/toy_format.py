"""A kind of data that no user has: one new file, as it would lie among the formats."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from relabel.importers import formats
from relabel.importers.formats.registry import IMPORTERS, load_importers
from tests.new_modules import added_module

TOY = '''
"""INI files: every section is an example."""

from configparser import ConfigParser

from relabel.importers.formats.registry import Form, Importer, register_importer


class IniReader:
    def __init__(self, path, encoding):
        from relabel.importers.records import Schema

        self.name, self.folder = path.name, path.parent
        self.parser = ConfigParser()
        self.parser.read(path, encoding=encoding)
        names = {name for one in self.parser.sections() for name in self.parser.options(one)}
        self.schema = Schema(columns=("section", *sorted(names)))

    def read_rows(self, columns):
        from relabel.importers.records import Row

        for number, name in enumerate(self.parser.sections(), start=1):
            values = {"section": name, **self.parser[name]}
            yield Row(number, [values.get(column) for column in columns])


@register_importer
class IniImporter(Importer):
    name = "ini"
    title = "file of sections"
    expected = "a file of sections (.ini)"
    order = 35
    layout = "rows"
    extensions = (".ini",)
    forms = (
        Form(
            name="ini",
            words="a file of sections",
            options=("text", "features", "label", "target", "split", "key", "truth", "encoding"),
        ),
    )

    def sniff(self, path):
        return path.suffix == ".ini"

    def read_rows(self, path, options):
        return IniReader(path, options.encoding or "utf-8")
'''


def write_toy(folder: Path) -> Path:
    """Write the module."""
    path = folder / "more_formats" / "ini.py"
    path.parent.mkdir()
    path.write_text(TOY)
    return path


def added_importer(folder: Path) -> AbstractContextManager[None]:
    """Have the module among the formats for as long as the context lasts."""
    return added_module(formats, load_importers, IMPORTERS, write_toy(folder))


def write_data(path: Path, each: int = 12) -> Path:
    """Write data of that kind: reviews, every other one bad."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            f"[review{n}]\ntext = This kettle is kettle number {n} of all.\n"
            f"label = {('good', 'bad')[n % 2]}\n"
            for n in range(2 * each)
        )
    )
    return path
