"""Evaluation mode, also of models whose modules cache results of their weights.

Some modules compute something of their weights once, when evaluation mode begins or in the first
pass after it (attention biases of LeViT, merged LoRA matrices, a normalised weight), and go on
with that. Other weights in place would then change nothing, and their gradients would be zero.
Which modules do so, and how they compute the same from the weights that are in place, is found by
trying: the model as it is after ``train()``, the new weights and ``eval()`` gives the right
outputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.errors import GradientError
from tracin_core.gradients.graph.survey import survey_graph
from tracin_core.gradients.module_states import (
    ModuleStates,
    WeightSlots,
    clear_attribute,
    evaluation_mode,
    find_cached_functions,
    find_switching,
    holds_tensors,
    read_attribute,
)
from tracin_core.gradients.nested import call_model, find_tensors

# Largest disagreement between two ways to the same outputs, relative to the largest output.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
LOOSE_TOLERANCE = 3e-2
# Kept results that are looked for, each with a pass on a few examples.
MOST_PROBES = 32
MOST_NAMED = 3

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Strategy:
    """How a model computes with weights in place as it would in evaluation mode.

    Attributes:
        in_training: Modules whose own flag says training, so that they use no kept result; what
            they return is the same, and nothing random is drawn.
        switches: Whether evaluation mode begins anew before every pass, with gradients.
    """

    in_training: frozenset[nn.Module] = frozenset()
    switches: bool = False


@dataclass(frozen=True)
class TrialOutputs:
    """What a forward pass on a few examples gave.

    Attributes:
        outputs: All floating point tensors of the outputs.
        reached: Names of the parameters in their gradient graph.
    """

    outputs: tuple[Tensor, ...]
    reached: frozenset[str]


class Evaluation:
    """Holds a model in evaluation mode and lets no module go on with what it kept.

    Args:
        model: The model.
        slots: Where its weights hang.

    Attributes:
        training_only: Parameters that reach the outputs in training mode only.
    """

    def __init__(self, model: nn.Module, slots: WeightSlots) -> None:
        self._model, self._slots = model, slots
        self._own = {id(value): name for name, value in model.named_parameters()}
        self._switching = find_switching(model)
        self._cached = find_cached_functions(model)
        self._strategy: Strategy | None = None
        self._keeping: frozenset[nn.Module] = frozenset()
        self._emptied: list[tuple[nn.Module, str]] = []
        self._is_open = False
        self._pristine: ModuleStates | None = None
        self.training_only: frozenset[str] = frozenset()

    @contextmanager
    def opened(self, device: torch.device) -> Iterator[None]:
        """Open evaluation mode; opened once more within, it changes nothing."""
        if self._is_open:
            yield
            return
        self._handle: Any = None
        try:
            with evaluation_mode(self._model, device):
                self._is_open = True
                if self._switching:
                    self._model.train()
                    self._slots.find_again()
                    set_modes(self._model, False)
                if self._strategy is not None:
                    self._install(self._strategy)
                try:
                    yield
                finally:
                    self._is_open, self._pristine = False, None
                    if self._handle is not None:
                        self._handle.remove()
                        self._clear_cached()
        finally:
            if self._switching or self._emptied:
                self._slots.find_again()

    def settle(self, weights: Weights, inputs: Any) -> None:
        """Find out, once, which modules keep results, and how to do without.

        Args:
            weights: All parameters and buffers, the trainable ones with gradients.
            inputs: A few examples.

        Raises:
            GradientError: If gradients would not reach what the outputs depend on.
        """
        if self._strategy is not None:
            return
        self._pristine = ModuleStates(self._model, self._switching)
        self._find_cached_results(weights, inputs)
        trial = self._try(Strategy(), weights, inputs)
        changed = [m for m in self._pristine.find_changed() if not isinstance(m, nn.RNNBase)]
        self._keeping = frozenset((*changed, *self._switching, *(m for m, _ in self._emptied)))
        self._start(Strategy())
        trainable = {name for name, value in weights.items() if value.requires_grad}
        strategy = Strategy()
        if self._keeping or self._cached or (trial is not None and not trainable <= trial.reached):
            self._cached = [f for f in self._cached if self._follows_weights(f, weights, inputs)]
            strategy = self._choose(trial, frozenset(trainable), weights, inputs)
        self._start(Strategy())
        self._strategy = strategy
        self._install(strategy)

    def _install(self, strategy: Strategy) -> None:
        if not self._keeping and not self._cached and strategy == Strategy():
            return
        if self._pristine is None:
            self._pristine = ModuleStates(self._model, self._switching)
            self._forget()
        self._start(strategy)
        self._handle = self._model.register_forward_pre_hook(self._before_pass, prepend=True)

    def _before_pass(self, *_: Any) -> None:
        """Drop what the pass before left; called before every pass, with weights in place."""
        assert self._pristine is not None  # noqa: S101 - made when this was installed
        assert self._strategy is not None  # noqa: S101
        self._pristine.restore(self._keeping, held=True)
        self._clear_cached()
        if self._strategy.switches:
            self._switch()

    def _start(self, strategy: Strategy) -> None:
        """Restore the state in which weights are loaded, in evaluation mode."""
        assert self._pristine is not None  # noqa: S101 - made by whoever calls this
        self._pristine.restore()
        self._clear_cached()
        set_modes(self._model, False)
        for module in strategy.in_training:
            module.training = True

    def _switch(self) -> None:
        """Begin evaluation mode with gradients, also where a module turns them off for it."""
        set_modes(self._model, True)
        self._model.eval()
        for module in self._switching:  # parents come first, so a child's own word is the last
            unwrap(type(module).train)(module, False)

    def _clear_cached(self) -> None:
        for function in self._cached:
            function.cache_clear()

    def _try(self, strategy: Strategy, weights: Weights, inputs: Any) -> TrialOutputs | None:
        """Run a pass by a strategy; ``None`` where the model fails, draws or changes anything."""
        self._start(strategy)
        held = dict(weights)
        if strategy != Strategy():  # which may change weights or statistics in place
            held = {n: v.detach().clone().requires_grad_(v.requires_grad) for n, v in held.items()}
        before = _read_random_state(weights)
        try:
            with self._slots.hold(held), torch.enable_grad():
                if strategy.switches:
                    self._switch()
                outputs = call_model(self._model, inputs)
        except Exception:
            # What a model raises under another strategy than its own rules that strategy out; under
            # its own it raises again where the pass is wanted, and is reported there.
            return None
        if strategy.in_training and before != _read_random_state(weights):
            return None
        if strategy != Strategy() and not all(torch.equal(held[n], weights[n]) for n in held):
            return None
        tensors = [t for t in find_tensors(outputs) if t.is_floating_point()]
        return TrialOutputs(tuple(t.detach() for t in tensors), self._find_reached(tensors, held))

    def _find_reached(self, outputs: Sequence[Tensor], held: Weights) -> frozenset[str]:
        names = {id(value): name for name, value in held.items()}
        reached = set()
        for output in outputs:
            nodes = survey_graph(output).readers if output.requires_grad else {}
            leaves = [output] if output.grad_fn is None else []
            for leaf in (*leaves, *(n.variable for n in nodes if hasattr(n, "variable"))):
                if id(leaf) in self._own and id(leaf) not in names:
                    raise GradientError(
                        f"The model reads the parameter {self._own[id(leaf)]!r} from another place "
                        "than the module it belongs to, such as a closure, a tuple or an object; "
                        "the checkpoints' weights would not get there. Expected it read as "
                        "self.NAME in forward. Change the model's forward so."
                    )
                reached |= {names[id(leaf)]} if id(leaf) in names else set()
        return frozenset(reached)

    @torch.no_grad()
    def _reference(self, weights: Weights, inputs: Any) -> tuple[Tensor, ...]:
        """Return the outputs that the model has with weights loaded, and then ``eval()``."""
        self._start(Strategy())
        copies = {name: value.detach().clone() for name, value in weights.items()}
        with self._slots.hold(copies):
            set_modes(self._model, True)
            self._model.eval()
            outputs = list(find_tensors(call_model(self._model, inputs)))
        self._start(Strategy())
        return tuple(t.clone() for t in outputs if t.is_floating_point())

    def _choose(
        self, plain: TrialOutputs | None, wanted: frozenset[str], weights: Weights, inputs: Any
    ) -> Strategy:
        """Return the strategy that gives the right outputs and lets gradients reach the most."""
        expected = self._reference(weights, inputs)
        unreached = wanted - (plain.reached if plain else frozenset())
        if (
            plain is not None
            and agree(plain.outputs, expected)
            and not self._depends(unreached, expected, weights, inputs)
        ):
            self._report_unreached(
                unreached & self._find_trained(weights, inputs) if unreached else unreached
            )
            return Strategy()
        fitting: list[tuple[Strategy, frozenset[str]]] = []
        for strategy in self._list_strategies(unreached):
            trial = plain if strategy == Strategy() else self._try(strategy, weights, inputs)
            if trial is not None and agree(trial.outputs, expected):
                fitting.append((strategy, trial.reached))
                if wanted <= trial.reached:
                    return strategy
        if not fitting:
            raise GradientError(
                f"The model keeps results of its weights in evaluation mode ({self._name()}), and "
                "cannot compute the same from the weights themselves. Expected the outputs of "
                "evaluation mode also where nothing is kept. Let these modules compute them anew "
                "in each forward pass, at least where gradients are on."
            )
        strategy, reached = max(fitting, key=lambda pair: len(pair[1]))
        trained = (wanted - reached) & self._find_trained(weights, inputs)
        if self._depends(trained, expected, weights, inputs):
            raise GradientError(
                f"The outputs in evaluation mode depend on {_shorten(sorted(trained))}, and "
                "gradients reach there in training mode only: the model keeps or detaches what it "
                "computes of it. Expected gradients in evaluation mode, where scores are computed. "
                "Let forward use the parameter itself, or call requires_grad_(False) on it to "
                "leave it out."
            )
        self._report_unreached(trained)
        return strategy

    def _list_strategies(self, lost: frozenset[str]) -> Iterator[Strategy]:
        yield Strategy()
        named = dict(self._model.named_modules(remove_duplicate=False))
        owners = {name.rpartition(".")[0] for name in lost}
        near = frozenset((*self._keeping, *(named[name] for name in owners)))
        yield Strategy(near)
        around = {name for name, module in named.items() if module in near}
        above = {".".join(n.split(".")[:i]) for n in around for i in range(n.count(".") + 1)}
        yield Strategy(near | {named[name] for name in above if name in named})
        if self._switching:
            yield Strategy(switches=True)

    def _depends(
        self, names: frozenset[str], right: tuple[Tensor, ...], weights: Weights, inputs: Any
    ) -> bool:
        """Return whether the outputs of evaluation mode change a little with parameters that do."""
        moved = {n: _move(value) if n in names else value for n, value in weights.items()}
        return bool(names) and not agree(self._reference(moved, inputs), right)

    def _report_unreached(self, trained: frozenset[str]) -> None:
        """Describe what gradients reach in training mode only."""
        self.training_only = trained
        if trained:
            warnings.warn(
                f"On the first examples, {_shorten(sorted(trained))} reach the model's outputs in "
                "training mode only, as auxiliary heads do. Scores are computed in evaluation "
                "mode, where their gradients are zero unless other examples reach them.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _find_trained(self, weights: Weights, inputs: Any) -> frozenset[str]:
        """Return what gradients reach in training mode; everything where that cannot be run."""
        self._start(Strategy())
        copies = {n: v.detach().clone().requires_grad_(v.requires_grad) for n, v in weights.items()}
        try:
            with self._slots.hold(copies), torch.enable_grad():
                self._model.train()
                outputs = list(find_tensors(call_model(self._model, inputs)))
            return self._find_reached([t for t in outputs if t.is_floating_point()], copies)
        except GradientError:
            raise
        except Exception:
            return frozenset(weights)
        finally:
            self._start(Strategy())

    def _find_cached_results(self, weights: Weights, inputs: Any) -> None:
        """Find what was kept before we came: it is there again after a pass without it."""
        assert self._pristine is not None  # noqa: S101 - settle has made it
        groups: dict[tuple[type, str], list[nn.Module]] = {}
        for module, key in self._pristine.kept_tensors():
            if not isinstance(module, nn.RNNBase):
                groups.setdefault((type(module), key), []).append(module)
        for (_, key), modules in list(groups.items())[:MOST_PROBES]:
            for module in modules:
                clear_attribute(module, key)
            self._slots.find_again()
            try:
                with self._slots.hold(weights), torch.no_grad():
                    call_model(self._model, inputs)
                held = [m for m in modules if holds_tensors(read_attribute(m, key))]
                self._emptied += [(module, key) for module in held]
            except Exception:  # noqa: S112 - a constant that the model needs, no kept result
                continue
            finally:
                self._pristine.restore()
        self._forget()

    def _forget(self) -> None:
        assert self._pristine is not None  # noqa: S101 - made by whoever calls this
        for module, key in self._emptied:
            if holds_tensors(read_attribute(module, key)):
                self._pristine.forget(module, key)
        self._slots.find_again()

    def _follows_weights(self, function: Any, weights: Weights, inputs: Any) -> bool:
        """Return whether what a function keeps (``functools.cache``) is made from weights."""
        moved = {n: _move(v) if v.requires_grad else v for n, v in weights.items()}
        self._clear_cached()
        with self._slots.hold(weights), torch.no_grad():
            call_model(self._model, inputs)
        with self._slots.hold(moved), torch.no_grad():
            kept = list(find_tensors(call_model(self._model, inputs)))
        return not agree(tuple(kept), self._reference(moved, inputs))

    def _name(self) -> str:
        names = [
            f"{name or 'the model'}: {type(module).__name__}"
            for name, module in self._model.named_modules()
            if module in self._keeping
        ]
        return _shorten(names)


def set_modes(model: nn.Module, training: bool) -> None:
    """Set every module's flag and do nothing else that ``train()`` may do."""
    for module in model.modules():
        module.training = training


def agree(found: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Return whether two passes gave the same outputs, up to rounding."""
    if [t.shape for t in found] != [t.shape for t in right]:
        return False
    for mine, other in zip(found, right, strict=True):
        largest = other.abs().nan_to_num(posinf=0.0).max() if other.numel() else 0.0
        allowed = TOLERANCES.get(other.dtype, LOOSE_TOLERANCE) * float(largest)
        if not torch.allclose(mine, other, rtol=0.0, atol=max(allowed, 1e-30), equal_nan=True):
            return False
    return True


@contextmanager
def simulate_loaded_weights(
    model: nn.Module, weights: Weights, device: torch.device
) -> Iterator[None]:
    """Run a model, without gradients, as if weights were loaded; it stays as it was.

    Args:
        model: The model.
        weights: All parameters and saved buffers by name, which nobody else uses.
        device: Where they are.
    """
    with evaluation_mode(model, device):
        if find_switching(model):
            model.train()
        with WeightSlots(model).hold(weights):
            model.eval()
            yield


def _move(value: Tensor) -> Tensor:
    """Return a parameter's values changed by a hundredth: other outputs, not another branch."""
    values = value.detach()
    noise = torch.rand(values.shape, device=values.device) - 0.5
    return (values + (values.abs().mean() + 0.1) * noise.to(values.dtype) / 25).to(values.dtype)


def _read_random_state(weights: Weights) -> list[bytes]:
    states = [torch.get_rng_state()]
    if any(value.is_cuda for value in weights.values()):
        states.append(torch.cuda.get_rng_state())
    return [state.numpy().tobytes() for state in states]


def _shorten(names: Collection[str]) -> str:
    return ", ".join(list(names)[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
