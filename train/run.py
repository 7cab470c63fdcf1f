"""A run's folder: its record, its checkpoint, its pictures and the model it made.

run.json         what is being trained, its settings and its command
metrics.jsonl    a line for every step, and one for every epoch's measurements
checkpoint.pt    everything that resuming needs; replaced as a whole, never half written
loss.png, samples/, reconstructions/, interpolations/
model/           as it stands on the Hub: load with from_pretrained, push with train.push; once the run ends or is
                 stopped with training.json and epochs.webp, the history of its training
"""

import copy
import io
import json
import os
import pickle
import platform
import shlex
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock, Timeout

from models.base import FaceModel

from . import distributed
from .card import write_card
from .errors import TrainingError
from .history import document
from .record import Record, write_whole
from .settings import Settings


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        epoch: the one that is running, from 1.
        batch: batches of it that are done.
        step: batches done in all.
        images_seen: faces seen in all.
        seconds: spent training, pauses left out.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    images_seen: int = 0
    seconds: float = 0.0

    def advance(self, images: int, seconds: float) -> None:
        self.batch += 1
        self.step += 1
        self.images_seen += images
        self.seconds += seconds

    def label(self) -> dict[str, int]:
        """What every line of metrics begins with."""
        return {"step": self.step, "epoch": self.epoch, "images_seen": self.images_seen}


class Run:
    """The output folder of one training run, held by one process at a time.

    Use as a context, whose end lets the folder go.

    Args:
        kind: what is trained, "gan" or "autoencoder".
        settings: of the command. With `resume` they must be those of the run in the folder.
        arguments: the command's, as typed.

    Raises:
        TrainingError: the folder holds another run, or there is nothing to resume, or it cannot be written.
    """

    def __init__(self, kind: str, settings: Settings, arguments: list[str]):
        self.kind, self.settings, self.folder = kind, settings, settings.output.expanduser()
        self.record = Record(self.folder)
        self.crop: float | None = None  # How the faces were cropped, which the model tells.
        self._checkpoint_path = self.folder / "checkpoint.pt"
        self._lock = FileLock(self.folder / ".lock")
        if not distributed.is_main():
            return  # One process holds the folder for all.
        try:
            if settings.resume:
                self._check_same_run()
            elif self._checkpoint_path.exists():
                raise TrainingError(
                    f"--output {self.folder} holds a run already: go on with --resume, or name another folder"
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            if not settings.resume:
                self.record.describe(self._description(arguments))
        except Timeout:
            raise TrainingError(f"--output {self.folder}: another process is training there") from None
        except OSError as error:
            raise TrainingError(f"--output {self.folder}: {error.strerror}") from error

    def picture_path(self, series: str, epoch: int) -> Path:
        """Where the picture of an epoch goes; the folder of its series is there afterwards."""
        path = self.record.picture_path(series, epoch)
        path.parent.mkdir(exist_ok=True)
        return path

    def save(self, position: Position, state: dict[str, Any]) -> None:
        """Write the checkpoint. A crash or a full disk at any moment leaves this one or the one before, whole."""
        # By way of memory, since torch reports a failing disk as a RuntimeError like any other.
        buffer = io.BytesIO()
        torch.save({"kind": self.kind, "position": asdict(position), "state": state}, buffer)
        write_whole(self._checkpoint_path, buffer.getbuffer())

    def load(self) -> tuple[Position, dict[str, Any] | None]:
        """Where the run stands and the state to go on with, None for a run that has not begun.

        Metrics that were written after the checkpoint are dropped: their steps are about to be run again.
        """
        position, state = Position(), None
        if self._checkpoint_path.exists():
            try:
                checkpoint = torch.load(self._checkpoint_path, map_location="cpu", weights_only=True)
                position, state = Position(**checkpoint["position"]), checkpoint["state"]
            except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
                raise TrainingError(f"{self._checkpoint_path} is damaged, or no checkpoint") from error
        self.record.forget_after(position.step, position.epoch)
        return position, state

    def export(self, model: FaceModel) -> None:
        """Save the model as it stands on the Hub, with its card and pictures of what it generates.

        Weights are stored in float16, which halves the files and moves no pixel by a whole grey level, and load
        as float32; running statistics keep float32, since a variance may be too small for float16.
        """
        model.crop = self.crop
        stored = copy.deepcopy(model)
        for parameter in stored.parameters():
            parameter.data = parameter.data.half()
        temporary, final = self.folder / "model.tmp", self.folder / "model"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        # Generated faces and losses only: reconstructions show the data set's pixels, which nobody may redistribute.
        shutil.copy(self.folder / "loss.png", temporary)
        shutil.copy(max((self.folder / "samples").iterdir()), temporary / "samples.png")
        write_card(self.record, model, temporary, self._location)
        stored.save_pretrained(temporary)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)

    def document(self) -> None:
        """Complete the model's folder with the history of its training, once no epoch follows, or not now.

        Raises:
            TrainingError: the model there is damaged.
        """
        if distributed.is_main() and (self.folder / "model").is_dir():
            document(self.record, self.folder / "model", self._location)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def _location(self) -> str:
        """Where the card says that the model is loaded from."""
        return f"weights/{self.folder.name}"

    def _description(self, arguments: list[str]) -> dict[str, Any]:
        device = self.settings.torch_device
        on_gpu = device.type == "cuda"
        return {
            "kind": self.kind,
            "command": self._command(arguments),
            "settings": _jsonable(self.settings),
            "precision": "bfloat16 arithmetic on float32 weights" if self.settings.uses_bf16 else "float32",
            "machine": torch.cuda.get_device_name(device) if on_gpu else f"{os.cpu_count()} {platform.machine()} cores",
            "torch": torch.__version__,
            "commit": _commit(),
        }

    def _command(self, arguments: list[str]) -> str:
        """As typed, but with a local data set's folder written as path/to/..., since the card quotes it."""
        dataset = self.settings.dataset
        words = [
            f"path/to/{Path(word).name}" if word == dataset and Path(word).is_dir() else word for word in arguments
        ]
        return shlex.join(["python", "-m", f"train.{self.kind}", *words])

    def _check_same_run(self) -> None:
        description = self.record.description
        if description["kind"] != self.kind:
            raise TrainingError(
                f"--resume: {self.folder} holds a run of train.{description['kind']}, not of train.{self.kind}"
            )
        for name, value in _jsonable(self.settings).items():
            before = description["settings"].get(name, value)  # A setting may be younger than the run.
            if name not in Settings.FREE and before != value:
                flag = f"--{name.replace('_', '-')}"
                raise TrainingError(f"--resume: the run in {self.folder} has {flag} {before}, this command {value}")


def _jsonable(settings: Settings) -> dict[str, Any]:
    # Through JSON and back, so that what was written compares equal with what is read: a tuple is a list there.
    return json.loads(json.dumps(asdict(settings), default=str))


def _commit() -> str | None:
    """The commit of this code, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
