"""A photograph in the framing of the faces that the models learned from: CelebA's, as `resize_and_crop` leaves it.

The detector is MTCNN (Zhang et al. 2016, arXiv:1604.02878), from the package facenet-pytorch, which holds its weights.
page/front/photo/ does the same in the visitor's browser.
"""

import functools
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .images import IMAGE_SIZE, normalise, resize_and_crop, to_pil, to_uint8

if TYPE_CHECKING:
    from facenet_pytorch import MTCNN

# A picture holds a face where the detector is this sure of one: facenet-pytorch's own threshold is 0.7 for its last
# stage, and real faces at 64 x 64 score 0.99 and more.
FACE_PROBABILITY = 0.9

# MTCNN's landmarks in the 64 x 64 frame, the literature's centre crop of 140 of CelebA's 178 x 218 pixels: the eyes,
# the nose and the corners of the mouth, x to the right and y down, the left one first. The medians over the first 2,000
# aligned CelebA faces at 89 x 109, of which `look` found 1,994: `python -m study.alignment`.
LANDMARKS = np.array(((23.24, 33.49), (41.15, 33.48), (31.97, 44.52), (24.34, 52.22), (39.95, 52.21)))

TARGETS = LANDMARKS @ (1, 1j)

# How much each of them counts in a fit: the inverse of its variance over the same faces, the eyes' being 1. CelebA was
# aligned by the eyes alone; a nose moves with every turn of the head.
LANDMARK_WEIGHTS = np.array((1, 1, 0.1, 0.25, 0.25))

# A photograph is searched in a copy whose shorter side is 160 pixels or more, the size that facenet-pytorch itself
# crops faces to, and whose longer side is 640 or less, for speed. Both are to be had at once: `to_uint8` leaves no
# picture more than four times as long as wide. Faces of less than 24 pixels there are not looked for.
LEAST_SIDE, LARGEST_SIDE, LEAST_FACE = 160, 640, 24

# The frame is cut out of the photograph at this size, for a second look and for antialiasing on the way to 64.
FRAME_SIZE = 4 * IMAGE_SIZE

# In the frame, which cuts off chin and hair, the detector is less exact. It looks at the whole width of CelebA's images.
SURROUNDINGS = 178 / 140

# The least face in the second look, in which one takes up some 150 of 256 pixels.
LEAST_FRAMED_FACE = 80

# MTCNN calls over a third of the faces that are upside down a face, with landmarks anywhere. A second look at the face
# turned and framed tells: there it is this sure of 97 % of upright faces, and of 4 % of upside-down ones
# (study.alignment).
SURE_PROBABILITY = 0.99

# Of so many faces at most, the largest first, a second look is taken, to bound the work that a picture can cause.
SECOND_LOOKS = 3

# By fewer degrees than this nobody sees a picture turn, and the detector itself errs by one.
LEAST_ANGLE = 2


@dataclass(frozen=True)
class Aligned:
    """What `align` makes of a photograph.

    Attributes:
        image: 64 x 64, RGB.
        faces: how many were found; 0 as well where none was looked for.
        angle: degrees by which the photograph was turned counter-clockwise, in (-180, 180].
        note: a sentence for the person who sent it.
    """

    image: Image.Image
    faces: int
    angle: float
    note: str


def align(image: Image.Image) -> Aligned:
    """Find the largest face, turn it upright, and crop and scale the photograph as CelebA's aligned images are.

    What lies outside the photograph is filled with its edge. Without a face, or without the detector, the middle of
    the picture is taken. A picture of 64 x 64 pixels is taken as it is: the models' own faces are in the framing.
    Safe to call from several threads.

    Args:
        image: of any size and mode, as `from_pil` takes it.
    """
    pixels = to_uint8(image)
    if pixels.shape[-2:] == (IMAGE_SIZE, IMAGE_SIZE):
        return _aligned(pixels, "This picture has the size that the models see, 64 x 64, and is taken as it is.")
    middle = "this is the middle of the picture."
    try:
        found = _find(pixels)
    except ImportError:
        return _aligned(resize_and_crop(pixels), f"Faces cannot be looked for, as no detector is installed: {middle}")
    if found is None:
        return _aligned(resize_and_crop(pixels), f"No face was found: {middle}")
    framed = resize_and_crop(cut(pixels, found.to_frame))
    return _aligned(framed, _describe(found.faces, found.to_frame.angle), found.faces, found.to_frame.angle)


def load_detector(min_face_size: int, device: str = "cpu") -> "MTCNN":
    """MTCNN with its published weights.

    Args:
        min_face_size: in pixels; the smaller, the slower.

    Raises:
        ImportError: facenet-pytorch is not installed.
    """
    try:
        # Here, since it takes torchvision along, whose import takes seconds.
        from facenet_pytorch import MTCNN
    except ImportError as error:
        raise ImportError("The face detector is not installed: pip install facenet-pytorch==2.5.3") from error
    return MTCNN(min_face_size=min_face_size, device=device)


# One, or an array of them.
Points = TypeVar("Points", complex, np.ndarray)


@dataclass(frozen=True)
class Similarity:
    """A turn, a scale and a shift that take points of one picture to those of another.

    Points are complex numbers, x + iy, in pixels from the top left corner: a product with one turns and scales.
    """

    factor: complex
    shift: complex = 0

    @classmethod
    def fit(cls, points: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Self:
        """The one that takes points (n,) closest to targets (n,): least squares, weights (n,)."""
        centre, target = np.average(points, weights=weights), np.average(targets, weights=weights)
        points = points - centre
        factor = (weights * points.conj() * (targets - target)).sum() / (weights * abs(points) ** 2).sum()
        return cls(complex(factor), complex(target - factor * centre))

    @property
    def angle(self) -> float:
        """Degrees counter-clockwise, in (-180, 180]."""
        degrees = -math.degrees(math.atan2(self.factor.imag, self.factor.real))
        return 180.0 if degrees == -180 else degrees

    @property
    def inverse(self) -> Self:
        return type(self)(1 / self.factor, -self.shift / self.factor)

    def then(self, other: Self) -> Self:
        return type(self)(self.factor * other.factor, other(self.shift))

    def __call__(self, points: Points) -> Points:
        return self.factor * points + self.shift


@dataclass(frozen=True)
class _Found:
    """A face, and how sure the detector is of it once it is framed."""

    to_frame: Similarity
    faces: int
    probability: float


# One network serves all threads, one after the other: that bounds the memory, and two would share the processor anyway.
_lock = threading.Lock()
_detector = functools.cache(load_detector)


def _find(pixels: torch.Tensor) -> _Found | None:
    """The largest face in a photograph (1, 3, height, width) uint8, however the camera was held."""
    height, width = pixels.shape[-2:]
    scale = min(LARGEST_SIDE / max(height, width), max(1.0, LEAST_SIDE / min(height, width)))
    copy = _resize(pixels, scale)
    best = None
    # As it is, then turned by a quarter to either side, as cameras are, then upside down.
    for turns in (0, 1, 3, 2):
        turned = torch.rot90(copy, turns, (2, 3))
        turn = Similarity((-1j) ** turns)
        turn = Similarity(turn.factor, _centre(turned) - turn(_centre(copy)))
        found = [landmarks for _, landmarks in detect(turned, LEAST_FACE)]
        for rank, landmarks in enumerate(found[:SECOND_LOOKS]):
            to_frame = Similarity(scale).then(turn).then(Similarity.fit(landmarks, TARGETS, LANDMARK_WEIGHTS))
            if (second := look_again(pixels, to_frame)) is not None:
                break
        else:
            continue
        probability, to_frame = second
        if best is None or probability > best.probability:
            best = _Found(to_frame, len(found) - rank, probability)
        if probability >= SURE_PROBABILITY:
            break
    return best


def look_again(pixels: torch.Tensor, to_frame: Similarity) -> tuple[float, Similarity] | None:
    """Detect a face once more, upright and at the size that LANDMARKS were measured at.

    The landmarks of a tilted face are less exact: `python -m study.alignment` prints what this gains.

    Args:
        pixels: (1, 3, height, width) uint8.
        to_frame: from the photograph's pixels to the 64 x 64 of the frame.

    Returns:
        The detector's probability and the better `to_frame`; None if there is no face.
    """
    found = look(pixels, to_frame)
    if not found:
        return None
    probability, landmarks = min(found, key=lambda face: abs(face[1] - TARGETS).mean())
    return probability, to_frame.then(Similarity.fit(landmarks, TARGETS, LANDMARK_WEIGHTS))


def look(pixels: torch.Tensor, to_frame: Similarity) -> list[tuple[float, np.ndarray]]:
    """The faces in a frame and its surroundings, as `detect` gives them, with landmarks in the 64 x 64 of the frame."""
    centre = IMAGE_SIZE / 2 * (1 + 1j)
    to_surroundings = Similarity(1 / SURROUNDINGS, centre * (1 - 1 / SURROUNDINGS))
    found = detect(cut(pixels, to_frame.then(to_surroundings)), LEAST_FRAMED_FACE)
    to_frame_again = to_surroundings.inverse
    return [(probability, to_frame_again(face * IMAGE_SIZE / FRAME_SIZE)) for probability, face in found]


def detect(pixels: torch.Tensor, min_face_size: int) -> list[tuple[float, np.ndarray]]:
    """Faces in an image, the largest first.

    Args:
        pixels: (1, 3, height, width) uint8, neither side shorter than a face.
        min_face_size: in pixels.

    Returns:
        For each its probability, FACE_PROBABILITY or more, and its landmarks, (5,) complex, in the order of LANDMARKS.

    Raises:
        ImportError: facenet-pytorch is not installed.
    """
    with _lock:
        detector = _detector(min_face_size)
        try:
            _, probabilities, landmarks = detector.detect(pixels.permute(0, 2, 3, 1), landmarks=True)
        except IndexError:  # It does so where a candidate lies wholly outside the image: its issue 182.
            return []
    if landmarks[0] is None:
        return []
    points = np.asarray(landmarks[0], dtype=np.float64) @ (1, 1j)
    return [(float(p), face) for p, face in zip(probabilities[0], points, strict=True) if p >= FACE_PROBABILITY]


def cut(pixels: torch.Tensor, to_frame: Similarity) -> torch.Tensor:
    """The frame out of a photograph (1, 3, height, width) uint8: (1, 3, 256, 256) uint8.

    Args:
        to_frame: from the photograph's pixels to the 64 x 64 of the frame.
    """
    from_frame = to_frame.inverse
    scale = min(1.0, FRAME_SIZE / IMAGE_SIZE * abs(to_frame.factor))
    # Only the part that the frame covers, with a margin for the filters, is reduced to about the frame's resolution:
    # bicubic sampling on its own would alias.
    height, width = pixels.shape[-2:]
    corners = from_frame(IMAGE_SIZE * np.array((0, 1, 1j, 1 + 1j)))
    margin = math.ceil(4 / scale)
    left, right = _span(corners.real, margin, width)
    top, bottom = _span(corners.imag, margin, height)
    part = pixels[..., top:bottom, left:right]
    reduced = _resize(part, scale)
    # In the coordinates of affine_grid, -1 and 1 are the edges of a picture, whatever its resolution.
    centre = from_frame(IMAGE_SIZE / 2 * (1 + 1j)) - complex(left, top) - _centre(part)
    half = from_frame.factor * IMAGE_SIZE / 2
    rows = ((half.real, -half.imag, centre.real), (half.imag, half.real, centre.imag))
    matrix = torch.tensor(rows, dtype=torch.float32) / torch.tensor(((part.shape[-1] / 2,), (part.shape[-2] / 2,)))
    grid = F.affine_grid(matrix[None], [1, 3, FRAME_SIZE, FRAME_SIZE], align_corners=False)
    frame = F.grid_sample(reduced.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
    return frame.round().clamp(0, 255).to(torch.uint8)


def _span(values: np.ndarray, margin: int, size: int) -> tuple[int, int]:
    """From the least to the greatest of values with a margin, as far as it lies in a picture, and a pixel at least."""
    first = min(max(0, math.floor(values.min()) - margin), size - 1)
    return first, max(first + 1, min(size, math.ceil(values.max()) + margin))


def _resize(pixels: torch.Tensor, scale: float) -> torch.Tensor:
    height, width = (max(1, round(side * scale)) for side in pixels.shape[-2:])
    return F.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)


def _centre(pixels: torch.Tensor) -> complex:
    height, width = pixels.shape[-2:]
    return complex(width, height) / 2


def _aligned(pixels: torch.Tensor, note: str, faces: int = 0, angle: float = 0.0) -> Aligned:
    return Aligned(to_pil(normalise(pixels))[0], faces, angle, note)


def _describe(faces: int, angle: float) -> str:
    degrees = round(abs(angle))
    framed = f"turned upright by {degrees} degrees and framed" if degrees >= LEAST_ANGLE else "framed"
    if faces == 1:
        return f"A face was found{',' if degrees >= LEAST_ANGLE else ' and'} {framed} as in CelebA."
    found = (
        "Two faces were found: this is the larger one"
        if faces == 2
        else f"{faces} faces were found: this is the largest"
    )
    return f"{found}, {framed} as in CelebA."
