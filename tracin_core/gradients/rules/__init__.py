"""The rules: per-example gradients of one family of layers a file.

Importing a rule's module registers it, so every module of this folder is imported: a rule is one
new file here, and nothing else.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
