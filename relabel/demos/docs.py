"""The docs demo: what libraries and Python's standard library write about themselves, by area.

Public docstrings are collected from installed source files without importing them: importing a
library to read its documentation costs seconds and may run anything, and its source says the same.
The start of each is turned into a few readable sentences, or refused. The class of a text is the
area (`AREAS`) of the library that it describes.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
import sysconfig
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from relabel.features.records import DemoData, DemoExample, content_key, flip_labels
from relabel.text import Split
from tracin_core.errors import ConfigurationError

MAX_PER_AREA = 400  # 8 areas, a few thousand texts in all, alike in size
MIN_PER_AREA = 150  # fewer would leave a class of which nothing can be learned
# Texts are taken by content hash from a quarter more, so that no single file decides.
CANDIDATES_PER_AREA = MAX_PER_AREA * 5 // 4
TEST_SHARE = 0.2
OPENING_WORDS = 8  # two texts that begin with the same eight words come from one template
# Documentation that names its library gives its label away (and tells a reviewer nothing about
# the subject), so a text with one of these words is left out rather than mutilated.
GIVEAWAY_NAMES = (
    *("alembic", "altair", "apache", "arrow", "d3", "dask", "duckdb", "fsspec", "gunicorn", "h11"),
    *("httpcore", "httpx", "hypercorn", "ibis", "jupyter", "matplotlib", "mpmath", "mysql"),
    *("narwhals", "networkx", "numpy", "nx", "oracle", "pandas", "pil", "pillow", "plotly"),
    *("polars", "postgresql", "postgres", "psycopg2", "pyarrow", "pyplot", "pyspark", "pytorch"),
    *("scikit", "scipy", "seaborn", "sklearn", "spark", "sqlalchemy", "sqlite", "sqlite3"),
    *("starlette", "streamlit", "sympy", "torch", "torchvision", "urllib3", "uvicorn", "vega"),
    *("vegalite", "websockets", "np", "pd", "pa", "sa", "px", "alt", "plt", "nw"),
)


@dataclass(frozen=True)
class Area:
    """One class of the docs demo.

    Attributes:
        name: Class name on the screen.
        sources: Packages, or folders and modules in them ("torch/nn", "os"), in the order in
            which they are read; the first ones are read first and may fill the area alone.
        package_names: What to install where nothing is found.
    """

    name: str
    sources: tuple[str, ...]
    package_names: tuple[str, ...]


AREAS = (
    Area(
        "machine learning",
        (
            *("sklearn/linear_model", "sklearn/ensemble", "sklearn/cluster", "sklearn/svm"),
            *("sklearn/model_selection", "sklearn/metrics", "sklearn/preprocessing"),
            *("sklearn/decomposition", "sklearn/feature_extraction", "sklearn/neighbors"),
            *("sklearn/neural_network", "sklearn/tree", "sklearn/mixture", "sklearn/manifold"),
            *("sklearn/gaussian_process", "sklearn/feature_selection", "sklearn/inspection"),
            *("sklearn/naive_bayes", "sklearn/impute", "sklearn/covariance", "torch/nn/modules"),
            *("torch/optim", "torch/distributions", "sklearn/semi_supervised", "sklearn/base"),
        ),
        ("scikit-learn", "torch"),
    ),
    Area(
        "data tables",
        (
            *("pandas/core/frame", "pandas/core/series", "pandas/core/generic", "narwhals/expr"),
            *("narwhals/dataframe", "narwhals/series", "pandas/core/groupby"),
            *("pandas/core/reshape", "pandas/core/strings", "pandas/core/window"),
            *("pandas/core/indexes", "pandas/core/indexing", "pandas/core/resample"),
            *("pandas/core/arrays", "pandas/io", "pandas/tseries", "pyarrow", "pandas/core"),
        ),
        ("pandas", "pyarrow"),
    ),
    Area(
        "databases",
        (
            *("sqlalchemy/orm", "sqlalchemy/engine", "sqlalchemy/sql", "sqlalchemy/pool"),
            *("alembic/operations", "alembic/runtime", "alembic/ddl", "sqlalchemy/dialects"),
            *("alembic/command", "sqlalchemy/ext", "sqlite3", "sqlalchemy"),
        ),
        ("sqlalchemy", "alembic"),
    ),
    Area(
        "charts",
        (
            *("plotly/express", "plotly/figure_factory", "plotly/io", "altair/vegalite"),
            *("plotly/graph_objs/_scatter", "plotly/graph_objs/_layout"),
            *("plotly/graph_objs/_heatmap", "plotly/graph_objs/_sankey"),
            *("plotly/graph_objs/layout", "plotly/graph_objs"),
        ),
        ("plotly", "streamlit"),
    ),
    Area(
        "web and network",
        (
            *("starlette", "uvicorn", "requests", "urllib3", "websockets", "http", "urllib"),
            *("email", "socketserver", "socket", "ssl", "ftplib", "imaplib", "poplib", "smtplib"),
            *("xmlrpc", "ipaddress", "wsgiref", "asyncio"),
        ),
        ("starlette", "uvicorn", "streamlit"),
    ),
    Area(
        "files and system",
        (
            *("os", "shutil", "pathlib", "tempfile", "zipfile", "tarfile", "subprocess", "glob"),
            *("gzip", "bz2", "lzma", "mailbox", "fileinput", "filecmp", "stat", "fnmatch"),
            *("posixpath", "fsspec", "filelock", "multiprocessing", "threading", "signal"),
            *("platform", "configparser", "concurrent", "logging", "importlib", "zipimport"),
        ),
        ("fsspec", "filelock"),
    ),
    Area(
        "graph theory",
        ("networkx/algorithms", "networkx/generators", "networkx/classes", "networkx/linalg"),
        ("networkx",),
    ),
    Area(
        "algebra and calculus",
        (
            *("sympy/solvers", "sympy/integrals", "sympy/series", "sympy/calculus"),
            *("sympy/matrices", "sympy/polys", "sympy/combinatorics", "sympy/ntheory"),
            *("sympy/functions", "sympy/simplify", "sympy/geometry", "sympy/sets", "sympy/core"),
        ),
        ("sympy",),
    ),
)
_GIVEAWAY = re.compile(rf"\b(?:{'|'.join(GIVEAWAY_NAMES)})\b", re.IGNORECASE)


def load_docs_demo(*, seed: int, noise: float) -> DemoData:
    """Return the docs demo, made from what is installed.

    Args:
        seed: Chooses the planted errors; the texts do not depend on it.
        noise: Share of wrong train labels, 0 to 1.

    Returns:
        A few thousand texts; which of them exactly depends on the installed versions. Where a
        text comes from is not in it.

    Raises:
        ConfigurationError: If an area has too few texts because its packages are missing.
    """
    texts = collect_texts()
    train, test = _split(texts)
    true_labels = np.array([label for _, label in train], dtype=np.int64)
    given = flip_labels(true_labels, len(AREAS), noise=noise, seed=seed)
    test_labels = np.array([label for _, label in test], dtype=np.int64)
    return DemoData(
        slug="docs",
        title="Documentation by subject",
        description=(
            f"{len(train) + len(test):,} descriptions from the documentation of Python libraries, "
            f"sorted by subject. {noise:.0%} of the train labels were changed to a wrong subject "
            "on purpose: find them."
        ),
        kind="text",
        classes=tuple(area.name for area in AREAS),
        examples=(
            *_make_examples("train", [text for text, _ in train], given),
            *_make_examples("test", [text for text, _ in test], test_labels),
        ),
        true_labels=true_labels,
    )


def collect_texts() -> list[list[str]]:
    """Harvest every area.

    Returns:
        One list of texts for each of ``AREAS``, in the order of their keys. No text occurs
        twice, and none in two areas.

    Raises:
        ConfigurationError: If an area has fewer than ``MIN_PER_AREA``.
    """
    areas = [_harvest_area(area) for area in AREAS]
    owners: dict[str, int] = {}
    for found in areas:
        for opening in found:
            owners[opening] = owners.get(opening, 0) + 1
    return [
        _select(area, [text for opening, text in found.items() if owners[opening] == 1])
        for area, found in zip(AREAS, areas, strict=True)
    ]


def _harvest_area(area: Area) -> dict[str, str]:
    """Return candidate texts by their first words, read no further than needed."""
    found: dict[str, str] = {}
    for text in _read_texts(area):
        found.setdefault(" ".join(normalise(text).split()[:OPENING_WORDS]), text)
        if len(found) >= CANDIDATES_PER_AREA:
            break
    return found


def _read_texts(area: Area) -> Iterator[str]:
    for source in area.sources:
        for file in find_sources(source):
            for docstring in read_docstrings(file):
                text = extract_prose(docstring)
                if text and not _GIVEAWAY.search(text):
                    yield text


def _select(area: Area, texts: list[str]) -> list[str]:
    if len(texts) < MIN_PER_AREA:
        raise ConfigurationError(
            f"Found {len(texts)} texts about {area.name}, expected at least {MIN_PER_AREA}. "
            "The docs demo reads the documentation of installed packages: install "
            f"{' and '.join(area.package_names)} (with their .py files) and try again."
        )
    return sorted(texts, key=content_key)[:MAX_PER_AREA]


def _split(texts: list[list[str]]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return (text, label) pairs for train and test; the same share of every area."""
    train: list[tuple[str, int]] = []
    test: list[tuple[str, int]] = []
    for label, of_area in enumerate(texts):
        count = round(TEST_SHARE * len(of_area))
        test.extend((text, label) for text in of_area[:count])
        train.extend((text, label) for text in of_area[count:])
    # By key and not by area, so that the order of positions tells nothing about a label.
    return sorted(train, key=_key_of_text), sorted(test, key=_key_of_text)


def _key_of_text(pair: tuple[str, int]) -> str:
    return content_key(pair[0])


def _make_examples(
    split: Split, texts: list[str], labels: npt.NDArray[np.int64]
) -> list[DemoExample]:
    return [
        DemoExample(
            key=content_key(text),
            split=split,
            position=position,
            given_label=int(label),
            text=text,
        )
        for position, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]


MAX_FILE_BYTES = 400_000  # a few generated files are larger, and take a second each to parse
_SKIPPED_FOLDER = re.compile(
    r"(?:^|/)(?:tests?|testing|_?vendor\w*|vendored|externals?|benchmarks?|conftest|examples"
    r"|__pycache__|gui|idlelib|lib2to3)(?:/|\.py$)"
)


def find_sources(source: str) -> list[Path]:
    """Return the Python files of an installed package, folder of a package, or module.

    Args:
        source: "sklearn", "torch/nn" or "tempfile".

    Returns:
        The files in an order that is mixed but the same on every machine, so that the first
        hundred come from all over the package; empty where it is not installed.
    """
    for root in _search_roots():
        module, folder = root / f"{source}.py", root / source
        if module.is_file():
            return [module]
        if folder.is_dir():
            files = [
                file
                for file in folder.rglob("*.py")
                if not _SKIPPED_FOLDER.search(file.relative_to(root).as_posix())
            ]
            return sorted(files, key=lambda file: _mix(file.relative_to(root).as_posix()))
    return []


def read_docstrings(file: Path) -> Iterator[str]:
    """Yield the docstrings of a file's public classes, functions and methods.

    A file that cannot be read or parsed (too large, or written for another Python) yields none.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    yield from _walk_definitions(tree)


def _walk_definitions(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if child.name.startswith("_"):
                continue
            docstring = ast.get_docstring(child, clean=False)
            if docstring:
                yield docstring
            if isinstance(child, ast.ClassDef):
                yield from _walk_definitions(child)
        elif isinstance(child, ast.If | ast.Try):
            yield from _walk_definitions(child)


def _search_roots() -> list[Path]:
    """Return the folders of installed packages, then the standard library's."""
    installed = [Path(entry) for entry in sys.path if entry.endswith("-packages")]
    own = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")]
    return list(dict.fromkeys([*own[:2], *installed, own[2]]))


def _mix(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


MIN_LENGTH = 40  # characters; less says too little to judge the subject
MAX_LENGTH = 600  # characters; a text is to be read in seconds
MIN_WORDS = 7
MAX_PARAGRAPHS = 2
MAX_READ = 3000  # characters of a docstring; two paragraphs that can be used are always in there
MAX_HEADING = 100  # characters; an unfinished sentence this long goes on in a list or in code
_ROLE = re.compile(r":(?:[a-zA-Z]+:)*[a-zA-Z]+:`([^`]+)`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^>`]*>`_{0,2}")
_MARKDOWN_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_CODE = re.compile(r"``([^`]+)``|`([^`]+)`_{0,2}")
_STRONG = re.compile(r"\*\*(\w[^*]*)\*\*|(?<![\w*])\*(\w[^*\s]*)\*(?!\w)")
_FOOTNOTE = re.compile(r"\s*\[(?:\d+|[A-Z]\w*)\]_?(?=[\s.,;:)]|$)")
_EMPTY_REFERENCE = re.compile(r"\s*\((?:see|cf\.?|e\.g\.?)?\s*\)(?=[\s.,;:])")
_QUALIFIED = re.compile(r"(?<![\w/.])[.~!]+(?=[A-Za-z_])")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
# "..., including:" and "e.g." introduce what is not shown; "so. and" is no sentence at all.
_COMPLETE = re.compile(
    r"^(?!.*[^.]\.\s+(?!e\.g|i\.e)[a-z]).*(?<!e\.g)(?<!i\.e)(?<!etc)[.!?]$", re.DOTALL
)
# A heading that ends in one of these goes on in a formula, a list or code.
_HANGING = re.compile(
    r"\b(?:a|an|and|are|as|be|by|for|from|if|in|including|is|like|of|on|or|that|the|this|to|where"
    r"|which|with|follows|following|see)$",
    re.IGNORECASE,
)
_POINTER = re.compile(
    r"Read more|See |Refer to|Please see|Please refer|For more|For details|New in|Warning!|Note:"
    r"|This (?:method|function|class) is (?:used )?(?:internally|for internal)|Added in"
    r"|The '\w+' property|This is a generator-based coroutine|It is recommended to use"
)
# Marks of what is no prose: sections, lists, tables, doctests, directives, fields, formulas.
_NO_PROSE = re.compile(
    r"^\s*(?:[-*+•]\s|\d+[.)]\s|>>>|\.\. |:\w+[\w ]*:|@\w+|[|+=~^#]{1,}|-{3,}|={3,})"
    r"|^\s*[\w, *]+ : |^\s*\w+ -- |^\s*\w+\(.*\)\s*(?:->.*)?$",
    re.MULTILINE,
)
_SECTION = re.compile(
    r"^(?:Parameters?|Arguments?|Args|Returns?|Yields?|Raises|Notes?|Examples?|References?"
    r"|See Also|Usage|Attributes|Methods|Warnings?|Keyword Arguments|Inputs?|Outputs?|Shape"
    r"|Description|Explanation|Caution|Tip|Important)\s*:?\s*(?:\n|$)"
)
_UNREADABLE = re.compile(
    r"\\|\$|\{|\}|<|>|=|\||`|::|__|\*|https?:|www\.|/\w+/|[A-Za-z]\^|\d\s*[+^]\s*[a-z]"
)
_BOILERPLATE = re.compile(
    r"\b(?:deprecat\w+|versionadded|versionchanged|obsolete|alias (?:for|of)|see also|todo|fixme"
    r"|xxx|internal|private|subclass(?:es)? (?:must|should|may|can)|override|backwards?.compat\w*"
    r"|legacy|refer to|docstring|see :|see the (?:docs|documentation|help)|do not use"
    r"|will be removed|same as|equivalent to calling|implementation of|test)\b",
    re.IGNORECASE,
)


def extract_prose(docstring: str) -> str | None:
    """Return the first sentences of a docstring as plain text on one line.

    Args:
        docstring: As written in the source, with its indentation and its markup (reStructuredText
            or Markdown).

    Returns:
        ``MIN_LENGTH`` to ``MAX_LENGTH`` characters of whole sentences from the first paragraph
        and, if it is prose too, the second; None if it does not begin with such prose.
    """
    kept: list[str] = []
    beginning = docstring[:MAX_READ]
    for paragraph in inspect.cleandoc(beginning).split("\n\n")[:MAX_PARAGRAPHS]:
        sentences = _read_paragraph(paragraph)
        if not sentences:
            break
        kept.extend(sentences)
    text = ""
    for sentence in kept:
        longer = f"{text} {sentence}".strip()
        if len(longer) > MAX_LENGTH:
            break
        text = longer
    return text if is_readable(text) else None


def is_readable(text: str) -> bool:
    """Return whether a text is long enough, made of words, and says something."""
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH or len(text.split()) < MIN_WORDS:
        return False
    letters = sum(map(str.isalpha, text)) + text.count(" ")
    return letters >= 0.9 * len(text) and not _BOILERPLATE.search(text)


def normalise(text: str) -> str:
    """Return what is compared to find doubles: lower-case letters with single blanks.

    Digits are dropped with the punctuation, since "the first 2 rows" and "the first 3 rows" are
    one text to a reviewer.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W\d_]+", folded))


def _read_paragraph(paragraph: str) -> list[str]:
    """Return the whole sentences of one paragraph; none if it is a list, a section or code."""
    if _NO_PROSE.search(paragraph) or _SECTION.match(paragraph.strip()):
        return []
    if any(line.startswith("    ") for line in paragraph.splitlines()):
        return []
    text = _strip_markup(" ".join(paragraph.split()))
    sentences = _SENTENCE_END.split(text)
    if len(sentences) == 1 and _is_heading(sentences[0]):
        sentences[0] += "."
    readable = []
    for sentence in sentences:
        if _UNREADABLE.search(sentence) or not _COMPLETE.search(sentence):
            break
        if not _POINTER.match(sentence):
            readable.append(sentence)
    if readable and readable[0][0].islower():
        readable[0] = readable[0][0].upper() + readable[0][1:]
    return readable


def _is_heading(sentence: str) -> bool:
    """Return whether a sentence only lacks its full stop."""
    short = sentence[-1:].isalnum() and len(sentence) <= MAX_HEADING
    return short and not _HANGING.search(sentence)


def _strip_markup(text: str) -> str:
    """Return a paragraph without roles, links, code quotes, emphasis and footnotes."""
    text = _ROLE.sub(lambda match: _name_of_role(match[1]), text)
    text = _LINK.sub(r"\1", text)
    text = _MARKDOWN_LINK.sub(r"\1", text)
    text = _CODE.sub(lambda match: match[1] or match[2], text)
    text = _STRONG.sub(lambda match: match[1] or match[2], text)
    text = _FOOTNOTE.sub("", text)
    text = _EMPTY_REFERENCE.sub("", text)
    return " ".join(_QUALIFIED.sub("", text).split())


def _name_of_role(target: str) -> str:
    """Return what a role shows: its title, or the last part of a path behind a tilde."""
    if "<" in target:
        return target.split("<")[0].strip()
    if target.startswith(("~", "!~")):
        return target.rsplit(".", 1)[-1]
    # `_orm.Session` is written for the linker; a person reads Session.
    return re.sub(r"^[.~!]*(?:_\w+\.)*", "", target)
