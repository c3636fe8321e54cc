"""What modules hold beside their weights, such as results that they keep: compared, put back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

# What every module holds: hooks and tables. Its mode is kept by who changes it.
INTERNAL = frozenset(vars(nn.Module()))
TABLES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
# Containers are looked into so deep, and if they are no longer: a longer list holds no results.
DEPTH, LONGEST = 3, 1000


class ModuleStates:
    """The attributes and tables of every module of a model at one moment.

    Only what has to do with tensors is compared and put back: a counter or a list of names is a
    program's own business, a tensor that was kept may hold other weights.

    Args:
        model: The model.
        whole: Modules of which everything counts: those that note what they have done.
    """

    def __init__(self, model: nn.Module, whole: Collection[nn.Module] = ()) -> None:
        self._whole = frozenset(whole)
        self._modules = list(model.modules())
        self._attributes = [list_attributes(module) for module in self._modules]
        self._tables = [
            []
            if isinstance(module, torch.jit.ScriptModule)
            else [(vars(module)[name], vars(module)[name].copy()) for name in TABLES]
            for module in self._modules
        ]
        self._weights = {id(value) for value in (*model.parameters(), *model.buffers())}
        self._inside: dict[int, tuple[Any, Any]] = {}
        self._tensors: dict[int, tuple[Tensor, int, Tensor]] = {}
        for attributes in self._attributes:
            for value in attributes.values():
                self._look_into(value, DEPTH)

    def restore(self, modules: frozenset[nn.Module] | None = None, *, held: bool = False) -> None:
        """Put everything back that holds, or held, a tensor.

        Args:
            modules: Of these modules only; ``None`` for all.
            held: Whether other weights are in place: in the tables these stay, and what has been
                added goes.
        """
        for index, module in enumerate(self._modules):
            if modules is not None and module not in modules:
                continue
            self._restore_attributes(index)
            for table, kept in self._tables[index]:
                if held and isinstance(table, dict):
                    for key in [k for k in table if kept.get(k) is None]:
                        table.update({key: None}) if key in kept else table.pop(key)
                else:
                    _refill(table, kept)
        for container, kept in self._inside.values():
            if _differs(container, kept) and (holds_tensors(container) or holds_tensors(kept)):
                _refill(container, kept)
        for tensor, version, content in self._tensors.values():
            if tensor._version != version:
                with torch.no_grad():
                    tensor.copy_(content)

    def find_changed(self) -> list[nn.Module]:
        """Return the modules that keep another tensor than they did, or a changed one."""
        moved = {
            id(container)
            for container, kept in self._inside.values()
            if _differs(container, kept) and (holds_tensors(container) or holds_tensors(kept))
        }
        moved |= {id(t) for t, version, _ in self._tensors.values() if t._version != version}
        return [m for index, m in enumerate(self._modules) if self._has_changed(index, moved)]

    def forget(self, module: nn.Module, key: str) -> None:
        """Take what was kept under a name away, for good; what is there then is what comes back."""
        empty(module, key)
        index = self._modules.index(module)
        if key in module._buffers:
            kept = next(kept for table, kept in self._tables[index] if table is module._buffers)
            kept[key] = None
        elif key not in vars(module):
            del self._attributes[index][key]
        else:
            self._attributes[index][key] = vars(module)[key]
            for container, _ in list(_find_holders(vars(module)[key], empty_too=True)):
                if id(container) in self._inside:
                    self._inside[id(container)] = (container, container.copy())

    def kept_tensors(self) -> Iterator[tuple[nn.Module, str]]:
        """Yield modules and names under which results may be kept: floating point, not saved."""
        for module, attributes in zip(self._modules, self._attributes, strict=True):
            for key, value in attributes.items():
                if holds_tensors(value, self._is_result):
                    yield module, key
            for key in vars(module).get("_non_persistent_buffers_set", ()):
                buffer = module._buffers.get(key)
                if buffer is not None and buffer.is_floating_point():
                    yield module, key

    def _is_result(self, tensor: Tensor) -> bool:
        return tensor.is_floating_point() and id(tensor) not in self._weights

    def _restore_attributes(self, index: int) -> None:
        own, kept = vars(self._modules[index]), self._attributes[index]
        everything = self._modules[index] in self._whole
        for key, value in list_attributes(self._modules[index]).items():
            if (key not in kept or kept[key] is not value) and (
                everything or holds_tensors(value) or holds_tensors(kept.get(key))
            ):
                own.pop(key) if key not in kept else own.update({key: kept[key]})
        own.update({key: v for key, v in kept.items() if key not in own})

    def _has_changed(self, index: int, moved: set[int]) -> bool:
        if any(_differs(table, kept) for table, kept in self._tables[index]):
            return True
        now, kept = list_attributes(self._modules[index]), self._attributes[index]
        return any(
            (
                now.get(key) is not kept.get(key)
                and (holds_tensors(now.get(key)) or holds_tensors(kept.get(key)))
            )
            or (bool(moved) and _leads_to(now.get(key), moved, DEPTH))
            for key in now.keys() | kept.keys()
        )

    def _look_into(self, value: Any, depth: int) -> None:
        if isinstance(value, Tensor):
            known = id(value) in self._weights or id(value) in self._tensors
            if not known and not value.is_inference():
                self._tensors[id(value)] = (value, value._version, value.detach().clone())
            return
        container = _open(value)
        if container is None or not depth or id(container) in self._inside:
            return
        # Lists of weights are followed by who puts weights in place.
        if not any(id(item) in self._weights for item in _items(container)):
            self._inside[id(container)] = (container, container.copy())
        for item in _items(container):
            self._look_into(item, depth - 1)


def _leads_to(value: Any, wanted: set[int], depth: int) -> bool:
    container = _open(value)
    if id(value) in wanted or id(container) in wanted:
        return True
    if container is None or not depth:
        return False
    return any(_leads_to(item, wanted, depth - 1) for item in _items(container))


def list_attributes(module: nn.Module) -> dict[str, Any]:
    """Return what a module holds under names of its own; a TorchScript program holds nothing so."""
    if isinstance(module, torch.jit.ScriptModule):
        return {}
    return {key: value for key, value in vars(module).items() if key not in INTERNAL}


def _open(value: Any) -> Any:
    """Return the dictionary, list or set that a value is, or that holds an object's attributes."""
    if isinstance(value, dict | list | set):
        return value if len(value) <= LONGEST else None
    if isinstance(value, str | int | float | tuple | Callable | nn.Module) or value is None:
        return None
    inner = getattr(value, "__dict__", None)
    return inner if isinstance(inner, dict) and len(inner) <= LONGEST else None


def _items(container: Any) -> list[Any]:
    return list(container.values() if isinstance(container, dict) else container)


def _refill(container: Any, kept: Any) -> None:
    if _differs(container, kept):
        container.clear()
        container.extend(kept) if isinstance(container, list) else container.update(kept)


def _differs(container: Any, kept: Any) -> bool:
    """Whether something else is inside, in another order perhaps; the same objects are the same."""
    if len(container) != len(kept):
        return True
    if isinstance(container, MutableMapping):
        pairs = zip(container.items(), kept.items(), strict=True)
        return any(k != n or value is not other for (k, value), (n, other) in pairs)
    if isinstance(container, set):
        return bool(container ^ kept)
    return any(value is not other for value, other in zip(container, kept, strict=True))


def empty(module: nn.Module, key: str) -> None:
    """Take what a module keeps under a name away, as if it had not been made yet."""
    if key in module._buffers:
        module._buffers[key] = None
        return
    value = vars(module)[key]
    if isinstance(getattr(type(module), key, None), functools.cached_property):
        del vars(module)[key]
    elif isinstance(value, Tensor | tuple):
        vars(module)[key] = None
    else:
        for container, is_object in list(_find_holders(value)):
            _drop_tensors(container, is_object)


def read_kept(module: nn.Module, key: str) -> Any:
    """Return what a module keeps under a name, ``None`` where nothing is there."""
    return module._buffers[key] if key in module._buffers else vars(module).get(key)


def _find_holders(
    value: Any, depth: int = DEPTH, *, empty_too: bool = False
) -> Iterator[tuple[Any, bool]]:
    """Yield containers that hold tensors themselves, and whether each is an object's own."""
    container = _open(value)
    if container is None or not depth:
        return
    if empty_too or any(isinstance(item, Tensor | tuple) for item in _items(container)):
        yield container, container is not value
    for item in _items(container):
        yield from _find_holders(item, depth - 1, empty_too=empty_too)


def _drop_tensors(container: Any, is_object: bool) -> None:
    if not isinstance(container, dict):
        container.clear()
        return
    for key in [key for key, item in container.items() if holds_tensors(item, depth=1)]:
        if is_object:
            container[key] = None
        else:
            del container[key]


def find_cached_functions(model: nn.Module) -> list[Any]:
    """Return what keeps results in the modules' own classes by ``functools.cache``."""
    kinds = {kind for module in model.modules() for kind in type(module).__mro__}
    found = []
    for kind in kinds:
        if not kind.__module__.startswith(("torch.", "builtins", "transformers.")):
            members = [getattr(member, "fget", member) for member in vars(kind).values()]
            found += [member for member in members if hasattr(member, "cache_clear")]
    return found


def holds_tensors(
    value: Any, test: Callable[[Tensor], bool] = lambda _: True, depth: int = DEPTH
) -> bool:
    """Whether a value is a tensor or has one inside."""
    if isinstance(value, Tensor):
        return test(value)
    container = list(value) if isinstance(value, tuple) else _open(value)
    if container is None or not depth:
        return False
    return any(holds_tensors(item, test, depth - 1) for item in _items(container))
