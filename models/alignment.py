"""A photograph in the framing of the models' training faces: CelebA's, as `resize_and_crop` leaves it.

The detector is MTCNN (Zhang et al. 2016, arXiv:1604.02878), from the package facenet-pytorch, which includes its weights.
page/front/photo/ does the same in the visitor's browser. `python -m study.alignment` measures it: see docs/alignment.md.
"""

import functools
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .images import IMAGE_SIZE, normalise, resize_and_crop, to_pil, to_uint8

if TYPE_CHECKING:
    from facenet_pytorch import MTCNN

# The least probability of a face. facenet-pytorch's own threshold is 0.7; real faces at 64 x 64 score 0.99 and more.
FACE_PROBABILITY = 0.9

# MTCNN's landmarks in the 64 x 64 frame, the centre crop of 140 of CelebA's 178 x 218 pixels: the eyes, the nose and the
# corners of the mouth, the left one first, x to the right and y down. The medians over CelebA faces (study.alignment).
LANDMARKS = np.array(((23.24, 33.49), (41.15, 33.48), (31.97, 44.52), (24.34, 52.22), (39.95, 52.21)))

TARGETS = LANDMARKS @ (1, 1j)

# The weight of each landmark in a fit: the inverse of its variance over the same faces, relative to the eyes'. CelebA was
# aligned by the eyes alone; a nose moves when the head turns.
LANDMARK_WEIGHTS = np.array((1, 1, 0.1, 0.25, 0.25))

# A photograph is searched in a copy with a shorter side of at least 160 pixels, the size that facenet-pytorch crops faces
# to, and a longer side of at most 640, for speed. Both are possible, since `to_uint8` crops a picture that is more than
# four times as long as wide. Faces of less than 24 pixels there are not looked for.
LEAST_SIDE, LARGEST_SIDE, LEAST_FACE = 160, 640, 24

# The frame is cut out of the photograph at this size, for a second look, and then reduced to 64.
FRAME_SIZE = 4 * IMAGE_SIZE

# The frame cuts off chin and hair, where the detector is less exact. It looks at the whole width of CelebA's images.
SURROUNDINGS = 178 / 140

# The least face in the second look, in which one takes up some 150 of 256 pixels.
LEAST_FRAMED_FACE = 80

# MTCNN finds many faces that are upside down too, with landmarks anywhere. A second look at the framed face tells: its
# probability is this high for nearly all upright faces, and for few upside-down ones.
SURE_PROBABILITY = 0.99

# The most faces that get a second look, the largest first, to bound the work that a picture can cause.
SECOND_LOOKS = 3

# Nobody sees a picture turn by fewer degrees than this, and the detector itself errs by one.
LEAST_ANGLE = 2


@dataclass(frozen=True)
class Aligned:
    """A photograph as `align` returns it.

    Attributes:
        image: 64 x 64, RGB.
        faces: how many were found; 0 if none was looked for.
        angle: by how many degrees the photograph was turned counter-clockwise, in (-180, 180].
        note: a sentence for the person who sent it.
    """

    image: Image.Image
    faces: int
    angle: float
    note: str


def align(image: Image.Image) -> Aligned:
    """The largest face of a photograph, turned upright, cropped and scaled as CelebA's aligned images are.

    The photograph's edge fills what lies outside it. Without a face, or without the detector, the middle of the picture
    is taken. A picture of 64 x 64 pixels stays as it is: the models' own faces are in the framing. Several threads may
    call it at once.

    Args:
        image: of any size and mode, as `from_pil` takes it.
    """
    pixels, faces, angle = to_uint8(image), 0, 0.0
    if pixels.shape[-2:] == (IMAGE_SIZE, IMAGE_SIZE):
        note = "This picture has the size that the models see, 64 x 64, and is taken as it is."
    else:
        note = "No face was found: this is the middle of the picture."
        try:
            if found := _find(pixels):
                pixels, faces, angle = cut(pixels, found.to_frame), found.faces, found.to_frame.angle
                note = _describe(faces, round(abs(angle)))
        except ImportError:
            note = "Faces cannot be looked for without facenet-pytorch: this is the middle of the picture."
    return Aligned(to_pil(normalise(resize_and_crop(pixels)))[0], faces, angle, note)


def _describe(faces: int, degrees: int) -> str:
    found = "A face was found" if faces == 1 else f"The largest of {faces} faces was taken"
    turned = f", turned upright by {degrees} degrees" if degrees >= LEAST_ANGLE else ""
    return f"{found}{turned} and framed as in CelebA."


def load_detector(min_face_size: int) -> "MTCNN":
    """MTCNN with its published weights; the smaller the faces that it looks for, in pixels, the slower."""
    # Here, since it imports torchvision, which takes seconds, and may not be installed.
    from facenet_pytorch import MTCNN

    with torch.device("cpu"):  # A notebook may have set another default device.
        return MTCNN(min_face_size=min_face_size)


Points = TypeVar("Points", complex, np.ndarray)


@dataclass(frozen=True)
class Similarity:
    """A map of points from one picture to another: a turn, a scale and a shift.

    Points are complex numbers, x + iy, in pixels from the top left corner. A product with a number turns and scales them.
    """

    factor: complex
    shift: complex = 0

    @classmethod
    def fit(cls, points: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Self:
        """The least-squares map of points (n,) to targets (n,), with weights (n,)."""
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


class _Found(NamedTuple):
    """A face: its map to the frame, how many faces there are, and its probability in the frame."""

    to_frame: Similarity
    faces: int
    probability: float


# All threads share one network, one after the other, which bounds the memory.
_lock = threading.Lock()
_detector = functools.cache(load_detector)


def _find(pixels: torch.Tensor) -> _Found | None:
    """The largest face in a photograph (1, 3, height, width) uint8, upright, on its side or upside down."""
    height, width = pixels.shape[-2:]
    scale = min(LARGEST_SIDE / max(height, width), max(1.0, LEAST_SIDE / min(height, width)))
    copy = _resize(pixels, scale)
    best = None
    # Quarter turns: none, one to either side, as cameras are held, then upside down.
    for turns in (0, 1, 3, 2):
        turned = torch.rot90(copy, turns, (2, 3))
        turn = Similarity((-1j) ** turns)
        turn = Similarity(turn.factor, _centre(turned) - turn(_centre(copy)))
        found = [landmarks for _, landmarks in detect(turned, LEAST_FACE)]
        for rank, landmarks in enumerate(found[:SECOND_LOOKS]):
            to_frame = Similarity(scale).then(turn).then(Similarity.fit(landmarks, TARGETS, LANDMARK_WEIGHTS))
            if second := look_again(pixels, to_frame):
                probability, to_frame = second
                if best is None or probability > best.probability:
                    best = _Found(to_frame, len(found) - rank, probability)
                break
        if best is not None and best.probability >= SURE_PROBABILITY:
            break
    return best


def look_again(pixels: torch.Tensor, to_frame: Similarity) -> tuple[float, Similarity] | None:
    """A framed face's probability, and a better map to the frame; None if there is no face.

    The landmarks of a tilted face are less exact at the first look.
    """
    found = look(pixels, to_frame)
    if not found:
        return None
    probability, landmarks = min(found, key=lambda face: abs(face[1] - TARGETS).mean())
    return probability, to_frame.then(Similarity.fit(landmarks, TARGETS, LANDMARK_WEIGHTS))


def look(pixels: torch.Tensor, to_frame: Similarity) -> list[tuple[float, np.ndarray]]:
    """The faces in a frame and its surroundings, as `detect` returns them, with landmarks in the 64 x 64 of the frame."""
    centre = IMAGE_SIZE / 2 * (1 + 1j)
    to_surroundings = Similarity(1 / SURROUNDINGS, centre * (1 - 1 / SURROUNDINGS))
    found = detect(cut(pixels, to_frame.then(to_surroundings)), LEAST_FRAMED_FACE)
    to_frame_again = to_surroundings.inverse
    return [(probability, to_frame_again(face * IMAGE_SIZE / FRAME_SIZE)) for probability, face in found]


def detect(pixels: torch.Tensor, min_face_size: int) -> list[tuple[float, np.ndarray]]:
    """The faces in an image (1, 3, height, width) uint8, the largest first: of each the probability and the landmarks,
    (5,) complex, as LANDMARKS."""
    with _lock:
        detector = _detector(min_face_size)
        _, probabilities, landmarks = detector.detect(pixels.permute(0, 2, 3, 1), landmarks=True)
    if landmarks[0] is None:
        return []
    points = np.asarray(landmarks[0], dtype=np.float64) @ (1, 1j)
    return [(float(p), face) for p, face in zip(probabilities[0], points, strict=True) if p >= FACE_PROBABILITY]


def cut(pixels: torch.Tensor, to_frame: Similarity) -> torch.Tensor:
    """The frame, (1, 3, 256, 256) uint8, out of a photograph (1, 3, height, width) uint8."""
    from_frame = to_frame.inverse
    scale = min(1.0, FRAME_SIZE / IMAGE_SIZE * abs(to_frame.factor))
    # The part that the frame covers, with a margin for the filters, is first reduced to about the frame's resolution:
    # bicubic sampling alone would alias.
    height, width = pixels.shape[-2:]
    corners = from_frame(IMAGE_SIZE * np.array((0, 1, 1j, 1 + 1j)))
    margin = math.ceil(4 / scale)
    left, right = _span(corners.real, margin, width)
    top, bottom = _span(corners.imag, margin, height)
    part = pixels[..., top:bottom, left:right]
    reduced = _resize(part, scale)
    # In the coordinates of affine_grid, -1 and 1 are the edges of a picture.
    centre = from_frame(IMAGE_SIZE / 2 * (1 + 1j)) - complex(left, top) - _centre(part)
    half = from_frame.factor * IMAGE_SIZE / 2
    rows = ((half.real, -half.imag, centre.real), (half.imag, half.real, centre.imag))
    matrix = np.array(rows, np.float32) / np.array(((part.shape[-1] / 2,), (part.shape[-2] / 2,)), np.float32)
    grid = F.affine_grid(torch.from_numpy(matrix)[None], [1, 3, FRAME_SIZE, FRAME_SIZE], align_corners=False)
    frame = F.grid_sample(reduced.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
    return frame.round().clamp(0, 255).to(torch.uint8)


def _span(values: np.ndarray, margin: int, size: int) -> tuple[int, int]:
    """The range of values with a margin, cut to a picture's size; at least one pixel."""
    first = min(max(0, math.floor(values.min()) - margin), size - 1)
    return first, max(first + 1, min(size, math.ceil(values.max()) + margin))


def _resize(pixels: torch.Tensor, scale: float) -> torch.Tensor:
    height, width = (max(1, round(side * scale)) for side in pixels.shape[-2:])
    return F.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)


def _centre(pixels: torch.Tensor) -> complex:
    height, width = pixels.shape[-2:]
    return complex(width, height) / 2
