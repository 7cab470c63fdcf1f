import json
import shutil

import datasets
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from models.images import denormalise, from_pil
from tests.conftest import draw_face, write_parquet
from train import data
from train.data import FACE_BYTES, Faces
from train.errors import TrainingError
from train.settings import DataSettings
from train.source import TableSource, find_source


def source(folder, cache, split="train", **settings):
    return find_source(DataSettings(dataset=str(folder), cache_dir=cache, **settings), split)


def expected(number: int) -> torch.Tensor:
    return denormalise(from_pil(draw_face(number)))[0]


def test_faces_arrive_in_order_cropped_and_from_both_formats(celeba, tmp_path):
    with Faces(source(celeba, tmp_path), tmp_path) as faces:
        assert len(faces) == 48
        assert faces[:].shape == (48, 3, 64, 64) and faces[:].dtype == torch.uint8
        for number in (0, 23):  # The PNG shard, which decodes to the very pixels.
            assert torch.equal(faces[:][number], expected(number))
        jpeg_error = (faces[:][24:].float() - torch.stack([expected(number) for number in range(24, 48)]).float()).abs()
        assert jpeg_error.mean() < 6


def test_the_second_run_reads_the_cache_alone(celeba, tmp_path, monkeypatch):
    with Faces(source(celeba, tmp_path), tmp_path) as faces:
        before = faces[: len(faces)]
    monkeypatch.setattr(datasets, "load_dataset", None)
    with Faces(source(celeba, tmp_path), tmp_path) as faces:
        assert torch.equal(faces[: len(faces)], before)
        assert faces._filler is None


@pytest.mark.parametrize("damage", ["cut", "half a face", "short"])
def test_a_cache_that_was_cut_short_is_completed(damage, celeba, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 10)
    with Faces(source(celeba, tmp_path), tmp_path, limit=20) as faces:
        faces.wait_for(None)
    pixels, state = faces._pixels_path, faces._state_path
    assert json.loads(state.read_text())["complete"] is False
    if damage == "half a face":
        with open(pixels, "ab") as file:
            file.write(b"x" * (FACE_BYTES // 2))
    elif damage == "short":
        with open(pixels, "r+b") as file:
            file.truncate(5 * FACE_BYTES)
    with Faces(source(celeba, tmp_path), tmp_path) as faces:
        assert len(faces) == 48
        for number in (0, 19, 20, 23):
            assert torch.equal(faces[:][number], expected(number))
    assert pixels.stat().st_size == 48 * FACE_BYTES


def test_a_limit_and_a_skip_cut_the_same_cache(celeba, tmp_path):
    with Faces(source(celeba, tmp_path), tmp_path) as whole:
        assert len(whole) == 48
    with Faces(source(celeba, tmp_path), tmp_path, limit=20, skip=5) as part:
        assert len(part) == 15
        assert torch.equal(part[:15], whole[5:20])


def test_batches_are_the_same_streamed_or_cached_and_resume_anywhere(celeba, tmp_path):
    with Faces(source(celeba, tmp_path), tmp_path / "a") as faces:
        streamed = [list(faces.batches(epoch, 10, seed=3)) for epoch in (1, 2)]
    with Faces(source(celeba, tmp_path), tmp_path / "a") as faces:
        cached = [list(faces.batches(epoch, 10, seed=3)) for epoch in (1, 2)]
        tail = list(faces.batches(2, 10, seed=3, start=3))
        third = torch.cat(list(faces.batches(3, 10, seed=3)))
    assert [len(epoch) for epoch in streamed] == [4, 4]
    for one, two in zip(streamed, cached):
        assert all(map(torch.equal, one, two))
    assert len(tail) == 1 and torch.equal(tail[0], cached[1][3])
    assert not torch.equal(third, torch.cat(cached[1]))


def test_faces_held_by_a_device_come_in_the_same_batches(celeba, tmp_path):
    with Faces(source(celeba, tmp_path), tmp_path, skip=5) as faces:
        read = list(faces.batches(2, 10, seed=3))
        assert faces.hold(torch.device("cpu"))
        held = list(faces.batches(2, 10, seed=3))
    assert len(held) == 4 and all(map(torch.equal, read, held))


def test_a_changed_folder_gets_a_cache_of_its_own(celeba, tmp_path):
    folder = tmp_path / "faces"
    shutil.copytree(celeba, folder)
    before = source(folder, tmp_path).cache_name
    write_parquet(folder / "data/train-00001-of-00002.parquet", range(24, 47))
    assert source(folder, tmp_path).cache_name != before
    assert source(folder, tmp_path, "valid").cache_name != source(folder, tmp_path).cache_name


def test_a_folder_of_image_files_will_do(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(3):
        draw_face(number, (70 + number, 90)).save(folder / f"{number}.png")
    with Faces(source(folder, tmp_path), tmp_path / "cache") as faces:
        assert len(faces) == 3


@pytest.mark.parametrize(
    "prepare, split, message",
    [
        (lambda folder: None, "train", "doesn't contain any data"),
        (lambda folder: (folder / "notes.bin").write_bytes(b"hello"), "train", "cannot read"),
        (lambda folder: write_parquet(folder / "data/train-00000-of-00001.parquet", range(2)), "test", "split"),
        (lambda folder: (folder / "data.parquet").write_bytes(b"not parquet"), "train", "cannot read"),
    ],
    ids=["empty", "no images", "no such split", "damaged"],
)
def test_a_folder_that_will_not_do_says_why(prepare, split, message, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    prepare(folder)
    with (
        pytest.raises(TrainingError, match=message),
        Faces(source(folder, tmp_path, split), tmp_path / "cache") as faces,
    ):
        faces.wait_for(1)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    draw_face(0).save(folder / "0.png")
    (folder / "1.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(TrainingError, match="image 1 of"), Faces(source(folder, tmp_path), tmp_path / "cache") as faces:
        len(faces)


def test_a_missing_folder_is_no_hub_id(tmp_path):
    with pytest.raises(TrainingError, match="no such folder"):
        source(tmp_path / "nowhere", tmp_path)


def test_an_unreachable_hub_is_one_sentence(tmp_path):
    with pytest.raises(TrainingError, match="Hub cannot be reached") as caught:
        source("flwrlabs/celeba", tmp_path)
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_with_a_cache_is_no_matter(tmp_path, capsys):
    folder = tmp_path / "celeba-cached"
    folder.mkdir()
    known = TableSource(DataSettings(dataset="flwrlabs/celeba"), "train", "0123456789abcdef")
    (folder / "state.json").write_text(json.dumps({"source": known.identity}))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/state.json").write_text("damaged")
    found = source("flwrlabs/celeba", tmp_path)
    assert found.revision == "0123456789abcdef"
    assert "cached revision 01234567" in capsys.readouterr().out


def test_two_processes_do_not_fill_one_cache(celeba, tmp_path):
    one = source(celeba, tmp_path)
    (tmp_path / one.cache_name).mkdir()
    with (
        FileLock(tmp_path / one.cache_name / "lock"),
        Faces(one, tmp_path) as faces,
        pytest.raises(TrainingError, match="another process"),
    ):
        faces.wait_for(1)


def test_grey_and_transparent_images_decode(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("L", (80, 80), 200).save(folder / "0.png")
    Image.new("RGBA", (80, 80), (10, 20, 30, 255)).save(folder / "1.png")
    with Faces(source(folder, tmp_path), tmp_path / "cache") as faces:
        assert len(faces) == 2
        assert np.unique(faces[:1].numpy()).tolist() == [200]
