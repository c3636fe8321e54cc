"""The state of a model's modules: saved, exchanged for other weights, and restored as it was.

``ModuleStates`` compares and restores what modules hold beside their weights, such as cached
results; ``WeightSlots`` runs code with other weights in place of a model's own, which stay
untouched; ``evaluation_mode`` restores the mode and the random state; ``skip_recomputation`` runs
blocks under ``checkpoint``, which throw their results away, without recomputing them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.utils import parametrize

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
        """Restore everything that holds, or held, a tensor.

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
        """Clear an attribute for good; what is there then is what ``restore`` brings back."""
        clear_attribute(module, key)
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
    """Return whether other objects are inside, or the same in another order."""
    if len(container) != len(kept):
        return True
    if isinstance(container, MutableMapping):
        pairs = zip(container.items(), kept.items(), strict=True)
        return any(k != n or value is not other for (k, value), (n, other) in pairs)
    if isinstance(container, set):
        return bool(container ^ kept)
    return any(value is not other for value, other in zip(container, kept, strict=True))


def clear_attribute(module: nn.Module, key: str) -> None:
    """Clear what a module keeps under a name, as if it had not been made yet."""
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


def read_attribute(module: nn.Module, key: str) -> Any:
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
    """Return whether a value is a tensor or has one inside."""
    if isinstance(value, Tensor):
        return test(value)
    container = list(value) if isinstance(value, tuple) else _open(value)
    if container is None or not depth:
        return False
    return any(holds_tensors(item, test, depth - 1) for item in _items(container))


# Whose own train() is known to touch no weights: of every model there, and of a wrapper.
PLAIN_SWITCHES = {"transformers.modeling_utils", "torch.nn.parallel.distributed"}


class WeightSlots:
    """Every place in a model where a parameter or buffer hangs, found once.

    ``torch.func.functional_call`` does the same and looks for the places at every call, which
    costs as much as a small model's forward pass.

    Args:
        model: The model. Where its structure changes afterwards, the places are found again.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.find_again()

    def find_again(self) -> None:
        """Find the places anew."""
        model = self._model
        names = {id(value): name for name, value in model.named_parameters()}
        names |= {id(value): name for name, value in model.named_buffers()}
        self._slots: list[tuple[Any, Any, str]] = []
        for module in model.modules():
            for table in (module._parameters, module._buffers):
                self._slots += [
                    (table, key, names[id(value)])
                    for key, value in table.items()
                    if value is not None
                ]
        # Recurrent layers keep a second list of their weights; it follows by itself when a
        # forward pass sees new ones, but must be given back too.
        self._recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
        # A plain list or dictionary of parameters, beside the tables, would go on holding the own.
        for module in model.modules():
            if not isinstance(module, nn.RNNBase):
                self._slots += _find_second_places(module, names)

    @contextmanager
    def hold(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Exchange the model's tensors for ``weights`` while the context is open.

        The model's own tensors are set aside, not overwritten, and come back whatever happens.

        Args:
            weights: All parameters and buffers by name; a tied one, under its first name, goes
                to every place it is used.
        """
        own = [table[key] for table, key, _ in self._slots]
        lists = [dict(vars(module)) for module in self._recurrent]
        try:
            for table, key, name in self._slots:
                table[key] = weights[name]
            yield
        finally:
            for (table, key, _), value in zip(self._slots, own, strict=True):
                table[key] = value
            for module, attributes in zip(self._recurrent, lists, strict=True):
                vars(module).update(attributes)


def _find_second_places(module: nn.Module, names: Mapping[int, str]) -> list[tuple[Any, Any, str]]:
    found: list[tuple[Any, Any, str]] = []
    for value in list_attributes(module).values():
        if isinstance(value, list | dict) and value:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            found += [
                (value, key, names[id(item)])
                for key, item in items
                if isinstance(item, Tensor) and id(item) in names
            ]
    return found


def find_switching(model: nn.Module) -> list[nn.Module]:
    """Return the modules that do something of their own when the mode is switched.

    They may keep results of their weights from then on, or add one weight to another.
    """
    return [module for module in model.modules() if _switches(module, module is model)]


def _switches(module: nn.Module, is_whole: bool) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return False
    if "train" in vars(module) or (is_whole and "eval" in vars(module)):
        return True
    kind = type(module)
    # A parent switches its children by train(), so an eval() of theirs is never called.
    written = kind.train is not nn.Module.train and kind.train.__module__ not in PLAIN_SWITCHES
    return written or (is_whole and kind.eval is not nn.Module.eval)


def substitute_copies(model: nn.Module) -> None:
    """Replace a model's parameters and buffers by copies of them."""
    copies: dict[int, Any] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for key, value in table.items():
                if value is not None and id(value) not in copies:
                    copies[id(value)] = _copy(value)
                if value is not None:
                    table[key] = copies[id(value)]


def _copy(value: Tensor) -> Tensor:
    copied = value.detach().clone()
    return nn.Parameter(copied, value.requires_grad) if isinstance(value, nn.Parameter) else copied


def is_compiled(model: nn.Module) -> bool:
    """Return whether a model, or a part of it, runs as ``torch.compile`` has made it."""
    return any(
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def is_scripted(model: nn.Module) -> bool:
    """Return whether a model, or a part of it, is a TorchScript program."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())


@contextmanager
def evaluation_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Switch the model to evaluation mode; restore it and the random state afterwards.

    Back come every module's mode, what modules keep beside their weights, and where they merge
    or keep weights at the switch, all tensors: it then works on copies.

    Gradients are off except where a pass turns them on. The fused attention of
    ``nn.TransformerEncoder`` is off too: it bypasses the layers, so hooks would see nothing. So
    are, within recurrent layers, cuDNN, whose own go backward in training mode only and cannot be
    mapped by ``torch.func``, and oneDNN, whose LSTM is one operation that shows no rule where its
    weights are read; examples would go one at a time.
    """
    modes = {module: module.training for module in model.modules()}
    switching = find_switching(model)
    states = ModuleStates(model, switching)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    devices = [device] if device.type == "cuda" else []
    recurrent = [module for module in modes if isinstance(module, nn.RNNBase)]
    # Within torch's own context for it, parametrised weights would be kept across checkpoints.
    keeps: Any = parametrize
    keeping = keeps._cache_enabled
    # What torch.compile has made of a layer passes hooks by: it runs as it was written.
    stance = torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()
    # TorchScript's second and third pass join layers' operations, and their gradients with them.
    jit: Any = torch.jit
    plain = jit.optimized_execution(False) if is_scripted(model) else nullcontext()
    with stance, plain, torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            keeps._cache_enabled = 0
            if switching:
                substitute_copies(model)
            model.eval()
            torch.backends.mha.set_fastpath_enabled(False)
            with _without_fused_recurrence(recurrent):
                yield
        finally:
            keeps._cache_enabled = keeping
            torch.backends.mha.set_fastpath_enabled(fast_path)
            try:
                for module in switching:
                    module.train(modes[module])
            finally:
                states.restore()
                for module, mode in modes.items():
                    module.training = mode


@contextmanager
def _without_fused_recurrence(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Run recurrent layers without cuDNN and oneDNN, which all other layers keep.

    Convolutions without oneDNN take up to eight times as long.
    """
    libraries: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.mkldnn)
    before: list[list[bool]] = []

    def disable(*_: Any) -> None:
        before.append([library.enabled for library in libraries])
        for library in libraries:
            library.enabled = False

    def restore(*_: Any) -> None:
        for library, is_enabled in zip(libraries, before.pop(), strict=True):
            library.enabled = is_enabled

    handles = [layer.register_forward_pre_hook(disable) for layer in layers]
    handles += [layer.register_forward_hook(restore, always_call=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# One pass at a time in a process: passes change weights, modes and settings that threads share.
PASSES = threading.RLock()


class _WithoutRecomputation:
    """Stands in for torch's ``CheckpointFunction``: runs a block as if it were not recomputed."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_state: bool, *arguments: Any) -> Any:
        return function(*arguments)


@contextmanager
def skip_recomputation() -> Iterator[None]:
    """Run blocks under ``checkpoint(..., use_reentrant=True)`` without recomputing them.

    Their backward pass works in training only: it refuses gradients at the layers' outputs. The
    results are the same; more of them is kept. Blocks with ``use_reentrant=False`` need no help.
    """
    module: Any = torch.utils.checkpoint
    own = module.CheckpointFunction
    module.CheckpointFunction = _WithoutRecomputation
    try:
        yield
    finally:
        module.CheckpointFunction = own
