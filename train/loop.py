"""The loop: epochs, steps, progress, metrics and checkpoints. What one step does is up to the trainer."""

import math
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from models import load
from models.base import FaceModel
from models.hub import one_line
from models.images import normalise

from . import distributed
from .card import make_card
from .data import Batch, Faces, open_faces, open_held_out
from .push import check_can_push, push
from .record import Grid, save_grid, save_loss_curve
from .run import Position, Run
from .settings import AVERAGES, Interrupted, Settings, TrainingError

# Losses stay on the device and are read together, because reading one makes the CPU wait for the GPU. Where steps are
# slow or few, losses are read every second.
STEPS_PER_READ, SECONDS_PER_READ = 25, 1

# A checkpoint is also saved this often within an epoch. An epoch of all of CelebA takes hours on a CPU.
SECONDS_PER_CHECKPOINT = 300

# The random stream of (seed, step) that mirrors faces. `models.latents` draws from streams 0 and 2.
_FLIP_STREAM = 1


class Trainer(ABC):
    """What is trained, and what one step of training does."""

    needs_labels: ClassVar[bool] = False  # Whether it can do nothing without labels.
    needs_held_out: ClassVar[bool] = False  # Whether it measures faces that training does not see.
    settings: Any  # The command's own class.
    labels: tuple[str, ...] = ()  # Those of the data set's labels that the model is made for.

    @abstractmethod
    def __init__(self, settings: Any, faces: Faces, held_out: torch.Tensor | None = None):
        """With `held_out`, (n, 3, 64, 64) uint8, where the class needs these faces."""

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Everything that a checkpoint holds, by name: objects with `state_dict` and `load_state_dict`."""

    def begin_epoch(self, epoch: int) -> None:
        """Called before the first step of an epoch, and where a resumed run enters it midway."""

    @abstractmethod
    def step(self, images: torch.Tensor, step: int, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Update the networks once.

        With several processes, each gets its rows of the batch, and the update is that of the whole batch. Random draws
        depend on the run's seed and on `step` alone, so that a resumed run draws what an undisturbed one would.

        Args:
            images: (n, 3, 64, 64) in [-1, 1].
            labels: (n, k), -1 or 1; k is 0 where the data set has no labels.

        Returns:
            Scalar losses by name, on the device.
        """

    @abstractmethod
    def end_epoch(self) -> tuple[dict[str, float], dict[str, Grid]]:
        """The measurements after an epoch, and its pictures by the name of their series; one of these is "samples"."""

    @abstractmethod
    def model(self) -> FaceModel:
        """The model that the run keeps, in eval mode from the end of the first epoch on."""


class Averages(nn.Module):
    """Averages of a network's weights over its training so far, one for each width in `AVERAGES`.

    An average weighs the weights after step s by a power of s (Karras et al. 2024, arXiv:2312.02696). So it remembers the
    same share of a training, however long that is.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.each = nn.ModuleList(
            AveragedModel(network, multi_avg_fn=_power_average(width), use_buffers=True) for width in AVERAGES
        ).requires_grad_(False)
        for averaged in self.each:  # On the CPU, since it is read at every step and that would wait for a GPU.
            averaged.n_averaged = averaged.n_averaged.cpu()
        self.eval()

    def update(self, network: nn.Module) -> None:
        """Add the network's weights after another step."""
        for averaged in self.each:
            averaged.update_parameters(network)

    def model(self, width: float) -> Any:
        """The network with the averaged weights of one of the widths in `AVERAGES`, in eval mode."""
        return self.each[AVERAGES.index(width)].module


def _power_average(width: float) -> Any:
    # Steps s up to t, weighed by s ** p, have the standard deviation t * sqrt((p + 1) / ((p + 2)^2 (p + 3))). It is
    # t * width where p is the largest root of this cubic.
    power = np.roots([1, 7, 16 - width**-2, 12 - width**-2]).real.max()

    @torch.no_grad()
    def update(averages: list[torch.Tensor], weights: list[torch.Tensor], updates: torch.Tensor) -> None:
        kept = (1 - 1 / (int(updates) + 1)) ** (power + 1)
        for average, weight in zip(averages, weights):
            if average.is_floating_point():
                average.lerp_(weight, 1 - kept)
            else:  # Batch normalisation's count of batches.
                average.copy_(weight)

    return update


def falling(progress: float) -> float:
    """The share of a learning rate that is left, from 1 to 0 along a cosine, for a progress from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * max(0.0, min(1.0, progress))))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the weights of new networks from a seed, without touching torch's global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def placed(network: Any, settings: Settings) -> Any:
    """The network on the run's device, in the memory layout that convolutions are fastest in."""
    network.to(settings.torch_device).to(memory_format=torch.channels_last)
    distributed.synchronise_batches(network)
    return network


def start(model: FaceModel, settings: Settings) -> FaceModel:
    """The new model, with the weights of --start-from where the settings name one.

    What is fitted to latents or labels, such as a prior, is not taken over: it is fitted anew.

    Raises:
        TrainingError: there is no such model, or its weights do not fit.
    """
    if settings.start_from is None:
        return model
    try:
        before = load(settings.start_from)
        if type(before) is not type(model) or before.discrete_size != model.discrete_size:
            raise ValueError("it is of another class, or has other bits")
        fitted, fitted_before = (dict(network.named_buffers(recurse=False)) for network in (model, before))
        weights = {name: tensor for name, tensor in before.state_dict().items() if name not in fitted_before}
        model.load_state_dict(weights | fitted)
    except (ValueError, OSError, RuntimeError) as error:
        reason = f"is no model of the kind and sizes of these settings: {one_line(error)}"
        raise TrainingError(f"--start-from {settings.start_from} {reason}") from error
    return model


def train(kind: str, settings: Any, trainer: type[Trainer]) -> None:
    """Run a training command: train from wherever the run stands to its last epoch, and push the model if asked to.

    A run that is done is not trained further. Its history is written anew, and so is its model if that is gone or damaged.

    Args:
        kind: the command's name, such as "gan".

    Raises:
        Interrupted: a signal stopped the run; its state is saved.
        TrainingError: the faces cannot be read, there are too few for one batch, or they are not those that the run began
            with; a loss is not finite; the folder cannot be written; or memory is too small.
    """
    with distributed.joined(settings.torch_device, settings.batch_size):
        pushed_to = settings.push_to_hub if distributed.is_main() else None
        if pushed_to is not None:  # What stands in the way of it is told before hours of training.
            check_can_push(pushed_to)
        held_out = None
        if trainer.needs_held_out:
            held_out = open_held_out(settings, settings.held_out_split, settings.held_out)
            # The record and the card tell which faces were held out.
            settings = replace(settings, held_out=len(held_out.faces), held_out_split=held_out.split)
        labels_for = f"train.{kind}" if trainer.needs_labels else None
        with open_faces(settings, held_out.skip if held_out else 0, labels_for) as faces, Run(kind, settings) as run:
            _finish(partial(trainer, settings, faces, held_out.faces if held_out else None), faces, run)
        if pushed_to is not None:
            print(push(settings.output, pushed_to))


def _finish(make_trainer: Callable[[], Trainer], faces: Faces, run: Run) -> None:
    """Train to the last epoch, and write the training's history beside the model."""
    try:
        position, signal_number = _train(make_trainer(), faces, run)
        run.document()
    except (OSError, SafetensorError) as error:  # The latter where the disk is full just as the weights are written.
        reason = getattr(error, "strerror", None) or one_line(error)
        kept = "the last checkpoint is kept, go on with --resume" if run.has_checkpoint else "nothing is saved as yet"
        raise TrainingError(f"cannot write to {run.folder}: {reason}; {kept}") from error
    except RuntimeError as error:  # PyTorch has no one class for it.
        if not any(words in str(error) for words in ("out of memory", "allocate memory")):
            raise
        raise TrainingError(
            f"there is not enough memory: lower --batch-size ({run.settings.batch_size}) or the networks' sizes"
        ) from error
    if signal_number:
        raise Interrupted(f"stopped at step {position.step}, which is saved; go on with --resume", 128 + signal_number)
    epochs = "1 epoch is" if position.epoch == 2 else f"{position.epoch - 1} epochs are"
    distributed.say(f"{epochs} done; the model is in {run.folder / 'model'}.")


def _train(trainer: Trainer, faces: Faces, run: Run) -> tuple[Position, int]:
    """Where the run stands at the end, and the number of the signal that stopped it, 0 if none did."""
    if distributed.is_main():
        run.begin(faces, trainer.labels)
        # A card that cannot be written is told before hours of training.
        make_card(run.record.description, {"epoch": 0, "images_seen": 0, "seconds": 0.0}, trainer.model(), "user/name")
    run.settings = settings = distributed.from_main(run.settings)
    position = _restore(trainer, run)
    pending: list[dict[str, Any]] = []

    def read_losses() -> None:
        if losses := _read_losses(run, pending):
            _show(bar, position, faces, settings, losses)

    def save() -> None:
        read_losses()
        _check_weights(trainer, run, position)
        if distributed.is_main():
            run.save(position, {name: part.state_dict() for name, part in trainer.parts().items()})

    is_done = position.epoch > settings.epochs and position.batch == 0
    if is_done and distributed.is_main() and not run.has_model():
        print(f"The model in {run.folder / 'model'} is gone, damaged or of another --average, and is written anew.")
        _draw(trainer, run, position.epoch - 1)
        run.export(trainer.model(), position.epoch - 1, faces.crop)
        save()
    with _stop_signals() as stopped_by, _progress_bar(position) as bar:
        last_save = last_read = time.monotonic()
        while position.epoch <= settings.epochs:
            trainer.begin_epoch(position.epoch)
            started = time.monotonic()
            for pixels, labels in _batches(faces, settings, position.epoch, position.batch):
                images = prepare(pixels, settings, position.step)
                losses = trainer.step(images, position.step, labels.to(images.device, images.dtype))
                now = time.monotonic()
                position.seconds += now - started
                position.images_seen += settings.batch_size
                position.step += 1
                position.batch += 1
                started = now
                pending.append({**position.label(), **losses})
                # Several processes must read at the same steps, so only the number of steps decides there.
                is_due = distributed.size() == 1 and now - last_read > SECONDS_PER_READ
                if is_due or len(pending) == STEPS_PER_READ:
                    read_losses()
                    last_read = now
                elif distributed.size() > 1:
                    continue  # To stop or to save is for all processes to agree on, which costs a message.
                if signal_number := distributed.any_of(stopped_by[0] if stopped_by else 0, settings.torch_device):
                    save()
                    return position, signal_number
                if distributed.any_of(now - last_save > SECONDS_PER_CHECKPOINT, settings.torch_device):
                    save()
                    last_save = time.monotonic()
            if position.batch == 0:
                limit = "" if settings.limit is None else f", or raise --limit ({settings.limit})"
                raise TrainingError(
                    f"{settings.dataset} gives {len(faces)} faces to train on, fewer than one batch: lower --batch-size "
                    f"({settings.batch_size}){limit}"
                )
            read_losses()
            _check_weights(trainer, run, position)
            if distributed.is_main():
                measured = _draw(trainer, run, position.epoch)
                run.record.append([{**position.label(), "seconds": round(position.seconds, 3), **measured}])
                save_loss_curve(run.record.metrics(), run.folder / "loss.png")
                run.export(trainer.model(), position.epoch, faces.crop)
            position.epoch, position.batch = position.epoch + 1, 0
            save()
            last_save = time.monotonic()
    return position, 0


def _batches(faces: Faces, settings: Settings, epoch: int, start: int) -> Iterator[Batch]:
    """The batches of an epoch, from batch number `start` on."""
    passes = settings.passes or 1
    first = (epoch - 1) * passes + 1
    for number in range(first, first + passes):
        yield from faces.batches(number, settings.batch_size, settings.seed, start)
        start = max(0, start - len(faces) // settings.batch_size)


def _restore(trainer: Trainer, run: Run) -> Position:
    """Load the run's checkpoint into the trainer, if there is one; returns where the run stands."""
    position, state = distributed.from_main(run.load() if distributed.is_main() else None)
    if state is not None:
        for name, part in trainer.parts().items():
            part.load_state_dict(state[name])
    return position


def _draw(trainer: Trainer, run: Run, epoch: int) -> dict[str, float]:
    """Save the pictures of an epoch that has just ended; returns its measurements."""
    measured, grids = trainer.end_epoch()
    for series, grid in grids.items():
        path = run.record.picture_path(series, epoch)
        path.parent.mkdir(exist_ok=True)
        save_grid(grid.faces, path, grid.columns)
    return measured


def _check_weights(trainer: Trainer, run: Run, position: Position) -> None:
    """Raise if a weight is not finite: such weights are never saved. A finite loss does not rule them out."""
    networks = [part for part in trainer.parts().values() if isinstance(part, nn.Module)]
    if not all(tensor.isfinite().all() for network in networks for tensor in network.state_dict().values()):
        raise TrainingError(_diverged(run, position.step))


def _diverged(run: Run, step: int) -> str:
    precision = " or --precision fp32" if run.settings.uses_bf16 else ""
    kept = "; the last checkpoint is kept" if run.has_checkpoint else ""
    return (
        f"training diverged at step {step}: begin anew in another --output with a --learning-rate below "
        f"{run.settings.learning_rate:g}{precision}{kept}"
    )


def prepare(pixels: torch.Tensor, settings: Settings, step: int) -> torch.Tensor:
    """Faces (n, 3, 64, 64) uint8 as images in [-1, 1] on the device, mirrored at random where the settings say so."""
    device = settings.torch_device
    pixels = pixels.to(device, non_blocking=True)
    if settings.flip:
        mirrored = np.random.default_rng([settings.seed, step, _FLIP_STREAM]).random(settings.batch_size) < 0.5
        mask = torch.from_numpy(distributed.mine(mirrored).copy()).to(device)
        pixels = torch.where(mask[:, None, None, None], pixels.flip(-1), pixels)
    return normalise(pixels.contiguous(memory_format=torch.channels_last))


def _read_losses(run: Run, pending: list[dict[str, Any]]) -> dict[str, float]:
    """Read the losses of the pending steps at once, log them and forget them; returns those of the last step."""
    if not pending:
        return {}
    names = [name for name, value in pending[-1].items() if isinstance(value, torch.Tensor)]
    losses = torch.stack([torch.stack([line[name] for name in names]) for line in pending])
    values = distributed.average(losses).tolist()
    for line, row in zip(pending, values):
        line.update(zip(names, row))
        if not all(map(math.isfinite, row)):
            raise TrainingError(_diverged(run, line["step"]))
    if distributed.is_main():
        run.record.append(pending)
    pending.clear()
    return dict(zip(names, values[-1]))


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Yields a list to which the first Ctrl-C or SIGTERM is appended, to be acted on between two steps."""
    received: list[int] = []

    def receive(number: int, frame: object) -> None:
        if received:  # The second time, the person means now.
            raise KeyboardInterrupt
        received.append(number)
        print("Stopping after this step; a second Ctrl-C stops at once.", file=sys.stderr)

    # Only the main thread can receive signals. A run in another one, as in a notebook or a server, is not stopped.
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _progress_bar(position: Position) -> tqdm:
    terminal = sys.stderr.isatty()
    return tqdm(
        disable=not distributed.is_main(),
        initial=position.images_seen,
        unit="img",
        unit_scale=True,
        smoothing=0.05,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 30,
        bar_format=None if terminal else "{l_bar}{bar}{r_bar}\n",
    )


def _show(bar: tqdm, position: Position, faces: Faces, settings: Settings, losses: dict[str, float]) -> None:
    size = faces.size_if_known()
    bar.total = size and size // settings.batch_size * settings.batch_size * (settings.passes or 1) * settings.epochs
    bar.set_description(f"epoch {position.epoch}/{settings.epochs}", refresh=False)
    bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()}, refresh=False)
    bar.update(position.images_seen - bar.n)
