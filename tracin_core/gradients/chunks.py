"""How many numbers are held at once on the way to a norm or a projection.

A processor wants them in its cache: of convolutions from 28 x 28 down to 7 x 7, patches of 1
million numbers (4 MB) were fastest of 0.25 to 8 million on two cores, and past the last-level
cache of most processors larger chunks of gradients gain nothing. A GPU wants long operations:
its cache holds no batch anyway, and each one that it is given costs some microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Chunks:
    """Numbers held at once, on one kind of device.

    Attributes:
        patches: Cut out of a convolution's inputs.
        gradients: In whole gradients.
        transforms: In hashed vectors on their way through a Fourier transform.
    """

    patches: int
    gradients: int
    transforms: int


PROCESSOR = Chunks(patches=1_000_000, gradients=4_000_000, transforms=4_000_000)
# 256 and 512 MB in single precision, of the 16 GB and more that GPUs for training have.
ACCELERATOR = Chunks(patches=1 << 26, gradients=1 << 27, transforms=1 << 26)


def choose_chunks(device: torch.device) -> Chunks:
    """Return what suits a device."""
    return PROCESSOR if device.type == "cpu" else ACCELERATOR
