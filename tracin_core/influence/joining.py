"""How many examples go through a network together, where a batch leaves the processor idle."""

from __future__ import annotations

from torch import nn

from tracin_core.gradients.plan import Plan

# Numbers held at once where several batches are joined: 16 MB in single precision.
JOINED_NUMBERS = 4_000_000
# Modules that do not mix an example's numbers, and the container they stand in.
ELEMENTWISE = {
    *(nn.Sequential, nn.Flatten, nn.Identity, nn.Dropout, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.ReLU6, nn.Mish),
}


def count_chain_numbers(model: nn.Module, numbers_each: int) -> int | None:
    """Return how many numbers the layers of a plain chain of products hold for an example.

    Args:
        model: Any module.
        numbers_each: Numbers in the input of one example.

    Returns:
        ``None`` where anything but Linear layers and what acts on single numbers is inside.
    """
    layers = []
    for module in model.modules():
        if type(module) is nn.Linear:
            layers.append(module)
        elif type(module) not in ELEMENTWISE:
            return None
    if not layers:
        return None
    # Over a sequence, every layer holds its numbers at each position.
    positions = max(1, -(-numbers_each // layers[0].in_features))
    return numbers_each + positions * sum(layer.out_features for layer in layers)


class Sizes:
    """Examples that are read, and go through passes, at a time.

    Matrix products alone gain from larger parts: of a small MLP, what Python does for each pass
    costs as much as the pass. A convolution loses up to 40%, because its outputs leave the cache.

    Args:
        model: The model.
        plan: How its gradients are computed.
        batch_size: Examples in a pass where nothing is to be gained.
        numbers_each: Numbers in the input of one example.

    Attributes:
        full_pass: Examples in a forward and backward pass.
        forward: Examples in a forward pass alone.
        read: Examples read at once.
    """

    def __init__(self, model: nn.Module, plan: Plan, batch_size: int, numbers_each: int) -> None:
        held = count_chain_numbers(model, numbers_each)
        joined = batch_size if held is None else max(batch_size, JOINED_NUMBERS // held)
        by_rules = not plan.fallback and not plan.known
        self.full_pass = joined if by_rules else batch_size
        self.forward = joined if plan.head is not None else batch_size
        self.read = self.full_pass
        if plan.head is not None:
            # A head's forward pass can be so short that what is done around it costs as much,
            # so it is done for several batches at once, as many as have small inputs.
            batches = JOINED_NUMBERS // max(1, numbers_each * batch_size)
            self.read = batch_size * max(1, batches)
