"""Where training runs: the device, and several processes, started by torchrun, that train as one.

Rank r of n takes every n-th face of each batch, beginning with the r-th; so all of them together see the very batches
that one process would, and with batch normalisation and the matching loss computed over all of them, the losses and
the weights are those of one process too, but for the order of sums. A function of processes does nothing when there is
but one.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from models import speed
from models.attribute_gan import BatchDeviation

from .settings import TrainingError

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


@contextmanager
def joined(device: torch.device, batch_size: int) -> Iterator[None]:
    """Be one of the processes that torchrun started, if it did, while the context lasts.

    Raises:
        TrainingError: the batch cannot be shared out evenly.
    """
    if "WORLD_SIZE" in os.environ:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        if batch_size % size():
            raise TrainingError(f"--batch-size is {batch_size}: {size()} processes cannot share it evenly")
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that logs, draws, saves and pushes."""
    return rank() == 0


def is_first_here() -> bool:
    """Whether this is the process that fills the cache of its machine, which the others there read."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def mine(rows: Any) -> Any:
    """This process's share of the rows of a global batch."""
    return rows[rank() :: size()]


def total(tensor: torch.Tensor) -> torch.Tensor:
    """Sum over the processes; gradients flow through it to all of them."""
    return _Total.apply(tensor) if size() > 1 else tensor


def gather(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, (size * n, ...); gradients flow back to whoever had the row."""
    if size() == 1:
        return rows
    # All rows by way of a sum: each process adds its own to the others' zeros.
    before, after = rank() * len(rows), (size() - 1 - rank()) * len(rows)
    return total(F.pad(rows, (0, 0) * (rows.ndim - 1) + (before, after)))


def average_gradients(network: nn.Module) -> None:
    """Replace each gradient by its mean over the processes, in one message."""
    if size() == 1:
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(together)
    together /= size()
    for gradient, mean in zip(gradients, together.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(mean.view_as(gradient))


def average(tensor: torch.Tensor) -> torch.Tensor:
    """Mean over the processes of numbers that need no gradient."""
    if size() > 1:
        dist.all_reduce(tensor)
        tensor /= size()
    return tensor


def any_of(flag: int, device: torch.device) -> int:
    """The largest of the processes' flags, so that all act on what only one has seen."""
    if size() == 1:
        return flag
    flags = torch.tensor(flag, device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return int(flags)


def from_main(value: Any) -> Any:
    """The main process's value, in every process."""
    if size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def batch(rows: torch.Tensor) -> torch.Tensor:
    """The rows of the global batch in its order, of which each process has its share: (size * n, ...)."""
    return gather(rows).unflatten(0, (size(), -1)).transpose(0, 1).flatten(0, 1)


def same(network: nn.Module) -> None:
    """Give every process the main one's weights and buffers."""
    if size() > 1:
        network.load_state_dict(from_main(network.state_dict()))


def synchronise_batches(network: nn.Module) -> None:
    """Let batch normalisation and the batch's deviation see the global batch.

    (PyTorch's own SyncBatchNorm does so on GPUs only.)
    """
    if size() > 1:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = _GlobalBatchNorm2d
            elif isinstance(module, BatchDeviation):
                module.__class__ = _GlobalBatchDeviation


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with the mean and the variance of all processes' batches, which have the same size."""

    # Never None in the networks here.
    momentum: float
    num_batches_tracked: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        values = x.float()
        count = values.numel() // values.shape[1] * size()
        dimensions = (0, 2, 3)
        # Two messages, since the sum of squares less the square of the sum would cancel in float32.
        mean = total(values.sum(dimensions)) / count
        deviation = values - mean[None, :, None, None]
        variance = total(deviation.square().sum(dimensions)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight / (variance + self.eps).sqrt()
        return (deviation * scale[None, :, None, None] + self.bias[None, :, None, None]).to(x.dtype)


class _GlobalBatchDeviation(BatchDeviation):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(gather(features.float())).to(features.dtype)


class _Total(torch.autograd.Function):
    """PyTorch's own, in `torch.distributed.nn.functional`, is deprecated in favour of functions that are private."""

    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        # Every process's loss depends on every process's share of the sum; a gradient penalty goes back through this too.
        return _Total.apply(gradient)
