from dataclasses import dataclass

from PIL import Image

from .images import crop


@dataclass(frozen=True)
class Aligned:
    image: Image.Image
    faces: int
    angle: float
    note: str


def align(image):
    return Aligned(Image.fromarray(crop(image)[0].permute(1, 2, 0).numpy()), 0, 0.0, "STUB")
