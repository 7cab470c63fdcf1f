"""The report's figures: the right way up, and every line and row where its label says."""

import numpy as np
import pytest
import torch
from PIL import Image

from study import figures
from train.record import PADDING

TITLES = {"gan": "GAN", "plain": "Plain", "fifth": "Fifth"}


def curve(**values: float | None) -> list[dict]:
    """A curve whose values grow with the mean."""
    return [
        {"mean": mean} | {key: None if value is None else value + step for key, value in values.items()}
        for step, mean in enumerate((-100, 0, 100))
    ]


def test_curves_are_the_right_way_up():
    keys = dict.fromkeys(figures.CURVES, 10.0) | {"face_share": None}
    curves = {
        "gan": curve(**keys),
        "plain": curve(**keys | {"frozen_units": None, "pixel_diversity": 30.0}),
        "fifth": curve(**keys | {"pixel_diversity": 50.0}),
    }
    figure = figures.out_of_distribution_curves(curves, TITLES | {"new": "New"})
    axes = {axis.get_ylabel(): axis for axis in figure.axes}
    # What no model was measured by has no chart, and what a model was not measured by, no line.
    assert list(axes) == [label for label in figures.CURVES.values() if label != "share with a face"]
    assert not any(axis.yaxis_inverted() or axis.xaxis_inverted() for axis in figure.axes)
    lines = {line.get_label(): line for line in axes["diversity (grey levels)"].lines}
    assert list(lines) == ["GAN", "Plain", "Fifth"]
    assert lines["Plain"].get_xydata().tolist() == [[-100, 30], [0, 31], [100, 32]]
    assert lines["Fifth"].get_xydata().tolist() == [[-100, 50], [0, 51], [100, 52]]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["GAN", "Plain", "Fifth"]
    # A model has one colour.
    frozen = {line.get_label(): line.get_color() for line in axes["frozen hidden units"].lines}
    assert frozen == {"GAN": lines["GAN"].get_color(), "Fifth": lines["Fifth"].get_color()}
    assert len({line.get_color() for line in lines.values()}) == 3


class Painter:
    """Paints a latent in one grey: its shade, and its latent's weighted sum."""

    device, model_type = torch.device("cpu"), "autoencoder"

    def __init__(self, shade: float, encodes: bool = True, discrete_size: int = 0):
        self.shade, self.encodes, self.discrete_size = shade, encodes, discrete_size
        self.latent_size, self.continuous_size = 12, 12 - discrete_size
        self.weights = torch.zeros(12)

    def sample_latent(self, count, seed=None, mean=None, variance=None):
        assert variance in (None, 2)
        return torch.full((count, 12), float(mean))

    def decode(self, z):
        return (self.shade + 0.02 * z[:, 0] + z @ self.weights)[:, None, None, None].expand(-1, 3, 64, 64)


def shades(path) -> np.ndarray:
    """The grey of each face of a grid, (rows, columns), in [-1, 1]."""
    pixels = np.asarray(Image.open(path)).astype(float) / 127.5 - 1
    return pixels[PADDING + 32 :: 64 + PADDING, PADDING + 32 :: 64 + PADDING, 0]


def test_rows_of_autoencoders_are_in_their_order_and_0_before_minus_3(tmp_path):
    models = {"gan": Painter(0, encodes=False), "plain": Painter(-0.5), "matched": Painter(0.1), "fifth": Painter(0.6)}
    figures.draw_faces(models, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["autoencoders.png"]
    faces = shades(tmp_path / "autoencoders.png")
    assert faces.shape == (6, 10)
    expected = [-0.5, -0.56, 0.1, 0.04, 0.6, 0.54]
    assert faces.mean(1) == pytest.approx(expected, abs=0.01)


def test_the_strongest_bits_are_flipped_a_face_a_row(tmp_path):
    model = Painter(0.0, encodes=False, discrete_size=11)
    # Bits are numbers 1 to 11, the strongest is the fourth.
    model.weights[1:] = torch.tensor([1, 2, 3, 11, 4, 5, 6, 7, 8, 9, 10]) / 200
    model.sample_latent = lambda count, seed: torch.arange(float(count))[:, None].expand(-1, 12).clone()
    figures.draw_faces({"bits": model}, tmp_path)
    faces = shades(tmp_path / "flipped-bits-bits.png")
    assert faces.shape == (4, 10)
    for row, value in enumerate(faces):
        before = row * (0.02 + 66 / 200)
        flipped = [before - 2 * row * strength / 200 for strength in (11, 10, 9, 8, 7, 6, 5, 4, 3)]
        assert value == pytest.approx(np.clip([before, *flipped], -1, 1), abs=0.02)
