"""The last layer of a model: its last map from features to outputs, with all its parameters.

A temperature, a scale or a bias added to the logits comes later and maps no features. A normalised
or tied weight is made of parameters that other modules hold. So one pass on a few examples is
followed operation by operation: which values come from the examples, which from parameters alone,
and which products of the two nothing but simple operations stands between and the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tracin_core.errors import GradientError
from tracin_core.gradients.graph.survey import find_parameter_uses
from tracin_core.gradients.hooks import Objective
from tracin_core.gradients.inspection import first_tensor
from tracin_core.gradients.nested import call_model, find_tensors

# Operations that map features to others by a matrix, as ATen calls them.
PRODUCTS = frozenset(
    (
        *("linear", "addmm", "mm", "bmm", "baddbmm", "addbmm", "matmul", "mv", "addmv", "dot"),
        *("_trilinear", "_addmm_activation", "mkldnn_linear", "cdist", "_cdist_forward"),
        *("_euclidean_dist", "convolution", "_convolution", "cudnn_convolution"),
        *("mkldnn_convolution", "convolution_overrideable", "_sparse_mm", "_sparse_addmm"),
        *("mkldnn_rnn_layer", "_cudnn_rnn", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell"),
        *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell"),
    )
)
CONVOLUTIONS = frozenset(name for name in PRODUCTS if "convolution" in name)
# Operations after which a product is still the same numbers, in another order or type.
VIEWS = frozenset(
    (
        *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "squeeze", "unsqueeze"),
        *("expand", "_to_copy", "alias", "detach", "clone", "slice", "select", "contiguous"),
        *("_reshape_alias", "lift_fresh", "flatten"),
    )
)
SCALINGS = frozenset(("mul", "div", "mul_", "div_"))
SUMS = frozenset(("sum", "mean"))
ADDITIONS = frozenset(("add", "sub", "add_", "sub_"))


@dataclass(frozen=True)
class LastLayer:
    """The last layer of a model.

    Attributes:
        parameters: Names of its trainable parameters, in the model's order.
        modules: Names of the modules that compute with them; "" is the model itself.
    """

    parameters: tuple[str, ...]
    modules: tuple[str, ...]


def find_last_layer(
    model: nn.Module, call: Callable[[], tuple[Tensor, ...]], inputs: Any
) -> LastLayer:
    """Find the parameters of the last map from features to outputs.

    Last by execution, not by registration. Several layers side by side (outputs of several
    layers joined or averaged) are one. Where nothing maps features by a matrix, the last
    parameters that meet the examples at all are taken.

    Args:
        model: In evaluation mode; every trainable parameter requires gradients.
        call: Runs the model on ``inputs``, a few examples, and returns the outputs that count.
        inputs: The examples.

    Raises:
        GradientError: If no trainable parameter reaches the outputs.
    """
    weights = dict(model.named_parameters())
    trainable = {name for name, value in weights.items() if value.requires_grad}
    tables = {name for name in trainable if weights[name].numel() > 1}
    kinds: tuple[IsProduct, ...] = (
        lambda name, met, spreads: (spreads or name in PRODUCTS) and not trainable.isdisjoint(met),
        lambda name, met, spreads: not tables.isdisjoint(met),
        lambda name, met, spreads: not trainable.isdisjoint(met),
    )
    outputs: tuple[Tensor, ...] = ()
    for is_product in kinds:
        flow = Flow(weights, inputs, is_product)
        with torch.enable_grad(), _track_current_module(model, flow), flow:
            outputs = call()
        ends = frozenset[int]().union(*(flow.origin_of(value).latest for value in outputs))
        if ends:
            last = _choose_last(flow.products, ends, outputs)
            found = {name for product in last for name in _collect(model, flow.products, product)}
            reached = _find_reached(weights, outputs)
            names = tuple(n for n in weights if n in found & trainable and n in reached)
            if names:
                modules = tuple(dict.fromkeys(product.module for product in last))
                return LastLayer(names, modules)
    raise GradientError(
        "No trainable parameter reaches the model's outputs; expected at least one. "
        "Set requires_grad=True on the parameters that were trained, and make sure the "
        "forward pass does not run under torch.no_grad()."
    )


def run_for_outputs(
    model: nn.Module, inputs: Any, targets: Any, objective: Objective | None
) -> tuple[Tensor, ...]:
    """Run a model and return the outputs that count: the logits, or what an objective reads.

    Args:
        model: In evaluation mode.
        inputs: A few examples.
        targets: Their targets.
        objective: A loss of a person's own, which may read several outputs; else ``None``.
    """
    outputs = call_model(model, inputs)
    everything = [t for t in find_tensors(outputs) if t.is_floating_point() and t.requires_grad]
    if objective is None or len(everything) < 2:
        return (first_tensor(outputs),)
    values = objective(outputs, targets)
    if not values.requires_grad:
        return (first_tensor(outputs),)
    found = torch.autograd.grad(values.sum(), everything, retain_graph=True, allow_unused=True)
    read = [t for t, gradient in zip(everything, found, strict=True) if gradient is not None]
    return tuple(read) or (first_tensor(outputs),)


def _choose_last(
    products: Sequence[Product], ends: Collection[int], outputs: Sequence[Tensor]
) -> list[Product]:
    """Return the last product and those beside it, which it does not build upon."""
    widths: set[int] = set()
    if len(outputs) == 1:
        shape = outputs[0].shape
        widths = {1} if len(shape) < 2 else {shape[1], shape[-1]}
    # Of several, those that are as wide as the outputs: not a gate, nor a temperature.
    whole = [index for index in ends if products[index].width in widths]
    chosen = whole or list(ends)
    earlier: set[int] = set()
    waiting = list(products[max(chosen)].sources)
    while waiting:
        index = waiting.pop()
        if index not in earlier:
            earlier.add(index)
            waiting += products[index].sources
    return [products[index] for index in sorted(chosen) if index not in earlier]


def _collect(model: nn.Module, products: Sequence[Product], product: Product) -> Iterator[str]:
    """Yield the parameters of a product: weights, bias, and what its module does beside."""
    weights = dict(model.named_parameters())
    yield from product.weights
    modules = dict(model.named_modules(remove_duplicate=False))
    module = modules[product.module]
    if isinstance(module, nn.RNNBase):
        names = {id(value): name for name, value in weights.items()}
        yield from (names[id(value)] for value in module.parameters())
    inner = [
        m for m in module.children() if not isinstance(m, nn.utils.parametrize.ParametrizationList)
    ]
    is_layer = product.module != "" and not any(True for m in inner for _ in m.parameters())
    if is_layer:
        yield from product.scale
    if not product.has_bias:
        yield from (n for n in product.bias if weights[n].numel() == product.width)
    for index in product.linear:
        if _is_factor(modules, products[index], product):
            yield from _collect(model, products, products[index])


def _is_factor(modules: Mapping[str, nn.Module], first: Product, second: Product) -> bool:
    """Return whether two products are one matrix of a lower rank, as of LoRA, within one layer."""
    if first.width >= min(first.width_in, second.width):
        return False
    if first.module == second.module:
        return True
    pairs = zip(first.module.split("."), second.module.split("."), strict=False)
    common = []
    for one, other in pairs:
        if one != other:
            break
        common.append(one)
    around = modules.get(".".join(common))
    return bool(common) and type(around) is not nn.Sequential


def _spreads(
    features: Tensor,
    parts: Sequence[tuple[Tensor, frozenset[str]]],
    results: Sequence[Tensor],
) -> bool:
    """Return whether features meet each row of a matrix, as those of prototypes do by hand."""
    tables = [v for v, met in parts if met and sum(size > 1 for size in v.shape) > 1]
    return bool(tables) and bool(results) and results[0].numel() > features.numel() > 0


def _find_reached(weights: Mapping[str, Tensor], outputs: Iterable[Tensor]) -> set[str]:
    uses = [find_parameter_uses(value) for value in outputs if value.requires_grad]
    ids = {key for found in uses for key in found}
    return {name for name, value in weights.items() if id(value) in ids}


@contextmanager
def _track_current_module(model: nn.Module, flow: Flow) -> Iterator[None]:
    """Record in which module's call the flow is; a TorchScript program does not say."""
    handles: list[Any] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: flow.modules.append(name)

    def leave(*_: Any) -> None:
        flow.modules.pop()

    try:
        for name, module in model.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_pre_hook(enter(name), prepend=True))
                handles.append(module.register_forward_hook(leave))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Product:
    """One map of features by parameters.

    Attributes:
        index: Its place in the order of execution.
        module: Name of the innermost module in whose call it is.
        weights: Names of the parameters that it maps by.
        sources: Products that its features come from, nothing but simple operations between.
        linear: Those of them that only scalings stand between.
        width_in: Features that it takes.
        width: Features that it gives.
        has_bias: Whether it adds a vector itself.
        bias: Parameters added to its result at once.
        scale: Parameters that its own module uses on its result.
    """

    index: int
    module: str
    weights: frozenset[str]
    sources: frozenset[int]
    linear: frozenset[int]
    width_in: int
    width: int
    has_bias: bool
    bias: set[str] = field(default_factory=set)
    scale: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Origin:
    """What a value is made of.

    Attributes:
        is_fed: Whether it depends on the examples.
        weights: Parameters it is made of, where it does not.
        latest: Products it comes from, nothing but simple operations between.
        linear: Those of them that only scalings stand between.
        direct: The product whose result it is.
        scaled: Parameters that it has just been multiplied by, number by number.
    """

    is_fed: bool = False
    weights: frozenset[str] = frozenset()
    latest: frozenset[int] = frozenset()
    linear: frozenset[int] = frozenset()
    direct: int | None = None
    scaled: frozenset[str] = frozenset()


NOTHING = Origin()
# Function name, parameters met, whether features meet each row of them -> whether it is a product.
IsProduct = Callable[[str, Collection[str], bool], bool]


class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows values through a pass.

    Args:
        weights: Parameters by name, as they are in place.
        inputs: What the model is given.
        is_product: Which operations count.
    """

    def __init__(self, weights: Mapping[str, Tensor], inputs: Any, is_product: IsProduct) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._is_product = is_product
        self._origins: dict[Any, Origin] = {}
        self._alive: list[Tensor] = []
        self.products: list[Product] = []
        self.modules: list[str] = [""]
        for name, value in weights.items():
            self._note(value, Origin(weights=frozenset([name])))
        for value in find_tensors(inputs):
            self._note(value, Origin(is_fed=True))

    def origin_of(self, value: Tensor) -> Origin:
        """Return what a value is made of."""
        return self._origins.get(_identify(value), NOTHING)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and note what its results are made of."""
        result = func(*args, **(kwargs or {}))
        given = [*find_tensors(args), *find_tensors(kwargs or {})]
        name = func.overloadpacket.__name__
        made = self._follow(name, given, list(find_tensors(result)))
        if made is not NOTHING:
            for value in find_tensors(result):
                self._note(value, made)
        return result

    def _follow(self, name: str, given: Sequence[Tensor], results: Sequence[Tensor]) -> Origin:
        origins = [self.origin_of(value) for value in given]
        fed = [origin for origin in origins if origin.is_fed]
        weights = frozenset[str]().union(*(o.weights for o in origins if not o.is_fed))
        if not fed:
            return Origin(weights=weights) if weights else NOTHING
        latest = frozenset[int]().union(*(origin.latest for origin in fed))
        linear = frozenset[int]().union(*(origin.linear for origin in fed))
        features = next(v for v, o in zip(given, origins, strict=True) if o.is_fed)
        parts = [(v, o.weights) for v, o in zip(given, origins, strict=True) if not o.is_fed]
        # Features times a vector, and then the sum, is a product by hand.
        summed = fed[0].scaled if name in SUMS and len(fed) == 1 else frozenset[str]()
        met, kind = summed or weights, "dot" if summed else name
        if results and met and self._is_product(kind, met, _spreads(features, parts, results)):
            product = self._add(name, met, parts, features, results[0], fed)
            found = frozenset([product.index])
            return Origin(is_fed=True, latest=found, linear=found, direct=product.index)
        for index in latest if weights else ():
            if self.products[index].module == self.modules[-1]:
                self.products[index].scale |= weights
        direct = fed[0].direct if len(fed) == 1 else None
        if weights and direct is not None and name in ADDITIONS:
            self.products[direct].bias |= weights
        is_view, is_scaled = name in VIEWS, name in SCALINGS and len(fed) == 1
        return Origin(
            is_fed=True,
            latest=latest,
            linear=linear if is_view or is_scaled else frozenset(),
            direct=direct if is_view else None,
            scaled=weights if name in SCALINGS else fed[0].scaled if is_view else frozenset(),
        )

    def _add(
        self,
        name: str,
        weights: frozenset[str],
        parts: Sequence[tuple[Tensor, frozenset[str]]],
        features: Tensor,
        result: Tensor,
        fed: Sequence[Origin],
    ) -> Product:
        """Record a product, and where its features come from."""
        axis = 1 if name in CONVOLUTIONS else -1
        flat = result.dim() < 2
        product = Product(
            index=len(self.products),
            module=self.modules[-1],
            weights=weights,
            sources=frozenset[int]().union(*(origin.latest for origin in fed)),
            linear=frozenset[int]().union(*(origin.linear for origin in fed)),
            width_in=features.shape[axis] if features.dim() else 1,
            width=1 if flat else result.shape[axis if name in PRODUCTS else 1],
            has_bias=not flat and any(met and v.dim() == 1 for v, met in parts),
        )
        self.products.append(product)
        return product

    def _note(self, value: Tensor, origin: Origin) -> None:
        key = _identify(value)
        before = self._origins.get(key, NOTHING)
        self._alive.append(value)  # or another tensor might be given its place in memory
        if before.is_fed and origin.is_fed:
            origin = replace(origin, latest=origin.latest | before.latest)
        elif before.is_fed:
            return
        elif not origin.is_fed:
            origin = replace(origin, weights=origin.weights | before.weights)
        self._origins[key] = origin


def _identify(value: Tensor) -> Any:
    """Return what views of one tensor have in common; a sparse one has no such thing."""
    try:
        return value.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return id(value)
