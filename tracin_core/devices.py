"""Choose where to compute: CUDA, then Apple's MPS, then the processor."""

from __future__ import annotations

import torch

from tracin_core.errors import ConfigurationError


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to use.

    Args:
        device: "auto", or a device as torch names it.

    Returns:
        The device, index included for CUDA.

    Raises:
        ConfigurationError: If the device is unknown or not there.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigurationError(
            f"Device {str(device)!r} cannot be used ({str(error).splitlines()[0]}). Expected "
            "'auto', 'cpu', 'mps', 'cuda' or 'cuda:<index>'. Use 'auto' to take the best there is."
        ) from error
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen
