"""A run's folder: what it is, its checkpoint, its metrics, its pictures and the model it made.

run.json         what is being trained, its settings and its command
checkpoint.pt    everything that resuming needs; replaced as a whole, never half written
metrics.jsonl    a line for every step, and one for every epoch's measurements
loss.png, samples/, reconstructions/, interpolations/
model/           config.json, model.safetensors, README.md: load with from_pretrained, push to the Hub
"""

import copy
import json
import os
import pickle
import platform
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from models.base import FaceModel

from .card import write_card
from .errors import TrainingError
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


class Run:
    """The output folder of one training run.

    Args:
        kind: what is trained, "gan" or "autoencoder".
        settings: of the command. With `resume` they must be those of the run in the folder.
        arguments: the command's, as typed.

    Raises:
        TrainingError: the folder holds another run, or there is nothing to resume, or it cannot be written.
    """

    def __init__(self, kind: str, settings: Settings, arguments: list[str]):
        self.kind, self.settings, self.folder = kind, settings, settings.output.expanduser()
        self._description_path = self.folder / "run.json"
        self._checkpoint_path = self.folder / "checkpoint.pt"
        self._metrics_path = self.folder / "metrics.jsonl"
        try:
            if settings.resume:
                self._check_same_run()
            else:
                self._start(arguments)
        except OSError as error:
            raise TrainingError(f"--output {self.folder}: {error.strerror}") from error

    def picture_path(self, series: str, epoch: int) -> Path:
        """Where the picture of an epoch goes; the folder of its series is there afterwards."""
        (self.folder / series).mkdir(exist_ok=True)
        return self.folder / series / f"epoch-{epoch:04d}.png"

    def log(self, lines: list[dict[str, Any]]) -> None:
        """Append lines to metrics.jsonl."""
        with open(self._metrics_path, "a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def metrics(self) -> list[dict[str, Any]]:
        if not self._metrics_path.exists():
            return []
        return [json.loads(line) for line in self._metrics_path.read_text().splitlines()]

    def save(self, position: Position, state: dict[str, Any]) -> None:
        """Write the checkpoint. A crash at any moment leaves this one or the one before, whole."""
        temporary = self._checkpoint_path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            torch.save({"kind": self.kind, "position": asdict(position), "state": state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._checkpoint_path)

    def load(self) -> tuple[Position, dict[str, Any] | None]:
        """Where the run stands and the state to go on with, None for a run that has not begun.

        Metrics that were written after the checkpoint are dropped: their steps are about to be run again.
        """
        if not self._checkpoint_path.exists():
            self._rewrite_metrics([])
            return Position(), None
        try:
            checkpoint = torch.load(self._checkpoint_path, map_location="cpu", weights_only=True)
            position, state = Position(**checkpoint["position"]), checkpoint["state"]
        except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise TrainingError(f"{self._checkpoint_path} cannot be read: it is damaged or no checkpoint") from error
        self._rewrite_metrics([line for line in self.metrics() if line["step"] <= position.step])
        return position, state

    def export(self, model: FaceModel, position: Position) -> None:
        """Save the model as it stands on the Hub, with its card.

        Weights are stored in float16, which halves the files and moves no pixel by a whole grey level, and load
        as float32; running statistics keep float32, since a variance may be too small for float16.
        """
        stored = copy.deepcopy(model)
        for parameter in stored.parameters():
            parameter.data = parameter.data.half()
        temporary, final = self.folder / "model.tmp", self.folder / "model"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        write_card(model, self, position, temporary)
        stored.save_pretrained(temporary)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)

    @property
    def machine(self) -> str:
        """What trains, in words."""
        device = self.settings.torch_device
        return (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"{os.cpu_count()} {platform.machine()} cores"
        )

    @property
    def command(self) -> str:
        """The command that began the run, with a local data set's folder as path/to/..."""
        return json.loads(self._description_path.read_text())["command"]

    def _start(self, arguments: list[str]) -> None:
        if self._description_path.exists():
            raise TrainingError(
                f"--output {self.folder} holds a run already: go on with --resume, or name another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        description = {"kind": self.kind, "command": self._command(arguments), "settings": _jsonable(self.settings)}
        self._description_path.write_text(json.dumps(description, indent=2) + "\n")

    def _command(self, arguments: list[str]) -> str:
        """As typed, but with a local data set's folder written as path/to/..., since the card quotes it."""
        dataset = self.settings.dataset
        words = [
            f"path/to/{Path(word).name}" if word == dataset and Path(word).is_dir() else word for word in arguments
        ]
        return shlex.join(["python", "-m", f"train.{self.kind}", *words])

    def _check_same_run(self) -> None:
        if not self._description_path.exists():
            raise TrainingError(f"--resume: {self.folder} holds no run")
        description = json.loads(self._description_path.read_text())
        if description["kind"] != self.kind:
            raise TrainingError(
                f"--resume: {self.folder} holds a run of train.{description['kind']}, not of train.{self.kind}"
            )
        for name, value in _jsonable(self.settings).items():
            before = description["settings"].get(name)
            if name not in Settings.FREE and before != value:
                flag = f"--{name.replace('_', '-')}"
                raise TrainingError(f"--resume: the run in {self.folder} has {flag} {before}, this command {value}")

    def _rewrite_metrics(self, lines: list[dict[str, Any]]) -> None:
        temporary = self._metrics_path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.replace(temporary, self._metrics_path)


def _jsonable(settings: Settings) -> dict[str, Any]:
    # Through JSON and back, so that what was written compares equal with what is read: a tuple is a list there.
    return json.loads(json.dumps(asdict(settings), default=str))
