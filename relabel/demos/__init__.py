"""Demo projects on real data that every installation carries: nothing is downloaded."""

from __future__ import annotations

from relabel.errors import NotFoundError
from relabel.features.records import DemoData

DEMO_NAMES = ("digits", "docs")


def load_demo(name: str, *, seed: int = 0, noise: float = 0.1) -> DemoData:
    """Return a demo data set with planted label errors in its train split.

    Args:
        name: "digits" or "docs".
        seed: Chooses the errors. The examples, their splits and positions do not depend on it.
        noise: Share of train labels that are made wrong, 0 to 1.

    Returns:
        The examples with the labels given to them, and the true labels apart.

    Raises:
        NotFoundError: If there is no such demo.
        ConfigurationError: If the noise is no share, or the installation lacks what is needed.
    """
    if name == "digits":
        from relabel.demos.digits import load_digits_demo

        return load_digits_demo(seed=seed, noise=noise)
    if name == "docs":
        from relabel.demos.docs import load_docs_demo

        return load_docs_demo(seed=seed, noise=noise)
    raise NotFoundError(
        f"There is no demo called {name!r}. Choose one of: {', '.join(DEMO_NAMES)}."
    )
