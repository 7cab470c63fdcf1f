"""The history of a training, from what a run keeps to what a page shows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import history
from models.history import EPOCHS_FILE, TRAINING_FILE, load_history
from tests.conftest import encode
from train.card import MAX_POINTS, write_history
from train.record import Record, save_grid


def colour(epoch: int, face: int) -> tuple[int, int, int]:
    """One that no other face of any epoch has; smooth, so that the codec keeps it."""
    return 40 * epoch % 256, 15 * face, (60 * epoch + 13 * face) % 256


def make_run(folder: Path, epochs: int, steps_per_epoch: int = 5, paint=colour) -> Record:
    """What a run of so many epochs leaves, with faces of one colour each, and nothing learned."""
    (folder / "samples").mkdir(parents=True)
    record = Record(folder)
    record.describe({"kind": "gan", "command": "python -m train.gan", "settings": {}})
    for epoch in range(1, epochs + 1):
        first = (epoch - 1) * steps_per_epoch + 1
        steps = range(first, first + steps_per_epoch)
        record.append([{"step": step, "epoch": epoch, "a_loss": step / 3, "b_loss": 1 / step} for step in steps])
        last = {"step": steps[-1], "epoch": epoch, "images_seen": 8 * steps[-1], "seconds": 2.0 * epoch}
        record.append([{**last, "held_out_psnr": 20 + epoch / 7}])
        faces = torch.tensor([paint(epoch, face) for face in range(64)])[:, :, None, None] / 127.5 - 1
        save_grid(faces.expand(-1, -1, 64, 64), record.picture_path("samples", epoch))
    return record


def told(folder: Path, epochs: int, **options) -> history.History:
    write_history(make_run(folder, epochs, **options), folder)
    return load_history(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a model of three epochs."""
    folder = tmp_path_factory.mktemp("whole")
    told(folder, 3)
    return folder


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """Another, to be damaged."""
    for name in (TRAINING_FILE, EPOCHS_FILE):
        shutil.copy(whole / name, tmp_path)
    return tmp_path


def assert_shows(faces: list[Image.Image], epoch: int, paint=colour) -> None:
    assert [face.size for face in faces] == [(64, 64)] * 16
    for number, face in enumerate(faces):
        assert np.abs(np.asarray(face)[8:-8, 8:-8].astype(int) - paint(epoch, number)).max() <= 6, (epoch, number)


@pytest.mark.parametrize("alike", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 1, 2], [0, 0, 0]])
def test_every_epoch_is_shown_by_its_first_sixteen_faces(tmp_path, alike):
    """The encoder merges frames that are alike, and makes a still of an animation in which all are."""
    paint = lambda epoch, face: colour(alike[epoch - 1], face)
    training, epochs = told(tmp_path, len(alike), paint=paint), range(1, len(alike) + 1)
    with Image.open(tmp_path / EPOCHS_FILE) as animation:
        assert (animation.format, animation.size, animation.n_frames) == ("WEBP", (512, 128), len(set(alike)))
        assert animation.info["loop"] == 0 or not animation.is_animated
    for epoch, faces in zip(epochs, training.faces_of(epochs), strict=True):
        assert_shows(faces, epoch, paint)
    assert_shows(training.faces_after(1), 1, paint)
    for epoch in (0, len(alike) + 1, -1):
        with pytest.raises(ValueError, match=f"epoch is {epoch}: .* {len(alike)}"):
            training.faces_after(epoch)


def test_losses_are_thinned_to_means_of_steps(tmp_path):
    training = told(tmp_path, 1, steps_per_epoch=1001)
    steps = training.losses["step"]
    assert (training.steps_per_point, len(steps)) == (4, 251) and len(steps) <= MAX_POINTS
    assert steps[:2] == [4, 8] and steps[-2:] == [1000, 1001]
    assert training.losses["a_loss"][:-1] == pytest.approx([(step - 1.5) / 3 for step in steps[:-1]], rel=1e-4)
    assert training.losses["a_loss"][-1] == pytest.approx(1001 / 3, rel=1e-4)
    assert training.losses["b_loss"][0] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, rel=1e-4)
    assert (tmp_path / TRAINING_FILE).stat().st_size < 20_000


def test_the_measurements_of_finished_epochs_are_told(tmp_path):
    """What is no finite number is None, as the kurtosis of latents that are all alike; JSON has no word for it."""
    record = make_run(tmp_path, 2)
    record.append([{**record.epochs()[-1], "epoch": 3, "held_out_psnr": float("inf"), "latent_kurtosis": float("nan")}])
    shutil.copy(record.picture_path("samples", 2), record.picture_path("samples", 3))
    # The model beside it has not seen an unfinished epoch either.
    record.append([{"step": 11, "epoch": 4, "a_loss": 1e6, "b_loss": 0.0}])
    record.picture_path("samples", 4).write_bytes(b"half a picture")
    write_history(record, tmp_path)
    json.loads((tmp_path / TRAINING_FILE).read_text(), parse_constant=pytest.fail)
    training = load_history(tmp_path)
    assert (training.epochs, training.images_seen, training.seconds) == (3, 80, 4.0)
    assert training.losses["step"] == [*range(1, 11)]
    assert training.measurements["epoch"] == [1, 2, 3] and training.measurements["step"] == [5, 10, 10]
    assert training.measurements["held_out_psnr"] == [pytest.approx(20.143), pytest.approx(20.286), None]
    assert training.measurements["latent_kurtosis"] == [None, None, None]
    assert_shows(training.faces_after(3), 2)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:500])])
def test_without_all_pictures_there_is_no_history(tmp_path, damage, capsys):
    record = make_run(tmp_path, 2)
    damage(record.picture_path("samples", 1))
    write_history(record, tmp_path)
    assert "goes without training.json and epochs.webp" in capsys.readouterr().out
    assert not (tmp_path / TRAINING_FILE).exists() and not (tmp_path / EPOCHS_FILE).exists()
    (tmp_path / EPOCHS_FILE).touch()
    assert load_history(tmp_path) is None  # Nor with one file of the two.


# Other parts of a training.json of three epochs, which cannot be drawn; `...` leaves one out.
LOSSES = {"step": [5, 10], "a_loss": [1.0, 2.0]}
UNFIT = {
    "no command": {"command": ...},
    "no losses": {"losses": {"step": [5, 10]}},
    "too few losses": {"losses": LOSSES | {"a_loss": [1.0]}},
    "losses all 0": {"losses": LOSSES | {"a_loss": [0, 0.0]}},
    "a huge loss": {"losses": LOSSES | {"a_loss": [1.0, 10**400]}},
    "steps that go back": {"losses": LOSSES | {"step": [10, 5]}},
    "steps that are fractions": {"losses": LOSSES | {"step": [5.5, 10]}},
    "markup in a name": {"losses": LOSSES | {"<img src=x onerror=alert(1)>": [1.0, 2.0]}},
    "epochs without end": {"epochs": 2001, "measurements": {"epoch": [*range(1, 2002)]}},
    "measurements cut short": {"measurements": {"epoch": [1, 2, 3], "psnr": [20.0, 21.0]}},
    "half a character in a command": {"command": "python \ud800"},
    "a negative time": {"seconds": -1},
    "no pictures seen": {"images_seen": 0},
}


def test_what_could_not_be_drawn_is_damaged(copy):
    path = copy / TRAINING_FILE
    sound = json.loads(path.read_text()) | {"losses": LOSSES | {"b_loss": [None, 2]}}  # A phase may lack a loss.
    path.write_text(json.dumps(sound))
    assert load_history(copy).losses["b_loss"] == [None, 2]
    contents = {
        name: json.dumps({key: value for key, value in (sound | change).items() if value is not ...}).encode()
        for name, change in UNFIT.items()
    }
    contents |= {"a list": b"[]", "half": b"{", "depth": b"[" * 100_000, "length": path.read_bytes() + b" " * 2_000_000}
    for name, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match="^training.json is damaged: [a-z ]+$"):
            load_history(copy), pytest.fail(name)


def animation(size: tuple[int, int], frames: int, duration: int = 200) -> bytes:
    images = [Image.new("RGB", size, (80 * number, 0, 0)) for number in range(frames)]
    return encode(images[0], "WEBP", save_all=True, append_images=images[1:], duration=duration)


def announcing(width: int, height: int) -> bytes:
    """A file of a hundred bytes whose header speaks of a huge picture."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return animation((512, 128), 2).replace((511).to_bytes(3, "little") + (127).to_bytes(3, "little"), canvas)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"no picture",
        lambda content: content[:-1],  # Which loses the last frame alone.
        lambda content: content + bytes(2_000_000),
        lambda content: animation((128, 512), 3),
        lambda content: animation((512, 128), 4),
        lambda content: animation((512, 128), 6, duration=100),
        lambda content: announcing(2**14, 2**14),
    ],
)
def test_a_damaged_animation_is_refused_in_a_sentence(copy, damage):
    path = copy / EPOCHS_FILE
    path.write_bytes(damage(path.read_bytes()))
    training = load_history(copy)
    assert len(training.losses["step"]) == 15
    for _ in range(2):
        with pytest.raises(ValueError, match="^epochs.webp is damaged: [a-z ']+$"):
            training.faces_after(3)
