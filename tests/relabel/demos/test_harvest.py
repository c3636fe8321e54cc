from __future__ import annotations

from relabel.demos.docs import find_sources, read_docstrings

SOURCE = '''
class Public:
    """A class."""
    def method(self):
        """A method."""
        def inner():
            """Not public."""
    def _hidden(self):
        """Hidden."""
class _Private:
    """Private."""
    def method(self):
        """Of a private class."""
try:
    async def wait():
        """In a try block."""
except ImportError:
    pass
raise SystemExit("a file that runs would end the test")
'''


def test_public_docstrings_are_read_without_running_the_file(tmp_path):
    file = tmp_path / "library.py"
    file.write_text(SOURCE)
    assert list(read_docstrings(file)) == ["A class.", "A method.", "In a try block."]


def test_files_that_cannot_be_parsed_are_passed_over(tmp_path):
    for name, content in (("old.py", b"print 'x'"), ("null.py", b"\0"), ("enc.py", b"\xff = 1")):
        (tmp_path / name).write_bytes(content)
        assert list(read_docstrings(tmp_path / name)) == []
    assert list(read_docstrings(tmp_path / "missing.py")) == []


def test_packages_folders_and_modules_are_found_and_tests_left_out():
    assert [file.name for file in find_sources("tempfile")] == ["tempfile.py"]
    assert find_sources("sqlite3")
    files = find_sources("sklearn/linear_model")
    assert files
    assert not [file for file in files if "tests" in file.parts]
    assert find_sources("no_such_package_here") == []
