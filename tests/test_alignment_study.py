"""The measurement of CelebA's framing, with the bundled GAN's faces in place of CelebA's."""

import pytest
from PIL import Image

from models import Generator
from models.alignment import LANDMARKS
from study import alignment
from tests.conftest import WEIGHTS
from tests.test_report import cells
from train.settings import TrainingError


def test_the_framing_is_measured_and_found_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(alignment, "TILTS", alignment.TILTS[:1])
    for number, face in enumerate(Generator.from_pretrained(WEIGHTS / "gan").generate(12, seed=0)):
        picture = Image.new("RGB", (178, 218), "grey")
        picture.paste(face.resize((140, 140)), (19, 39))  # As CelebA's aligned pictures hold it.
        picture.save(tmp_path / f"{number:02d}.png")
    alignment.main(["--dataset", str(tmp_path), "--faces", "10", "--photographs", "2"])
    printed = capsys.readouterr().out
    for name, (x, y) in zip(("left eye", "right eye", "nose"), LANDMARKS[:3], strict=True):
        measured = cells(printed, name)
        assert abs(float(measured[0]) - x) < 1.5 and abs(float(measured[1]) - y) < 1.5
    found, upright, degrees_off, recovered, middle = map(float, cells(printed, "0 to 15"))
    assert found == upright == 1 and degrees_off < 5 and recovered > middle + 3


@pytest.mark.parametrize(
    "faces, words",
    [("8", "no face is found"), ("48", "--faces is 48: the data set holds no more")],
)
def test_what_cannot_be_measured_is_refused_in_words(celeba, faces, words):
    with pytest.raises(TrainingError, match=words):
        alignment.main(["--dataset", str(celeba), "--faces", faces])
