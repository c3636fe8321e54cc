"""A form of the exported file that no user has: one new file, as it would lie in the package."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from relabel import exporters
from relabel.exporters.registry import EXPORTERS, load_exporters
from tests.new_modules import added_module

TOY = '''
"""Keys and labels with an equals sign between them."""

from relabel.exporters.registry import register_exporter


@register_exporter(
    "pairs", "Pairs", "pairs", mime="text/x-pairs", order=15, changes="line ends become blanks"
)
def write_pairs(file, columns, chunks):
    for chunk in chunks:
        for row in chunk:
            file.write(f"{row['key']}={row['label']}\\n".encode())
'''


def write_toy(folder: Path) -> Path:
    """Write the module."""
    path = folder / "more_exporters" / "pairs.py"
    path.parent.mkdir()
    path.write_text(TOY)
    return path


def added_exporter(folder: Path) -> AbstractContextManager[None]:
    """Have the module in the package for as long as the context lasts."""
    return added_module(exporters, load_exporters, EXPORTERS, write_toy(folder))
