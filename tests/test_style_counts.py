"""The script that counts what the house style promises, on a tree whose counts are known."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from scripts.style import (
    ROOT,
    count_packages,
    find_cycles,
    find_imports,
    find_single_importers,
    main,
    read_modules,
)

TREE = {
    "tracin_core/__init__.py": "from tracin_core.front import open_door\n",
    "tracin_core/front.py": '''
        """The front door."""

        from typing import TYPE_CHECKING

        from tracin_core.rooms import hall

        if TYPE_CHECKING:
            from tracin_core.rooms.attic import Attic


        def open_door(
            key: str,
        ) -> "Attic":
            """Return what is behind it.

            Long.
            """
            # A comment.

            text = """two
            lines"""
            return hall.enter(key, text)
    ''',
    "tracin_core/rooms/__init__.py": "",
    "tracin_core/rooms/hall.py": """
        def enter(key, text):
            from . import attic

            return attic.climb(key)
    """,
    "tracin_core/rooms/attic.py": """
        import tracin_core.front


        def climb(key):
            return key
    """,
    "tracin_core/rooms/cellar.py": "DEEP = 3\n",
    "pages/start.py": "import tracin_core.rooms.cellar\nimport os\n",
    "tests/test_hall.py": "from tracin_core.rooms.hall import enter\n",
    "app.py": "from tracin_core import open_door\n",
}


def plant(root: Path, tree: dict[str, str]) -> Path:
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).removeprefix("\n"), encoding="utf-8")
    return root


def test_imports_are_found_at_the_top_and_inside_functions(tmp_path: Path) -> None:
    imports = find_imports(read_modules(plant(tmp_path, TREE)))
    assert imports == {
        "tracin_core": {"tracin_core.front"},
        "tracin_core.front": {"tracin_core.rooms.hall"},
        "tracin_core.rooms": set(),
        "tracin_core.rooms.hall": {"tracin_core.rooms.attic"},
        "tracin_core.rooms.attic": {"tracin_core.front"},
        "tracin_core.rooms.cellar": set(),
        "pages.start": {"tracin_core.rooms.cellar"},
        "tests.test_hall": {"tracin_core.rooms.hall"},
        "app": {"tracin_core"},
    }


def test_a_circle_is_found_and_one_by_types_alone_is_told_apart(tmp_path: Path) -> None:
    modules = read_modules(plant(tmp_path, TREE))
    circle = [f"tracin_core.{name}" for name in ("front", "rooms.attic", "rooms.hall")]
    assert find_cycles(find_imports(modules)) == [circle]
    plant(tmp_path, {"tracin_core/rooms/attic.py": "def climb(key): ...\n"})
    plant(tmp_path, {"tracin_core/rooms/cellar.py": "import tracin_core.front\n"})
    modules = read_modules(plant(tmp_path, {"tracin_core/rooms/hall.py": "from . import cellar\n"}))
    assert len(find_cycles(find_imports(modules))) == 1
    types_alone = "if TYPE_CHECKING:\n    import tracin_core.front\n"
    modules = read_modules(plant(tmp_path, {"tracin_core/rooms/cellar.py": types_alone}))
    assert find_cycles(find_imports(modules)) == []
    assert len(find_cycles(find_imports(modules, typing_only=True))) == 1


def test_a_module_with_one_importer_beside_it_is_named(tmp_path: Path) -> None:
    modules = read_modules(plant(tmp_path, TREE))
    # `hall` has one in another folder, and the test; `cellar` one in another package.
    expected = ["tracin_core.front", "tracin_core.rooms.attic"]
    single = find_single_importers(modules, find_imports(modules))
    assert single == ["tracin_core.rooms.attic"]
    tree = {"tracin_core/rooms/attic.py": "def climb(key): ...\n"}
    modules = read_modules(plant(tmp_path, tree))
    assert find_single_importers(modules, find_imports(modules)) == expected


def test_files_lines_and_functions_are_counted(tmp_path: Path) -> None:
    modules = read_modules(plant(tmp_path, TREE))
    counts = {count.title: count for count in count_packages(modules, find_imports(modules))}
    assert list(counts) == ["tracin_core", "pages", "tests", "all but tests"]
    core = counts["tracin_core"]
    assert (core.num_files, core.num_modules) == (6, 4)
    assert (str(core.largest.path), core.largest.num_lines) == ("tracin_core/front.py", 22)
    assert core.num_lines == 1 + 22 + 0 + 4 + 5 + 1
    assert core.median_lines == (1 + 4) / 2
    # open_door: three lines of signature, two of text, one of return; enter: three; climb: two.
    assert core.function_code == pytest.approx((3, 3 + 0.8 * 3))
    assert core.function_lines == pytest.approx((4, 4 + 0.8 * 8))
    assert core.fullest == (Path("tracin_core/rooms"), 4)
    assert counts["tests"].function_lines == (0, 0)
    assert counts["all but tests"].num_files == 7


def test_the_script_prints_a_table_and_fails_for_a_circle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(plant(tmp_path, TREE)), "--list"]) == 1
    told = capsys.readouterr().out
    assert "| tracin_core | 6 | 33 | 2.5 | 22 (tracin_core/front.py) | 4 / 10.4 |" in told
    assert "Import cycles between files: 1\n- tracin_core.front, " in told
    assert told.endswith("tracin_core.rooms.attic\n")


def test_no_files_of_the_project_import_each_other_in_circles() -> None:
    modules = read_modules(ROOT)
    assert len(modules) > 100
    assert find_cycles(find_imports(modules)) == []
