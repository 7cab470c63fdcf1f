"""What the machine can do, and how to get it out of it."""

import ctypes
import os
import sys

import torch

from models import speed

from .errors import TrainingError

# glibc's mallopt: sizes from which memory is asked of the system each time, and given back.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def find_device(name: str) -> torch.device:
    """The device of this name, or with "auto" the best there is: CUDA, then MPS, then the CPU.

    Of several GPUs it is the one that torchrun gave this process.

    Raises:
        TrainingError: this machine has none.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(name for name, present in available.items() if present)
    if not available[name]:
        raise TrainingError(f"--device {name}: this machine has none")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is done in hardware; in software it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return speed.has_fast_bf16()
    return False


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, on Linux.

    Every step allocates and frees the same activations, up to 34 MB each. glibc hands blocks of that size back to the
    system, which must then clear them page by page before the next step: some 11,000 page faults a step of the GAN.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 2**25)  # The most that glibc takes.
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
