"""The device that training runs on, and several processes, started by torchrun, that train as one.

Rank r of n takes every n-th face of each batch, from the r-th on, so all processes together see the batches that one
process would. Batch normalisation and the matching loss are computed over all processes. So losses and weights are the
same as with one process, up to rounding. With one process the functions here return what they are given.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from models.attribute_gan import BatchDeviation

from .settings import TrainingError, printable


def find_device(name: str) -> torch.device:
    """The device of this name, or for "auto" the best there is: CUDA, then MPS, then the CPU.

    With several GPUs, each process gets one of its own.

    Raises:
        TrainingError: this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(name for name, present in available.items() if present)
    if not available[name]:
        raise TrainingError(f"--device {name}: this machine has none")
    if name != "cuda":
        return torch.device(name)
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= (count := torch.cuda.device_count()):
        raise TrainingError(f"process {number + 1} has no GPU: start at most {count}, one for each GPU")
    return torch.device("cuda", number)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16; software is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


@contextmanager
def joined(device: torch.device, batch_size: int) -> Iterator[None]:
    """A context in which this process can reach the others that torchrun started, if it did.

    Raises:
        TrainingError: the processes cannot share a batch evenly.
    """
    if {
        "RANK",
        "WORLD_SIZE",
        "MASTER_ADDR",
    } <= os.environ.keys():  # Some clusters set a part of them for every program.
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


def say(line: str) -> None:
    """Print a line, once for all processes."""
    if is_main():
        print(printable(line), flush=True)


def is_first_here() -> bool:
    """Whether this is the process that fills the cache of its machine, which the others there read."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def mine(rows: Any) -> Any:
    """This process's share of the rows of a global batch."""
    return rows[rank() :: size()]


def total(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over the processes. Gradients flow through it to all of them."""
    return _Total.apply(tensor) if size() > 1 else tensor


def gather(rows: torch.Tensor) -> torch.Tensor:
    """The whole batch, in its order, from each process's rows of it: (n, ...) to (size * n, ...). Gradients flow back to
    the process of each row."""
    if size() == 1:
        return rows
    # A sum, in which each process has zeros for the rows of the others.
    whole = rows.new_zeros(len(rows), size(), *rows.shape[1:])
    whole[:, rank()] = rows
    return total(whole.flatten(0, 1))


def average_gradients(network: nn.Module) -> None:
    """Replace each gradient by its mean over the processes."""
    for parameter in network.parameters() if size() > 1 else ():
        if parameter.grad is not None:
            parameter.grad.copy_(average(parameter.grad))


def average(tensor: torch.Tensor) -> torch.Tensor:
    """The mean over the processes."""
    return total(tensor) / size()


def any_of(flag: int, device: torch.device) -> int:
    """The largest of the processes' flags, so that all act on what one has seen."""
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


def synchronise_batches(network: nn.Module) -> None:
    """Let batch normalisation and the batch's deviation see the whole batch; PyTorch's SyncBatchNorm needs GPUs."""
    if size() > 1:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = _GlobalBatchNorm2d
            elif isinstance(module, BatchDeviation):
                module.__class__ = _GlobalBatchDeviation


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over all processes, which have as many rows each."""

    # Not None in the networks here.
    momentum: float
    num_batches_tracked: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        values = x.float()
        count = values.numel() // values.shape[1] * size()
        dimensions = (0, 2, 3)
        # The mean first: the sum of squares less the square of the sum would lose its digits in float32.
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
    """A sum with gradients. PyTorch's own is deprecated, and its successor is private."""

    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        # The loss of each process depends on the share of each. A gradient penalty goes back through this too.
        return _Total.apply(gradient)
