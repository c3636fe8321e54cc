"""The areas of the docs demo, and where documentation about each of them is installed."""

from __future__ import annotations

from dataclasses import dataclass

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
