"""A run's folder: its record, its checkpoint, its pictures and the model it made.

run.json         what is being trained, its settings and its command
metrics.jsonl    a line for every step, and one for every epoch's measurements
checkpoint.pt    everything that resuming needs; replaced as a whole, never half written
loss.png, samples/, reconstructions/, interpolations/
snapshots/       copies of model/ after every --keep-epochs epochs
model/           the model as it stands on the Hub, for from_pretrained and train.push; when the run ends or is stopped,
                 the history of its training is added: training.json and epochs.webp
"""

import copy
import io
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock, Timeout

from models import load
from models.base import FaceModel
from models.hub import one_line

from . import distributed
from .card import document, write_card
from .data import Faces
from .record import Record, write_whole
from .settings import Settings, TrainingError

# Without --passes, an epoch makes as many passes as it takes to see this many faces, but at most so many passes: an epoch
# of a few steps is not worth its pictures and its checkpoint.
FACES_PER_EPOCH, MOST_PASSES = 5000, 50


@dataclass
class Position:
    """How far a run has come: the epoch that is running, from 1, and how many of its batches are done. Then, of all epochs,
    how many batches are done, how many faces were seen, and the time spent training, without pauses."""

    epoch: int = 1
    batch: int = 0
    step: int = 0
    images_seen: int = 0
    seconds: float = 0.0

    def label(self) -> dict[str, int]:
        """What every line of metrics begins with."""
        return {"step": self.step, "epoch": self.epoch, "images_seen": self.images_seen}


class Run:
    """The output folder of one training run, held by one process at a time. Use it as a context.

    Args:
        kind: the command's name, such as "gan".
        settings: the command's. With `resume` they must equal the settings of the run in the folder.

    Attributes:
        settings: as the run goes on with them, the number of passes chosen.

    Raises:
        TrainingError: the folder holds another run, or there is nothing to resume, or it cannot be written.
    """

    def __init__(self, kind: str, settings: Settings):
        self.kind, self.settings, self.folder = kind, settings, Path(os.path.expanduser(settings.output))
        self.record = Record(self.folder)
        self._before: dict[str, Any] = {}
        self._checkpoint: dict[str, Any] = {}
        self._checkpoint_path = self.folder / "checkpoint.pt"
        self._location = f"runs/{self.folder.name}/model"  # Where the card says that the model is loaded from.
        self._lock = FileLock(self.folder / ".lock")
        if not distributed.is_main():
            return  # One process holds the folder for all.
        try:
            if settings.resume:
                self._checkpoint = self._read_checkpoint() if self.has_checkpoint else {}
                self._before = self._checkpoint.get("description") or self.record.description
                if settings.passes is None:  # The run chose them when it began.
                    self.settings = replace(settings, passes=self._before["settings"].get("passes"))
                self._check_same_run()
            elif self.has_checkpoint:
                raise TrainingError(f"--output {self.folder} holds a run already: go on with --resume, or name another")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise TrainingError(f"--output {self.folder}: another process is training there") from None
        except OSError as error:
            raise TrainingError(f"--output {self.folder}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def has_checkpoint(self) -> bool:
        return self._checkpoint_path.exists()

    def has_model(self) -> bool:
        """Whether the folder holds the model of these settings, undamaged."""
        try:
            load(self.folder / "model")
        except (ValueError, OSError):
            return False
        return self._before["settings"].get("average") == getattr(self.settings, "average", None)

    def begin(self, faces: Faces, labels: Sequence[str]) -> None:
        """Write run.json. In a resumed run it is written anew, with the settings that may differ as they are now.

        Args:
            labels: names of the data set's labels that the model is made for.

        Raises:
            TrainingError: the run began with other labels, or with other faces from another data set.
        """
        before = self._before
        self._check_same_labels(list(labels))
        passes = _passes_over(faces)
        if self.settings.passes is None and passes > 1:
            print(f"Each epoch makes {passes} passes over the {len(faces):,} faces (--passes sets it).")
        settings = self.settings = replace(self.settings, passes=self.settings.passes or passes)
        # A card's command leaves out what it would choose by itself.
        told = replace(settings, passes=None) if settings.passes == passes else settings
        epochs_before = before.get("settings", {}).get("epochs", settings.epochs)
        all_before = before.get("epochs_before", [])
        if epochs_before != settings.epochs:
            print(f"--epochs is {settings.epochs}, no longer {epochs_before}: learning rates that fall over them jump.")
            all_before = [*all_before, epochs_before]
        device = settings.torch_device
        on_gpu = device.type == "cuda"
        description = {
            "precision": "bfloat16 arithmetic on float32 weights" if settings.uses_bf16 else "float32",
            "machine": torch.cuda.get_device_name(device) if on_gpu else f"{os.cpu_count()} {platform.machine()} cores",
            "torch": torch.__version__,
            "commit": _commit(),
            "start_from": settings.start_from and _public_name(settings.start_from),
            **before,
            "kind": self.kind,
            "command": command_of(f"train.{self.kind}", told),
            "settings": _jsonable(settings),
            "dataset": _public_name(settings.dataset),
            "first_faces": self._check_same_faces(faces),
            "labels": list(labels),
            "epochs_before": all_before,
        }
        self.record.describe(description)

    def save(self, position: Position, state: dict[str, Any]) -> None:
        """Write the checkpoint. A crash or a full disk at any moment leaves this one or the one before, whole."""
        # Written to memory first, because torch reports a failing disk as a RuntimeError like any other.
        buffer = io.BytesIO()
        torch.save({"description": self.record.description, "position": asdict(position), "state": state}, buffer)
        write_whole(self._checkpoint_path, buffer.getbuffer())

    def load(self) -> tuple[Position, dict[str, Any] | None]:
        """Where the run stands, and the state to go on with; None for a run that has not begun.

        Metrics that were written after the checkpoint are dropped, because their steps are about to be run again.
        """
        if not self._checkpoint and len(self.record.epochs()) > 1:  # After one, a kill may have come before the first.
            raise TrainingError(f"{self._checkpoint_path} is gone: begin anew in another --output")
        position = Position(**self._checkpoint.get("position", {}))
        self.record.forget_after(position.step, position.epoch)
        return position, self._checkpoint.pop("state", None)

    def export(self, model: FaceModel, epoch: int, crop: float) -> None:
        """Save the model of an epoch as it stands on the Hub: with its card, its losses and pictures that it generated.

        Where the settings ask for it, a copy of the folder goes to snapshots/.
        """
        model.crop = crop
        temporary, final = self.folder / "model.tmp", self.folder / "model"
        temporary.mkdir(exist_ok=True)
        try:
            # No reconstructions: they show the data set's pixels, which nobody may redistribute.
            if (self.folder / "loss.png").is_file():
                shutil.copy(self.folder / "loss.png", temporary)
            shutil.copy(self.record.picture_path("samples", epoch), temporary / "samples.png")
            write_card(self.record, model, temporary, self._location)
            halved(model).save_pretrained(temporary)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        if self.settings.keep_epochs and epoch % self.settings.keep_epochs == 0:
            shutil.copytree(final, self.folder / "snapshots" / f"epoch-{epoch:04d}", dirs_exist_ok=True)

    def document(self) -> None:
        """Write the history of the training beside the model, once no epoch follows or the run is stopped."""
        if distributed.is_main() and (self.folder / "model").is_dir():
            try:
                document(self.record, self.folder / "model", self._location)
            except (TrainingError, ValueError, OSError) as error:
                print(f"The card and the history of the model are not written anew: {one_line(error)}")

    def _read_checkpoint(self) -> dict[str, Any]:
        try:
            # PyTorch's files are zip archives with a checksum of every tensor, which PyTorch's own reader ignores.
            with zipfile.ZipFile(self._checkpoint_path) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"the checksum of {damaged} is wrong")
            checkpoint = torch.load(self._checkpoint_path, map_location="cpu", weights_only=True)
            return {name: checkpoint[name] for name in ("description", "position", "state")}
        except OSError:
            raise
        except Exception as error:  # Whatever is in the file.
            raise TrainingError(
                f"{self._checkpoint_path} is damaged, or no checkpoint: {one_line(error)}; begin anew in another --output"
            ) from error

    def _check_same_run(self) -> None:
        if self._before["kind"] != self.kind:
            raise TrainingError(
                f"--resume: {self.folder} holds a run of train.{self._before['kind']}, not of train.{self.kind}"
            )
        for name, value in _jsonable(self.settings).items():
            before = self._before["settings"].get(name, value)  # A setting may be younger than the run.
            if name not in (*Settings.FREE, "dataset") and before != value:
                flag = f"--{name.replace('_', '-')}"
                raise TrainingError(f"--resume: {self.folder} was begun with {flag} {before}; this command has {value}")

    def _check_same_labels(self, labels: list[str]) -> None:
        before = self._before.get("labels", labels)
        if before != labels:
            raise TrainingError(
                f"--resume: the labels of {self.settings.dataset} have changed: the run in {self.folder} began with "
                f"{', '.join(before) or 'none'}, and now there are {', '.join(labels) or 'none'}; restore them, or begin "
                "anew in another --output"
            )

    def _check_same_faces(self, faces: Faces) -> int:
        """A checksum of the first faces. By it a run knows its data set, which may have moved or been renamed."""
        dataset = self.settings.dataset
        faces.wait_for(self.settings.batch_size)
        first_faces = zlib.crc32(faces[: self.settings.batch_size].pixels.numpy().tobytes())
        if self._before.get("first_faces", first_faces) != first_faces:
            if (before := self._before["settings"]["dataset"]) != dataset:
                raise TrainingError(f"--resume: {self.folder} was trained on {before}, and {dataset} has other faces")
            print(f"The faces in {dataset} are no longer those that the run began with; it goes on with what is there.")
        return first_faces


def _passes_over(faces: Faces) -> int:
    """How many passes over the faces make an epoch, where the settings do not say."""
    expected = faces.size_if_known()
    if expected is None or expected < FACES_PER_EPOCH:
        expected = faces.wait_for(FACES_PER_EPOCH)  # Exactly, without those that are damaged.
    return min(MOST_PASSES, math.ceil(FACES_PER_EPOCH / max(1, expected)))


def halved(model: FaceModel) -> FaceModel:
    """A copy with weights in float16, to be stored. That halves the file and changes no pixel by a whole grey level.

    Running statistics keep float32, because a variance may be too small for float16.
    """
    stored = copy.deepcopy(model)
    for parameter in stored.parameters():
        parameter.data = parameter.data.half()
    return stored


def _jsonable(settings: Settings) -> dict[str, Any]:
    # Through JSON and back, where a tuple becomes a list: so settings compare equal with those read from a file.
    return json.loads(json.dumps(asdict(settings), default=str))


def command_of(module: str, settings: Any) -> str:
    """The command that trains this model again, for its card: without settings of this machine, or a folder's path."""
    words = ["python", "-m", module]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name in Settings.UNTOLD or value == field.default:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif field.name in ("dataset", "start_from"):
            words += [f"--{flag}", _public_name(value)]
        else:
            words += [f"--{flag}", *map(_in_words, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)


def _public_name(place: str) -> str:
    """A name on the Hub, or the last part of a folder's path."""
    folder = Path(os.path.expanduser(place))
    return f"path/to/{folder.absolute().name}" if folder.is_dir() else place


def _in_words(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _commit() -> str | None:
    """The commit of this code; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
