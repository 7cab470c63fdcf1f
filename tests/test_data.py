"""The cache of faces: what is in it, what a run reads from it, what happens to it; and which faces are held out."""

import shutil
import threading

import datasets
import pytest
import torch
from datasets import Dataset, Value
from filelock import FileLock

from models.images import denormalise, from_pil
from tests.conftest import draw_face, encode, write_parquet
from tests.grey import ATTRIBUTES, corresponds, numbers, numbers_in, opened, picture, save_all, settings, write_table
from train import data, gan, tables
from train.data import FACE_BYTES, Faces, open_faces, open_held_out, open_split
from train.settings import DataSettings, TrainingError
from train.source import UnknownSplit
from train.tables import find_source


def expected(number: int) -> torch.Tensor:
    """By hand: 70 of 89 pixels, which is 140 of 178 halved."""
    return denormalise(from_pil(draw_face(number).crop((9, 19, 79, 89))))[0]


# What is in it.


def test_faces_arrive_in_order_cropped_and_from_both_formats_and_the_second_run_reads_the_cache_alone(
    celeba, tmp_path, monkeypatch
):
    its = DataSettings(dataset=str(celeba), cache_dir=tmp_path)
    with open_split(its, "train") as faces:
        before = faces[:].pixels
        assert len(faces) == 48 and before.shape == (48, 3, 64, 64) and before.dtype == torch.uint8
    for number in (0, 23):  # The PNG shard, which decodes to the very pixels.
        assert torch.equal(before[number], expected(number))
    jpeg_error = (before[24:].float() - torch.stack([expected(number) for number in range(24, 48)]).float()).abs()
    assert jpeg_error.mean() < 6
    monkeypatch.setattr(datasets, "load_dataset_builder", None)
    with open_split(its, "train") as faces:
        assert torch.equal(faces[:].pixels, before) and faces.is_cached and faces.crop == 140 / 178


def test_a_changed_folder_another_split_and_another_crop_have_caches_of_their_own(celeba, tmp_path):
    folder = shutil.copytree(celeba, tmp_path / "mine")
    of = lambda split="train", **more: find_source(settings(tmp_path, **more), split).cache_folder
    before = of()
    assert len({before, of("valid"), of(crop=1.0), of("valid", crop=1.0)}) == 4 and of() == before
    with opened(tmp_path, limit=3, crop=1.0) as faces:
        assert torch.equal(faces[2:3].pixels[0], denormalise(from_pil(draw_face(2)))[0]) and faces.crop == 1
    write_parquet(folder / "data/train-00001-of-00002.parquet", range(24, 47))
    assert of() != before


def test_the_literatures_crop_is_the_square_from_19_39_to_159_179(tmp_path):
    for number, size, box in ((0, (178, 218), (19, 39, 159, 179)), (1, (89, 109), (9, 19, 79, 89))):
        face = draw_face(number, size)
        (tmp_path / f"{number}").mkdir()
        face.save(tmp_path / f"{number}/1.png")
        with opened(tmp_path, folder=str(number)) as faces:
            assert torch.equal(faces[:1].pixels, denormalise(from_pil(face.crop(box)))) and faces.crop == 140 / 178
    draw_face(2, (100, 109)).save(tmp_path / "1/1.png")
    with opened(tmp_path, folder="1") as faces:
        assert faces.crop == 1


# What a run reads.


@pytest.mark.parametrize("cached", [False, True])
def test_batches_hold_every_face_once_with_its_labels_and_resume_anywhere(cached, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 8)
    write_table(tmp_path / "mine/train.parquet", range(43), **ATTRIBUTES)
    if cached:
        assert numbers_in(tmp_path) == list(range(43))
    with opened(tmp_path, skip=3) as faces:
        epochs = {epoch: list(faces.batches(epoch, 6, seed=3)) for epoch in (1, 2, 3)}
        resumed = {epoch: list(faces.batches(epoch, 6, seed=3, start=4)) for epoch in (1, 2)}
        other = next(faces.batches(2, 6, seed=4))
    orders = {epoch: [number for its in batches for number in numbers(its.pixels)] for epoch, batches in epochs.items()}
    for epoch, order in orders.items():
        assert len(epochs[epoch]) == 6 and all(map(corresponds, epochs[epoch]))
        assert len(set(order)) == 36 and set(order) < set(range(3, 43)) and order != sorted(order)
    for epoch, batches in resumed.items():
        assert [number for its in batches for number in numbers(its.pixels)] == orders[epoch][24:]
    assert orders[2] != orders[3] and numbers(other.pixels) != orders[2][:6]


def test_of_a_table_in_order_the_first_epoch_draws_from_what_has_come(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 10)
    write_table(tmp_path / "mine/train.parquet", range(100))
    with opened(tmp_path) as faces:
        streamed, cached, other = ([numbers(its.pixels) for its in faces.batches(1, 8, seed)] for seed in (5, 5, 6))
    assert streamed == cached != other
    assert len(streamed) == 12 and len({number for batch in streamed for number in batch}) == 96
    assert max(streamed[0]) < 32 and max(streamed[1]) < 64 and max(streamed[0] + streamed[1] + streamed[2]) > 32


def test_the_first_epoch_begins_before_the_stream_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 4)
    save_all(tmp_path / "mine", [f"{number:02}" for number in range(40)])
    its, has_begun = find_source(settings(tmp_path), "train"), threading.Event()

    def stream(start=0):
        yield from its._pictures[start:20]
        assert has_begun.wait(timeout=20)
        yield from its._pictures[20:]

    monkeypatch.setattr(its, "pictures", stream)
    with Faces(its) as faces:
        batches = faces.batches(1, 2, seed=0)
        next(batches), next(batches)
        has_begun.set()
        assert len(list(batches)) == 18


def test_a_sample_is_of_all_faces_and_so_are_their_labels(tmp_path):
    write_table(tmp_path / "mine/train.parquet", range(100), **ATTRIBUTES)
    with opened(tmp_path, skip=10) as faces:
        one, again, other = (faces.sample(40, seed) for seed in (0, 0, 1))
        whole = faces.sample(1000, 0)
    assert numbers(one.pixels) == numbers(again.pixels) != numbers(other.pixels)
    assert len(set(numbers(one.pixels))) == 40 and corresponds(one) and max(numbers(one.pixels)) > 80
    assert sorted(numbers(whole.pixels)) == list(range(10, 100)) and corresponds(whole)


# What happens to it.


@pytest.mark.parametrize("harm", ["cut", "half a row more", "short", "gone", "no JSON", "other JSON"])
def test_a_cache_that_was_cut_or_damaged_is_completed_with_the_same_labels(harm, tmp_path, monkeypatch, capsys):
    """What the integers mean is seen in the first rows; those where the fill goes on are 2, 1, 1 and 1."""
    monkeypatch.setattr(data, "CHUNK", 4)
    monkeypatch.setattr(tables, "ROWS", 4)
    late = (Value("int64"), lambda number: number % 2 if number < 8 else 1 + (number == 13))
    write_table(tmp_path / "mine/train.parquet", range(20), damaged=(2,), empty=(3,), Late=late, **ATTRIBUTES)
    with opened(tmp_path, limit=12) as faces:
        assert len(faces) == 12 and not faces.state.complete
    path, row = faces._rows_path, FACE_BYTES + 3
    content = path.read_bytes()
    assert len(content) == faces.state.count * row
    path.write_bytes({"half a row more": content + b"\1" * (row // 2), "short": content[: 5 * row]}.get(harm, content))
    if harm == "gone":
        path.unlink()
    state = faces._state_path.read_text()
    faces._state_path.write_text({"no JSON": "\0\0", "other JSON": "[]"}.get(harm, state))
    for was_cached in (False, True):
        with opened(tmp_path) as faces:
            batch = faces[:]
            left = [number for number in range(20) if number not in (2, 3, 13)]
            assert numbers(batch.pixels) == left and faces.label_names == ("Late", "Odd", "High")
            assert batch.labels[:, 0].tolist() == [-1 if number in (0, 4, 6) else 1 for number in left]
            assert corresponds(data.Batch(batch.pixels, batch.labels[:, 1:])) and faces.is_cached == was_cached
    told = capsys.readouterr().out
    assert "row 2 (2.png) cannot be read and" in told and "row 3 cannot be read and is left out: It is empty." in told


def test_a_cache_that_cannot_be_written_or_is_being_filled_is_one_sentence(tmp_path, monkeypatch):
    write_table(tmp_path / "mine/train.parquet", range(20), **ATTRIBUTES)
    (tmp_path / "cache").write_bytes(b"x")
    with pytest.raises(TrainingError, match="--cache-dir: the cache .* cannot be written: Not a directory"):
        opened(tmp_path)
    (tmp_path / "cache").unlink()
    folder = find_source(settings(tmp_path), "train").cache_folder
    folder.mkdir(parents=True)
    with FileLock(folder / "lock"), pytest.raises(TrainingError, match="another process is filling the cache"):
        opened(tmp_path)


# Damaged pictures.


def test_damaged_pictures_of_a_folder_are_named_and_left_out(tmp_path, capsys):
    save_all(tmp_path / "mine", [str(number) for number in range(6)])
    damaged = {
        2: encode(picture(2), "PNG")[:60],
        4: b"",
        5: b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n",  # Pillow would read PostScript, by starting another program.
    }
    for number, content in damaged.items():
        (tmp_path / f"mine/{number}.png").write_bytes(content)
    assert numbers_in(tmp_path) == [0, 1, 3]
    told = capsys.readouterr().out
    assert all(f"{number}.png cannot be read and is left out" in told for number in damaged)
    with open_faces(gan.GANSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache")) as faces:
        assert faces.is_cached and len(faces) == 3
    assert "3 that cannot be read are left out, the first of them " in capsys.readouterr().out


@pytest.mark.parametrize(
    "pictures, damaged, message", [(9, 6, "more than 5 pictures cannot"), (1, 1, "no picture that can be read: 0.")]
)
def test_more_damaged_pictures_than_a_few_stop_the_run(pictures, damaged, message, tmp_path):
    save_all(tmp_path / "mine", [str(number) for number in range(pictures)])
    for number in range(damaged):
        (tmp_path / f"mine/{number}.png").write_bytes(b"?")
    with pytest.raises(TrainingError, match=message), opened(tmp_path) as faces:
        len(faces)


# What cannot be read at all.


@pytest.mark.parametrize(
    "prepare, split, message",
    [
        (lambda folder: None, "train", "holds no pictures"),
        (lambda folder: (folder / "notes.bin").write_bytes(b"hello"), "train", "left out: 1 .bin"),
        (lambda folder: write_table(folder / "train.parquet", range(2)), "test", "has no split 'test'; it has train"),
        (lambda folder: (folder / "data.parquet").write_bytes(b"not parquet"), "train", "cannot read split 'train'"),
        (lambda folder: Dataset.from_dict({"a": [1]}).to_parquet(folder / "train.parquet"), "train", "no column holds"),
    ],
    ids=["empty", "no images", "no such split", "damaged", "no column"],
)
def test_a_folder_that_will_not_do_says_why(prepare, split, message, tmp_path):
    (tmp_path / "mine").mkdir()
    prepare(tmp_path / "mine")
    with pytest.raises(TrainingError, match=message), opened(tmp_path, split) as faces:
        faces.wait_for(1)


@pytest.mark.parametrize(
    "name, more, message",
    [
        ("{}/file.jpg", {}, "--dataset .* is a file"),
        ("{}/nowhere", {}, "--dataset .* no such folder"),
        ("", {}, "--dataset is empty"),
        ("~nobody-of-that-name/x", {}, "--dataset .* no such folder"),
        ("/" + "x" * 300, {}, "--dataset .* no such folder"),
        ("{}", {"revision": "v1"}, "--revision v1: .* has no revisions"),
    ],
)
def test_what_is_no_folder_is_told_and_a_folder_has_no_revisions(name, more, message, tmp_path):
    (tmp_path / "file.jpg").write_bytes(b"x")
    with pytest.raises(TrainingError, match=message):
        DataSettings(dataset=name.format(tmp_path), **more)


def test_a_stream_from_the_hub_brings_labels_and_needs_it_once(hub, tmp_path, capsys):
    for shard in range(2):
        path = tmp_path / f"data set/data/train-{shard:05}-of-00002.parquet"
        identity = (Value("int64"), lambda number: number + 100)
        write_table(path, range(shard * 10, shard * 10 + 10), celeb_id=identity, **ATTRIBUTES)
    hub.add_folder("dataset", "tester/labelled", tmp_path / "data set")
    its = DataSettings(dataset="tester/labelled", cache_dir=tmp_path / "cache")
    hub.fault = "refuse"
    with pytest.raises(TrainingError, match="^[^\n]*the Hub cannot be reached[^\n]*$"):
        find_source(its, "train")
    hub.fault = None
    with open_split(its, "train") as faces:
        assert faces.label_names == ("Odd", "High")
        batches = [batch for epoch in (1, 2) for batch in faces.batches(epoch, 5, seed=0)]
    assert len(batches) == 8 and all(map(corresponds, batches))
    hub.fault = "refuse"
    with open_split(its, "train") as faces:
        assert faces.is_cached and corresponds(faces[:]) and faces.label_names == ("Odd", "High")
    assert "The Hub cannot be reached; using the cached revision" in capsys.readouterr().out


# What is held out.


@pytest.mark.parametrize("size, held", [(60, 6), (20, 2), (4, 2), (3, None)])
def test_of_a_small_set_a_tenth_is_held_out(size, held, tmp_path, capsys):
    save_all(tmp_path / "mine", [f"{number:02}" for number in range(size)])
    its = gan.GANSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache")
    if held is None:
        with pytest.raises(TrainingError, match="holds 3 faces: 4 are the least"):
            open_held_out(its, "valid", 500)
        return
    found = open_held_out(its, "valid", 500)
    assert found.skip == len(found.faces) == held and found.split == "train"
    assert f"the first {held} faces, a tenth of {size}, of 'train' are held out" in capsys.readouterr().out
    with open_faces(its, found.skip) as faces:
        assert sorted(numbers(found.faces) + numbers(faces[:].pixels)) == list(range(size))


@pytest.mark.parametrize("split", ["train+valid", "all", "valid+train", "train+validation", "valid", "train"])
def test_whatever_is_trained_on_is_not_held_out(split, tmp_path):
    save_all(tmp_path / "mine", [f"{'train' if number < 20 else 'valid'}/{number:02}" for number in range(40)])
    its = settings(tmp_path, split=split)
    held_out = open_held_out(its, "valid", 6)
    assert (held_out.split, held_out.skip) == (("valid", 0) if split == "train" else (split, len(held_out.faces)))
    with opened(tmp_path, split, skip=held_out.skip) as faces:
        trained = numbers(faces[:].pixels)
    assert len(held_out.faces) >= 2 and not set(trained) & set(numbers(held_out.faces))
    assert len(trained) == len(set(trained))


def test_held_out_faces_are_those_of_valid_where_there_is_no_test_and_names_of_ones_own_must_be_there(tmp_path):
    save_all(tmp_path / "mine", ["train/0", "train/1", "val/2", "val/3"])
    found = open_held_out(settings(tmp_path), "test", 500)
    assert (found.split, found.skip, sorted(numbers(found.faces))) == ("valid", 0, [2, 3])
    with pytest.raises(UnknownSplit, match="no split 'friends'"):
        open_held_out(settings(tmp_path), "friends", 500)
