"""Ways to solve with ``H + damping I``: one a file, each an ``Inverse``."""
