"""Data sets of grey pictures. The grey level of a picture is its number, which tells what became of each."""

from functools import partial
from pathlib import Path

import torch
from datasets import Value
from PIL import Image

from tests import conftest
from train.data import Batch, Faces, open_split
from train.settings import DataSettings


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (64, 64), (number, number, number))


def save(number: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path)


def save_all(folder: Path, places: list[str]) -> Path:
    """PNG files at these places, without their extension; the first one is picture 0."""
    for number, place in enumerate(places):
        save(number, folder / f"{place}.png")
    return folder


write_table = partial(conftest.write_table, draw=picture)

# Two attributes that together tell four neighbours apart.
ATTRIBUTES = {
    "Odd": (Value("bool"), lambda number: number % 2 == 1),
    "High": (Value("int64"), lambda number: number // 2 % 2),
}


def labels_of(number: int) -> list[int]:
    return [1 if number % 2 else -1, 1 if number // 2 % 2 else -1]


def numbers(pixels: torch.Tensor) -> list[int]:
    """Which pictures these are."""
    return pixels[:, 0, 0, 0].tolist()


def corresponds(batch: Batch) -> bool:
    """Whether each picture of a batch has the labels of its number."""
    assert batch.labels.dtype == torch.int8 and len(batch.labels) == len(batch.pixels) > 0
    return batch.labels.tolist() == [labels_of(number) for number in numbers(batch.pixels)]


def settings(tmp_path: Path, folder: str = "mine", **more) -> DataSettings:
    return DataSettings(dataset=str(tmp_path / folder), cache_dir=tmp_path / "cache", **more)


def opened(tmp_path: Path, split: str = "train", limit: int | None = None, skip: int = 0, **more) -> Faces:
    return open_split(settings(tmp_path, **more), split, limit, skip)


def numbers_in(tmp_path: Path, split: str = "train", **more) -> list[int]:
    """Which pictures a split holds, in ascending order."""
    with opened(tmp_path, split, **more) as faces:
        return sorted(numbers(faces[:].pixels))
