"""The history of a training, from what a run keeps to what a page shows."""

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import history
from models.history import EPOCHS_FILE, TRAINING_FILE, load_history
from train.card import MAX_POINTS, write_history
from train.pictures import read_faces, save_grid
from train.record import Record

STEPS_PER_EPOCH = 5


def colour(epoch: int, face: int) -> tuple[int, int, int]:
    """One that no other face of any epoch has; smooth, so that the codec keeps it."""
    return 40 * epoch % 256, 15 * face, (60 * epoch + 13 * face) % 256


def make_run(folder: Path, epochs: int, steps_per_epoch: int = STEPS_PER_EPOCH, paint=colour) -> Record:
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


def assert_shows(faces: list[Image.Image], epoch: int, paint=colour) -> None:
    assert [face.size for face in faces] == [(64, 64)] * 16
    for number, face in enumerate(faces):
        assert np.abs(np.asarray(face)[8:-8, 8:-8].astype(int) - paint(epoch, number)).max() <= 6, (epoch, number)


def test_faces_come_out_of_a_grid_as_they_went_in(tmp_path):
    record = make_run(tmp_path, 1)
    pixels = np.asarray(read_faces(record.picture_path("samples", 1)))
    faces = [[colour(1, 8 * row + column) for column in range(8)] for row in range(2)]
    assert (pixels == np.array(faces).repeat(64, 0).repeat(64, 1)).all()


@pytest.mark.parametrize("epochs", [1, 2, 6])
def test_every_epoch_is_shown_by_its_first_sixteen_faces(tmp_path, epochs):
    story = told(tmp_path, epochs)
    for epoch in [*range(1, epochs + 1), 1]:
        assert_shows(story.faces_after(epoch), epoch)


@pytest.mark.parametrize(
    "alike",
    [
        [0, 0, 1, 1, 1, 2],  # Frames that the encoder merges.
        [0, 1, 2, 2],
        [0, 0, 0],  # It even makes a still of these.
    ],
)
def test_epochs_that_look_alike_keep_their_places(tmp_path, alike):
    paint = lambda epoch, face: colour(alike[epoch - 1], face)
    story = told(tmp_path, len(alike), paint=paint)
    assert Image.open(tmp_path / EPOCHS_FILE).n_frames == len(set(alike))
    for epoch in range(1, len(alike) + 1):
        assert_shows(story.faces_after(epoch), epoch, paint)


def test_the_animation_is_one_for_browsers(tmp_path):
    told(tmp_path, 3)
    with Image.open(tmp_path / EPOCHS_FILE) as animation:
        assert (animation.format, animation.size, animation.n_frames) == ("WEBP", (512, 128), 3)
        assert animation.info["loop"] == 0
        animation.seek(1)
        animation.load()
        assert (animation.info["timestamp"], animation.info["duration"]) == (200, 200)


def test_there_is_no_epoch_before_the_first_or_after_the_last(tmp_path):
    story = told(tmp_path, 2)
    for epoch in (0, 3, -1):
        with pytest.raises(ValueError, match=f"epoch is {epoch}: .* 2"):
            story.faces_after(epoch)


def test_losses_are_thinned_to_means(tmp_path):
    story = told(tmp_path, 2, steps_per_epoch=500)
    points, size = len(story.losses["step"]), story.steps_per_point
    assert (size, points) == (4, 250) and points <= MAX_POINTS
    assert story.losses["step"][:2] == [4, 8] and story.losses["step"][-1] == 1000
    assert story.losses["a_loss"] == pytest.approx([(step - 1.5) / 3 for step in story.losses["step"]], rel=1e-4)
    assert story.losses["b_loss"][0] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, rel=1e-4)
    assert (tmp_path / TRAINING_FILE).stat().st_size < 20_000


def test_a_last_point_may_be_of_fewer_steps(tmp_path):
    story = told(tmp_path, 1, steps_per_epoch=301)
    assert story.losses["step"][-2:] == [300, 301] and len(story.losses["step"]) == 151
    assert story.losses["a_loss"][-1] == pytest.approx(301 / 3, rel=1e-4)


def test_the_measurements_of_every_epoch_are_told(tmp_path):
    story = told(tmp_path, 3)
    assert (story.command, story.epochs, story.images_seen, story.seconds) == ("python -m train.gan", 3, 120, 6.0)
    assert story.measurements["epoch"] == [1, 2, 3] and story.measurements["step"] == [5, 10, 15]
    assert story.measurements["held_out_psnr"] == pytest.approx([20 + epoch / 7 for epoch in (1, 2, 3)], rel=1e-4)


def test_an_unfinished_epoch_is_left_out(tmp_path):
    """The model beside it has not seen it either."""
    record = make_run(tmp_path, 2)
    record.append([{"step": 11, "epoch": 3, "a_loss": 1e6, "b_loss": 0.0}])
    (tmp_path / "samples/epoch-0003.png").write_bytes(b"half a picture")
    write_history(record, tmp_path)
    story = load_history(tmp_path)
    assert story.epochs == 2 and story.losses["step"] == [*range(1, 11)]
    assert_shows(story.faces_after(2), 2)


def test_what_is_no_number_is_none(tmp_path):
    """As the kurtosis of latents that are all alike; JSON has no word for it."""
    record = make_run(tmp_path, 2)
    record.append([{**record.epochs()[-1], "epoch": 3, "held_out_psnr": float("inf"), "latent_kurtosis": float("nan")}])
    shutil.copy(record.picture_path("samples", 2), record.picture_path("samples", 3))
    write_history(record, tmp_path)
    json.loads((tmp_path / TRAINING_FILE).read_text(), parse_constant=pytest.fail)
    story = load_history(tmp_path)
    assert story.measurements["held_out_psnr"][1:] == [pytest.approx(20.286), None]
    assert story.measurements["latent_kurtosis"] == [None, None, None]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:500])])
def test_without_all_pictures_there_is_no_history(tmp_path, damage, capsys):
    record = make_run(tmp_path, 2)
    damage(record.picture_path("samples", 1))
    write_history(record, tmp_path)
    assert "goes without training.json and epochs.webp" in capsys.readouterr().out
    assert not (tmp_path / TRAINING_FILE).exists() and not (tmp_path / EPOCHS_FILE).exists()


@pytest.mark.parametrize("missing", [TRAINING_FILE, EPOCHS_FILE])
def test_a_model_from_before_has_no_history(tmp_path, missing):
    told(tmp_path, 1)
    (tmp_path / missing).unlink()
    assert load_history(tmp_path) is None
    assert load_history(tmp_path / "nowhere") is None


def without(key: str):
    return lambda training: {name: value for name, value in training.items() if name != key}


@pytest.mark.parametrize(
    "damage",
    [
        lambda training: [],
        lambda training: None,
        without("losses"),
        without("command"),
        lambda training: training | {"losses": {}},
        lambda training: training | {"losses": [1, 2]},
        lambda training: training | {"losses": training["losses"] | {"a_loss": [1.0]}},
        lambda training: training | {"losses": training["losses"] | {"a_loss": ["a word"] * 10}},
        lambda training: training | {"losses": {"step": 1}},
        lambda training: training | {"epochs": 3},
        lambda training: training | {"epochs": "2"},
        lambda training: training | {"epochs": 0, "measurements": {"epoch": []}},
    ],
)
def test_a_damaged_record_is_refused_in_a_sentence(tmp_path, damage):
    told(tmp_path, 2)
    path = tmp_path / TRAINING_FILE
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match="^training.json is damaged: [a-z ]+$"):
        load_history(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_record_that_is_no_json_is_refused_in_a_sentence(tmp_path, content):
    told(tmp_path, 1)
    (tmp_path / TRAINING_FILE).write_bytes(content)
    with pytest.raises(ValueError, match="^training.json is damaged: [a-z ]+$"):
        load_history(tmp_path)


def animation(size: tuple[int, int], frames: int, duration: int = 200) -> bytes:
    buffer = io.BytesIO()
    images = [Image.new("RGB", size, (80 * number, 0, 0)) for number in range(frames)]
    images[0].save(buffer, "WEBP", save_all=True, append_images=images[1:], duration=duration)
    return buffer.getvalue()


def announcing(width: int, height: int) -> bytes:
    """A file of a hundred bytes whose header speaks of a huge picture."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return animation((512, 128), 2).replace((511).to_bytes(3, "little") + (127).to_bytes(3, "little"), canvas)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no picture",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],  # Which loses the last frame alone.
        lambda content: content[:60] + bytes(len(content) - 60),
        lambda content: animation((128, 512), 3),
        lambda content: animation((512, 128), 2),
        lambda content: animation((512, 128), 4),
        lambda content: animation((512, 128), 6, duration=100),
        lambda content: announcing(2**14, 2**14),
    ],
)
def test_a_damaged_animation_is_refused_in_a_sentence(tmp_path, damage):
    told(tmp_path, 3)
    path = tmp_path / EPOCHS_FILE
    path.write_bytes(damage(path.read_bytes()))
    story = load_history(tmp_path)
    assert len(story.losses["step"]) == 15
    for _ in range(2):
        with pytest.raises(ValueError, match="^epochs.webp is damaged: [a-z ']+$"):
            story.faces_after(3)


def test_several_epochs_are_read_in_one_pass(tmp_path, monkeypatch):
    story = told(tmp_path, 6)
    frames, passes = history._frames, []
    monkeypatch.setattr(history, "_frames", lambda *asked: passes.append(asked) or frames(*asked))
    for epoch, faces in zip((1, 2, 5, 6), story.faces_of([1, 2, 5, 6]), strict=True):
        assert_shows(faces, epoch)
    assert len(passes) == 1


def test_many_ask_at_once(tmp_path):
    story = told(tmp_path, 6)
    epochs = [1 + number % 6 for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        for epoch, faces in zip(epochs, threads.map(story.faces_after, epochs)):
            assert_shows(faces, epoch)


def test_a_phase_of_training_may_lack_a_loss(tmp_path):
    told(tmp_path, 1)
    training = json.loads((tmp_path / TRAINING_FILE).read_text())
    training["losses"]["a_loss"][:2] = [None, None]
    (tmp_path / TRAINING_FILE).write_text(json.dumps(training))
    assert load_history(tmp_path).losses["a_loss"][:2] == [None, None]


def test_what_a_visitor_draws_on_a_face_stays_with_them(tmp_path):
    story = told(tmp_path, 1)
    story.faces_after(1)[0].paste((255, 255, 255), (0, 0, 64, 64))
    assert_shows(story.faces_after(1), 1)


UNFIT = {
    "no steps": {"losses": {"step": [], "a_loss": []}},
    "no losses": {"losses": {"step": [5, 10]}},
    "losses that are null": {"losses": {"step": [5, 10], "a_loss": None}},
    "a loss that is null throughout": {"losses": {"step": [5, 10], "a_loss": [None, None]}},
    "losses all 0": {"losses": {"step": [5, 10], "a_loss": [0, 0.0]}},
    "steps all 0": {"losses": {"step": [0, 0], "a_loss": [1.0, 2.0]}},
    "steps that go back": {"losses": {"step": [10, 5], "a_loss": [1.0, 2.0]}},
    "steps that stay": {"losses": {"step": [5, 5], "a_loss": [1.0, 2.0]}},
    "steps that are fractions": {"losses": {"step": [5.5, 10], "a_loss": [1.0, 2.0]}},
    "steps that are words": {"losses": {"step": ["5", "10"], "a_loss": [1.0, 2.0]}},
    "losses that are words": {"losses": {"step": [1, 2], "a_loss": "12"}},
    "losses that are true": {"losses": {"step": [5, 10], "a_loss": [1.0, True]}},
    "markup in a name": {"losses": {"step": [5, 10], "<img src=x onerror=alert(1)>": [1.0, 2.0]}},
    "an address in a name": {"losses": {"step": [5, 10], "![](http://elsewhere)": [1.0, 2.0]}},
    "an endless name": {"losses": {"step": [5, 10], "a" * 1000: [1.0, 2.0]}},
    "a huge loss": {"losses": {"step": [5, 10], "a_loss": [1.0, 10**400]}},
    "fractional epochs": {"epochs": 2.0},
    "epochs that are true": {"epochs": True, "measurements": {"epoch": [1]}},
    "epochs without end": {"epochs": 10**6},
    "epochs in another order": {"measurements": {"epoch": [2, 1]}},
    "epochs counted twice": {"measurements": {"epoch": [1, 1]}},
    "fractional epochs among the measurements": {"measurements": {"epoch": [1.0, 2.0]}},
    "measurements that are null": {"measurements": None},
    "measurements cut short": {"measurements": {"epoch": [1, 2], "psnr": [20.0]}},
    "measurements that are words": {"measurements": {"epoch": [1, 2], "psnr": [20.0, "21"]}},
    "markup in a measurement": {"measurements": {"epoch": [1, 2], "<b>": [20.0, 21.0]}},
    "a command that is none": {"command": None},
    "a note that is none": {"note": ["see"]},
    "half a character in a command": {"command": "python \ud800"},
    "half a character in a note": {"note": "\udfff"},
    "a negative time": {"seconds": -1},
    "no pictures seen": {"images_seen": 0},
    "points of no steps": {"steps_per_point": 0},
}


@pytest.mark.parametrize("change", UNFIT.values(), ids=UNFIT)
def test_what_could_not_be_drawn_is_damaged(tmp_path, change):
    told(tmp_path, 2)
    path = tmp_path / TRAINING_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="^training.json is damaged: [a-z ]+$"):
        load_history(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_losses_are_numbers(tmp_path, number):
    told(tmp_path, 2)
    path = tmp_path / TRAINING_FILE
    training = json.loads(path.read_text()) | {"losses": {"step": [5, 10], "a_loss": [1.0, "number"]}}
    path.write_text(json.dumps(training).replace('"number"', number))
    with pytest.raises(ValueError, match="^training.json is damaged: [a-z ]+$"):
        load_history(tmp_path)


def test_a_record_longer_than_any_training_is_not_read(tmp_path):
    told(tmp_path, 1)
    with open(tmp_path / TRAINING_FILE, "a") as file:
        file.write(" " * 2_000_000)
    with pytest.raises(ValueError, match="^training.json is damaged: [a-z ]+$"):
        load_history(tmp_path)
