"""The record of a run: run.json (what it is, its settings, its command) and metrics.jsonl (its losses)."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .settings import TrainingError

# What run.json holds; the first three are always there.
_DESCRIPTION: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "command": str,
    "settings": dict,
    "precision": str,
    "machine": str,
    "torch": str,
    "commit": (str, type(None)),
    "dataset": str,
    "first_faces": int,
    "labels": list,
    "epochs_before": list,
}


class Record:
    """Reads and writes the record in a run's folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._description_path, self._metrics_path = folder / "run.json", folder / "metrics.jsonl"

    @property
    def description(self) -> dict[str, Any]:
        """The contents of run.json.

        Raises:
            TrainingError: there is no such file, or it is damaged.
        """
        try:
            description = json.loads(self._description_path.read_bytes())
            sound = {"kind", "command", "settings"} <= description.keys() and all(
                isinstance(value, _DESCRIPTION.get(name, object)) for name, value in description.items()
            )
        except (FileNotFoundError, NotADirectoryError):
            raise TrainingError(f"{self.folder} holds no run") from None
        except OSError as error:
            raise TrainingError(f"{self._description_path} cannot be read: {error.strerror}") from error
        except (ValueError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise TrainingError(f"{self._description_path} is damaged: it does not tell what was trained")
        return description

    def describe(self, description: dict[str, Any]) -> None:
        """Write run.json."""
        write_whole(self._description_path, json.dumps(description, indent=2) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """A line for each step, with its losses, and one for each finished epoch, with "seconds" and its measurements.

        Damaged lines are left out, such as the last line of a run that was killed.
        """
        return [values for _, values in self._lines()]

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of finished epochs."""
        return [line for line in self.metrics() if "seconds" in line]

    def picture_path(self, series: str, epoch: int) -> Path:
        """Where the picture of an epoch is, or will be. Series: "samples", "reconstructions" or "interpolations"."""
        return self.folder / series / f"epoch-{epoch:04d}.png"

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Add lines to metrics.jsonl."""
        with open(self._metrics_path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def forget_after(self, step: int, epoch: int) -> None:
        """Drop damaged lines, lines of steps after this one, and the lines of this epoch's end and later ones."""
        kept = [
            line
            for line, values in self._lines()
            if values["step"] <= step and not ("seconds" in values and values["epoch"] >= epoch)
        ]
        write_whole(self._metrics_path, b"".join(kept))

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Each sound line, as bytes and as values."""
        if not self._metrics_path.exists():
            return
        for line in self._metrics_path.read_bytes().splitlines(keepends=True):
            try:
                values = json.loads(line)
                sound = line.endswith(b"\n") and all(map(_is_number, values.values()))
            except (ValueError, AttributeError, RecursionError):
                continue
            counts = ("step", "epoch", "images_seen") if "seconds" in values else ("step",)
            if sound and all(type(values.get(name)) is int for name in counts):
                yield line, values


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and 0 <= value < 2**63)


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file so that a crash or a full disk leaves either the old file or the whole new one."""
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
