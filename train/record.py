"""What a run says of itself: run.json (what it is, its settings, its command) and metrics.jsonl (a line a step)."""

import json
import os
from pathlib import Path
from typing import Any

from .errors import TrainingError


class Record:
    """The record in a run's folder, for whoever writes it and whoever reads it later.

    Attributes:
        description: the contents of run.json.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._description_path, self._metrics_path = folder / "run.json", folder / "metrics.jsonl"

    @property
    def description(self) -> dict[str, Any]:
        """
        Raises:
            TrainingError: there is none, or it cannot be read.
        """
        try:
            return json.loads(self._description_path.read_text())
        except FileNotFoundError:
            raise TrainingError(f"{self.folder} holds no run") from None
        except ValueError:
            raise TrainingError(f"{self._description_path} is damaged") from None

    def describe(self, description: dict[str, Any]) -> None:
        write_whole(self._description_path, json.dumps(description, indent=2) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """A line for every step, with its losses, and one for every epoch, with "seconds" and its measurements.

        A last line that is half written, as by a run that was killed, is left out.
        """
        if not self._metrics_path.exists():
            return []
        lines = self._metrics_path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of finished epochs."""
        return [line for line in self.metrics() if "seconds" in line]

    def picture_path(self, series: str, epoch: int) -> Path:
        """Where the picture of an epoch is, or will be: of "samples", "reconstructions" or "interpolations"."""
        return self.folder / series / f"epoch-{epoch:04d}.png"

    def append(self, lines: list[dict[str, Any]]) -> None:
        with open(self._metrics_path, "a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def forget_after(self, step: int, epoch: int) -> None:
        """Drop what was written after a step of an unfinished epoch; the last line may be half written."""
        kept = []
        if self._metrics_path.exists():
            for line in self._metrics_path.read_text().splitlines(keepends=True):
                if not line.endswith("\n"):
                    break
                values = json.loads(line)
                if values["step"] > step or ("seconds" in values and values["epoch"] >= epoch):
                    break
                kept.append(line)
        write_whole(self._metrics_path, "".join(kept))


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file that a crash or a full disk leaves either as it was or whole."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    os.replace(temporary, path)
