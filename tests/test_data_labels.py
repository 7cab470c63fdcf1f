"""Labels travel with the faces. A picture here is of one grey level, its number; so what it is called can be told."""

import json
import zipfile
import zlib
from pathlib import Path

import datasets
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from PIL import Image

from tests.conftest import encode
from train import data, distributed, gan, generators, source
from train.data import Faces, open_split
from train.settings import DataSettings, TrainingError
from train.source import find_source


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (64, 64), (number, number, number))


def numbers(pixels: torch.Tensor) -> list[int]:
    return pixels[:, 0, 0, 0].tolist()


def write_table(path: Path, pictures: range, damaged: tuple[int, ...] = (), **columns) -> None:
    """A parquet file; each column is its feature and what makes its value of a picture's number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [encode(picture(number), "PNG")[: 30 if number in damaged else None] for number in pictures]
    rows = {"image": [{"bytes": one, "path": None} for one in content]}
    rows |= {name: [value(number) for number in pictures] for name, (_, value) in columns.items()}
    features = Features({"image": datasets.Image(), **{name: feature for name, (feature, _) in columns.items()}})
    Dataset.from_dict(rows, features).to_parquet(path)


# Two attributes that together tell four neighbours apart.
ATTRIBUTES = {
    "Odd": (Value("bool"), lambda number: number % 2 == 1),
    "High": (Value("int64"), lambda number: number // 2 % 2),
}


def labels_of(number: int) -> list[int]:
    return [1 if number % 2 else -1, 1 if number // 2 % 2 else -1]


def corresponds(batch: data.Batch) -> bool:
    assert batch.labels.dtype == torch.int8 and len(batch.labels) == len(batch.pixels) > 0
    return batch.labels.tolist() == [labels_of(number) for number in numbers(batch.pixels)]


def everything(faces: Faces) -> data.Batch:
    count = len(faces)
    return data.Batch(faces[:count], faces.labels(slice(count)))


def settings(tmp_path, folder="mine", **more) -> DataSettings:
    return DataSettings(dataset=str(tmp_path / folder), cache_dir=tmp_path / "cache", **more)


def save(number: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path)


# Of tables.


@pytest.mark.parametrize("cached", [False, True])
def test_labels_follow_their_faces_through_shuffles_and_devices(cached, tmp_path):
    write_table(tmp_path / "mine/train.parquet", range(40), **ATTRIBUTES)
    if cached:
        with open_split(settings(tmp_path), "train") as faces:
            len(faces)
    with open_split(settings(tmp_path), "train", skip=3) as faces:
        assert faces.label_names == ("Odd", "High")
        streamed, shuffled = (list(faces.batches(epoch, 6, seed=1)) for epoch in (1, 2))
        assert faces.hold(torch.device("cpu"))
        held = list(faces.batches(2, 6, seed=1))
    came = [number for batch in streamed for number in numbers(batch.pixels)]
    assert len(set(came)) == len(came) and set(came) < set(range(3, 40))
    assert len(streamed) == len(shuffled) == len(held) == 6
    assert all(map(corresponds, (*streamed, *shuffled, *held)))
    assert numbers(shuffled[0].pixels) == numbers(held[0].pixels) != sorted(numbers(held[0].pixels))


def test_the_first_epoch_brings_labels_before_the_stream_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 8)
    write_table(tmp_path / "mine/train.parquet", range(40), **ATTRIBUTES)
    with open_split(settings(tmp_path), "train", limit=8) as faces:
        assert corresponds(next(faces.batches(1, 8, seed=0)))
        assert faces._state.count == 8 and not faces._state.complete


def test_each_process_gets_its_rows_of_both(tmp_path, monkeypatch):
    write_table(tmp_path / "mine/train.parquet", range(8), **ATTRIBUTES)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with open_split(settings(tmp_path), "train") as faces:
        for epoch in (1, 2):
            shares = []
            for rank in (0, 1):
                monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
                shares += faces.batches(epoch, 8, seed=0)
            assert all(map(corresponds, shares)) and [len(share.pixels) for share in shares] == [4, 4]
            assert sorted(numbers(shares[0].pixels) + numbers(shares[1].pixels)) == list(range(8))


CLASSES = ("calm", "glad", "sad")
WIDE = ClassLabel(names=[f"person {number}" for number in range(51)])


@pytest.mark.parametrize(
    "feature, value, names, labels",
    [
        (Value("bool"), lambda number: number > 1, ("column",), [[-1], [-1], [1]]),
        (Value("bool"), lambda number: False, ("column",), [[-1], [-1], [-1]]),
        (Value("int8"), lambda number: int(number > 1), ("column",), [[-1], [-1], [1]]),
        (Value("uint64"), lambda number: int(number == 0), ("column",), [[1], [-1], [-1]]),
        (Value("int64"), lambda number: -1 if number else 1, ("column",), [[1], [-1], [-1]]),
        (Value("int64"), lambda number: -1, ("column",), [[-1], [-1], [-1]]),
        (ClassLabel(names=["no", "yes"]), lambda number: int(number > 1), ("yes",), [[-1], [-1], [1]]),
        (
            ClassLabel(names=list(CLASSES)),
            lambda number: 2 - number,
            CLASSES,
            [[-1, -1, 1], [-1, 1, -1], [1, -1, -1]],
        ),
        (Value("float32"), lambda number: float(number > 1), ("column",), [[-1], [-1], [1]]),
        (Value("string"), lambda number: "Yes" if number else "no", ("column",), [[-1], [1], [1]]),
        (Value("string"), lambda number: str(number > 1), ("column",), [[-1], [-1], [1]]),
        (Value("large_string"), lambda number: "nf"[number > 0], (), [[], [], []]),
        # Identities, counts, classes in their order, and what is no bit at all.
        (WIDE, lambda number: number, (), [[], [], []]),
        (ClassLabel(names=["face"]), lambda number: 0, (), [[], [], []]),
        (Value("int64"), lambda number: number, (), [[], [], []]),
        (Value("int64"), lambda number: 0, (), [[], [], []]),
        (Value("int64"), lambda number: 1, (), [[], [], []]),
        (Value("float32"), lambda number: number / 2, (), [[], [], []]),
        (Value("string"), lambda number: "cat", (), [[], [], []]),
        (Value("string"), lambda number: f"{number}.jpg", (), [[], [], []]),
        (Value("bool"), lambda number: None, (), [[], [], []]),
        (ClassLabel(names=["no", "yes"]), lambda number: -1, (), [[], [], []]),
    ],
)
def test_columns_of_bits_and_of_few_classes_are_labels(feature, value, names, labels, tmp_path):
    write_table(tmp_path / "mine/train.parquet", range(3), column=(feature, value))
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == names
        assert everything(faces).labels.tolist() == labels
        (batch,) = faces.batches(2, 3, seed=0)
        assert batch.labels.shape == (3, len(names)) and batch.labels.dtype == torch.int8
        assert faces.hold(torch.device("cpu")) and len(list(faces.batches(2, 3, seed=0))) == 1


@pytest.mark.parametrize(
    "feature, value, names, labels",
    [
        (
            Value("string"),
            lambda number: CLASSES[number // 4],
            CLASSES,
            [[number // 4 == k for k in range(3)] for number in range(12)],
        ),
        (Value("string"), lambda number: ("m", "f")[number % 2], ("m",), [[number % 2 == 0] for number in range(12)]),
        (Value("string"), lambda number: "ny"[number % 2], ("column",), [[number % 2 == 1] for number in range(12)]),
        (
            List(Value("string")),
            lambda number: ["a"] * (number % 2) + ["b"] * (number > 5),
            ("a", "b"),
            [[number % 2, number > 5] for number in range(12)],
        ),
        (
            List(ClassLabel(names=["x", "y"])),
            lambda number: [number % 2],
            ("x", "y"),
            [[1 - number % 2, number % 2] for number in range(12)],
        ),
        (
            {"p": Value("bool"), "q": Value("int8")},
            lambda number: {"p": number > 3, "q": number % 2},
            ("p", "q"),
            [[number > 3, number % 2] for number in range(12)],
        ),
    ],
    ids=["words in order", "two words", "letters", "lists", "lists of classes", "mappings"],
)
def test_words_lists_and_mappings_are_labels(feature, value, names, labels, tmp_path, monkeypatch):
    """The first rows, of one class alone, do not tell of the others."""
    monkeypatch.setattr(source, "ROWS", 4)
    write_table(tmp_path / "mine/train.parquet", range(12), column=(feature, value))
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == names
        assert everything(faces).labels.tolist() == [[1 if label else -1 for label in row] for row in labels]


def test_classes_of_the_same_name_are_told_apart_by_their_columns(tmp_path):
    yes = (ClassLabel(names=["no", "yes"]), lambda number: number % 2)
    write_table(tmp_path / "mine/train.parquet", range(2), Hat=yes, Beard=yes, Odd=ATTRIBUTES["Odd"])
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == ("Hat yes", "Beard yes", "Odd")


def test_a_column_that_is_empty_for_many_pictures_is_no_label_and_stops_nothing(tmp_path):
    sparse = (Value("bool"), lambda number: None if number % 3 else True)
    write_table(tmp_path / "mine/train.parquet", range(30), Sparse=sparse, **ATTRIBUTES)
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == ("Odd", "High") and len(faces) == 30


def test_labels_are_dropped_with_damaged_pictures_and_limits_and_skips_cut_both(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 5)
    write_table(tmp_path / "mine/train.parquet", range(24), damaged=(0, 7, 8), **ATTRIBUTES)
    with open_split(settings(tmp_path), "train", limit=9, skip=2) as faces:
        assert corresponds(everything(faces))
        assert numbers(faces[:9]) == [3, 4, 5, 6, 9, 10, 11, 12, 13]
    with open_split(settings(tmp_path), "train") as faces:
        assert corresponds(everything(faces)) and len(faces) == 21


@pytest.mark.parametrize("harm", ["cut", "labels half written", "labels short", "labels gone", "pixels short"])
def test_a_fill_that_was_cut_goes_on_with_the_same_labels(harm, tmp_path, monkeypatch, capsys):
    """What the integers mean is seen in the first rows; those where the fill goes on, all 1, would not say."""
    monkeypatch.setattr(data, "CHUNK", 4)
    monkeypatch.setattr(source, "ROWS", 4)
    late = (Value("int64"), lambda number: 1 if number >= 8 else -1)
    write_table(tmp_path / "mine/train.parquet", range(20), Late=late, **ATTRIBUTES)
    with open_split(settings(tmp_path), "train", limit=12) as faces:
        len(faces)
    path = faces._labels_path
    assert path.stat().st_size == 12 * 3
    if harm == "labels half written":
        path.write_bytes(path.read_bytes() + b"\1")
    elif harm == "labels short":
        path.write_bytes(path.read_bytes()[:20])
    elif harm == "labels gone":
        path.unlink()
    elif harm == "pixels short":
        with open(faces._pixels_path, "r+b") as file:
            file.truncate(data.FACE_BYTES * 5)
    with open_split(settings(tmp_path), "train") as faces:
        batch = everything(faces)
        assert numbers(batch.pixels) == list(range(20)) and faces.label_names == ("Late", "Odd", "High")
        assert batch.labels[:, 0].tolist() == [-1] * 8 + [1] * 12
        assert corresponds(data.Batch(batch.pixels, batch.labels[:, 1:]))
    assert path.stat().st_size == 20 * 3 and capsys.readouterr().out == ""
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.is_cached and torch.equal(everything(faces).labels, batch.labels)


def test_a_fill_that_was_cut_at_the_very_end_keeps_its_labels(tmp_path):
    write_table(tmp_path / "mine/train.parquet", range(8), **ATTRIBUTES)
    with open_split(settings(tmp_path), "train", limit=8) as faces:
        assert len(faces) == 8 and not faces._state.complete
    with open_split(settings(tmp_path), "train") as faces:
        assert corresponds(everything(faces)) and faces.label_names == ("Odd", "High")


def test_several_splits_bring_their_labels(tmp_path):
    write_table(tmp_path / "mine/data/train-00000-of-00001.parquet", range(6), **ATTRIBUTES)
    write_table(tmp_path / "mine/data/valid-00000-of-00001.parquet", range(6, 10), **ATTRIBUTES)
    with open_split(settings(tmp_path), "train+valid") as faces:
        assert corresponds(everything(faces)) and len(faces) == 10


def test_a_data_set_that_was_saved_to_disk_has_labels(tmp_path):
    write_table(tmp_path / "table/train.parquet", range(6), **ATTRIBUTES)
    loaded = datasets.load_dataset(str(tmp_path / "table"), cache_dir=tmp_path / "hub", split="train")
    loaded.save_to_disk(tmp_path / "mine")
    with open_split(settings(tmp_path), "train") as faces:
        assert corresponds(everything(faces)) and faces.label_names == ("Odd", "High")


def test_of_tables_with_different_columns_only_common_labels_are_taken(tmp_path):
    write_table(tmp_path / "tables/train.parquet", range(4), Hat=(Value("bool"), lambda number: True), **ATTRIBUTES)
    write_table(tmp_path / "tables/test.parquet", range(4, 8), **ATTRIBUTES)
    tables = {split: Dataset.from_parquet(str(tmp_path / f"tables/{split}.parquet")) for split in ("train", "test")}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "mine")
    for split, names in (("train", 3), ("test", 2), ("train+test", 2), ("test+train", 2)):
        with open_split(settings(tmp_path), split) as faces:
            assert len(faces.label_names) == names and (names == 3 or corresponds(everything(faces)))


@pytest.mark.parametrize(
    "feature, value, reason",
    [
        (Value("bool"), lambda number: None if number == 5 else True, "Column 'column' says nothing of it."),
        (
            ClassLabel(names=["no", "yes"]),
            lambda number: -1 if number == 5 else 1,
            "Column 'column' says nothing of it.",
        ),
        (
            Value("int64"),
            lambda number: 7 if number == 5 else number % 2,
            "Column 'column' holds 7, which is not 0 or 1.",
        ),
    ],
)
def test_a_picture_without_labels_among_labelled_ones_is_named(feature, value, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(source, "ROWS", 4)
    write_table(tmp_path / "mine/train.parquet", range(8), column=(feature, value), **ATTRIBUTES)
    with open_split(settings(tmp_path), "train") as faces:
        batch = everything(faces)
    assert numbers(batch.pixels) == [0, 1, 2, 3, 4, 6, 7]
    assert corresponds(data.Batch(batch.pixels, batch.labels[:, 1:]))
    told = capsys.readouterr().out
    assert "row 5 cannot be read and is left out: " in told and reason in told
    with pytest.raises(TrainingError, match="--strict: row 5 of "):
        open_split(settings(tmp_path, strict=True), "train")


def test_integers_that_turn_out_to_be_no_bits_are_told_with_their_column(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "ROWS", 4)
    write_table(tmp_path / "mine/train.parquet", range(20), kind=(Value("int64"), lambda number: min(number, 9)))
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == ()
    write_table(
        tmp_path / "mine/train.parquet", range(40), kind=(Value("int64"), lambda number: number % 2 + number // 9)
    )
    with pytest.raises(TrainingError, match="more than 10 pictures .* Column 'kind' holds") as caught:
        open_split(settings(tmp_path), "train")
    assert "\n" not in str(caught.value)


# What a disk does to them, and what another version left.


def test_flipped_bits_of_labels_are_noticed_and_mended(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "CHUNK", 5)
    write_table(tmp_path / "mine/train.parquet", range(20), damaged=(3,), **ATTRIBUTES)
    with open_split(settings(tmp_path), "train") as faces:
        len(faces)
    capsys.readouterr()
    written = faces._labels_path.read_bytes()
    flipped = bytearray(written)
    flipped[2 * 12] ^= 0x80
    faces._labels_path.write_bytes(flipped)
    with open_split(settings(tmp_path), "train") as faces:
        assert corresponds(data.Batch(faces[:4], faces.labels(slice(4)))) and capsys.readouterr().out == ""
        assert all(map(corresponds, faces.batches(2, 6, seed=0)))
    assert "Faces 9 to 13 of the cache" in capsys.readouterr().out
    assert faces._labels_path.read_bytes() == written
    with open_split(settings(tmp_path), "train") as faces:
        assert corresponds(everything(faces)) and capsys.readouterr().out == ""


def test_a_cache_from_before_there_were_labels_is_filled_anew(tmp_path):
    write_table(tmp_path / "mine/train.parquet", range(8), **ATTRIBUTES)
    with open_split(settings(tmp_path), "train") as faces:
        len(faces)
    state = json.loads(faces._state_path.read_text())
    del state["label_names"], state["checksum"]
    state["checksum"] = zlib.crc32(json.dumps(state, sort_keys=True).encode())
    faces._state_path.write_text(json.dumps(state))
    with open_split(settings(tmp_path), "train") as faces:
        assert not faces.is_cached and corresponds(everything(faces))


# Of folders.


def write_celeba(folder: Path, lines: str, name: str = "list_attr_celeba.txt") -> None:
    for number in range(8):
        save(number, folder / f"img_align_celeba/{number:06}.png")
    (folder / name).write_text(lines)


LINES = "".join(f"{number:06}.jpg {' '.join(map(str, labels_of(number)))}\n" for number in range(8))


@pytest.mark.parametrize(
    "name, lines",
    [
        ("list_attr_celeba.txt", "8\nOdd High\n" + LINES),
        ("list_attr_celeba.txt", "8\r\nOdd High \r\n" + LINES.replace(" ", "  ").replace("\n", "\r\n")),
        ("list_attr_celeba.csv", "image_id,Odd,High\n" + LINES.replace(" ", ",")),
        ("list_attr_celeba.csv", "image_id,Odd,High\n" + LINES.replace(" ", ",").replace("-1", "0")),
    ],
)
def test_celebas_attributes_are_labels_without_its_partition_too(name, lines, tmp_path):
    write_celeba(tmp_path / "mine", lines, name)
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == ("Odd", "High") and corresponds(everything(faces)) and len(faces) == 8


def test_attributes_of_celeba_are_in_the_caches_name(tmp_path):
    write_celeba(tmp_path / "mine", "8\nOdd High\n" + LINES)
    before = find_source(settings(tmp_path), "train").cache_name
    assert find_source(settings(tmp_path), "train").cache_name == before
    lines = "8\nOdd High\n" + LINES.replace("7.jpg 1 1", "7.jpg 1 -1")
    (tmp_path / "mine/list_attr_celeba.txt").write_text(lines)
    assert find_source(settings(tmp_path), "train").cache_name != before


def test_a_picture_that_has_no_attributes_is_named(tmp_path, capsys):
    write_celeba(
        tmp_path / "mine", "8\nOdd High\n" + LINES.replace("000002.jpg -1", "x -1").replace("5.jpg 1", "5.jpg")
    )
    with open_split(settings(tmp_path), "train") as faces:
        batch = everything(faces)
    assert corresponds(batch) and sorted(numbers(batch.pixels)) == [0, 1, 3, 4, 6, 7]
    told = capsys.readouterr().out
    for name in ("img_align_celeba/000002.png", "img_align_celeba/000005.png"):
        assert f"{name} cannot be read and is left out: list_attr_celeba.txt has no line of it" in told


@pytest.mark.parametrize("lines", ["", "8\n", "8\nOdd High\n", "<html>not\nfound here</html>\n", "\0\1\2"])
def test_a_file_of_attributes_that_has_none_is_told(lines, tmp_path):
    write_celeba(tmp_path / "mine", lines)
    with pytest.raises(TrainingError, match="list_attr_celeba.txt has no .*: restore it, or move it away"):
        find_source(settings(tmp_path), "train")


def test_pictures_in_folders_of_classes_are_labelled_by_them(tmp_path):
    for number, place in enumerate(["train/dog/a", "train/cat/b", "train/dog/deep/c", "val/cat/d", "val/dog/e"]):
        save(number, tmp_path / f"mine/{place}.png")
    for split, labels in (("train", {0: "dog", 1: "cat", 2: "dog"}), ("valid", {3: "cat", 4: "dog"})):
        with open_split(settings(tmp_path), split) as faces:
            batch = everything(faces)
            assert faces.label_names == ("cat", "dog")
        its = {
            number: ("cat", "dog")[row.index(1)] for number, row in zip(numbers(batch.pixels), batch.labels.tolist())
        }
        assert its == labels and batch.labels.sum(1).tolist() == [0] * len(its)
    with open_split(settings(tmp_path), "train+val") as faces:
        assert len(faces) == 5 and everything(faces).labels[:, 1].tolist() == [-1, 1, 1, -1, 1]


def test_folders_of_classes_in_a_zip_file_are_labels_and_their_names_printable(tmp_path):
    (tmp_path / "mine").mkdir()
    with zipfile.ZipFile(tmp_path / "mine/all.zip", "w") as archive:
        for number, folder in enumerate(("été", "a b")):
            archive.writestr(f"train/{folder}/{number}.png", encode(picture(number), "PNG"))
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == ("a b", "été")
        batch = everything(faces)
        assert dict(zip(numbers(batch.pixels), batch.labels.tolist())) == {0: [-1, 1], 1: [1, -1]}
    for number, name in enumerate((b"train/\xff", b"train/\xfe")):
        save(number, tmp_path / f"other/{name.decode('utf-8', 'surrogateescape')}/{number}.png")
    with open_split(settings(tmp_path, "other"), "train") as faces:
        assert faces.label_names == (r"\udcfe", r"\udcff") and len(faces) == 2


@pytest.mark.parametrize(
    "places",
    [
        ["train/cat/0", "train/cat/1"],
        ["train/cat/0", "train/dog/1", "train/2"],
        ["train/0", "train/1"],
        ["cat/train/0", "dog/train/1"],
        ["train/images/0", "train/images/1", "valid/pictures/2"],
        ["train/cat/0", "train/dog/1", "outside/2"],
        ["holiday/0", "2019/1"],
        [f"train/{number}/{number}" for number in range(51)],
    ],
)
def test_other_folders_are_no_labels(places, tmp_path):
    for number, place in enumerate(places):
        save(number, tmp_path / f"mine/{place}.png")
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == () and faces.labels(slice(2)).shape == (2, 0)


def test_where_one_split_has_no_labels_both_together_have_none(tmp_path):
    for number, place in enumerate(["train/dog/a", "train/cat/b", "test/c"]):
        save(number, tmp_path / f"mine/{place}.png")
    for split, names in (("train", ("cat", "dog")), ("test", ()), ("train+test", ())):
        with open_split(settings(tmp_path), split) as faces:
            assert faces.label_names == names and everything(faces).labels.shape[1] == len(names)


# From the Hub, and to the trainers.


def test_a_stream_from_the_hub_brings_labels_and_needs_it_once(hub, tmp_path):
    folder = tmp_path / "data set"
    for shard in range(2):
        path = folder / f"data/train-{shard:05}-of-00002.parquet"
        identity = (Value("int64"), lambda number: number + 100)
        write_table(path, range(shard * 10, shard * 10 + 10), celeb_id=identity, **ATTRIBUTES)
    hub.add_folder("dataset", "tester/labelled", folder)
    its = DataSettings(dataset="tester/labelled", cache_dir=tmp_path / "cache")
    with open_split(its, "train") as faces:
        assert faces.label_names == ("Odd", "High")
        batches = [batch for epoch in (1, 2) for batch in faces.batches(epoch, 5, seed=0)]
    assert len(batches) == 8 and all(map(corresponds, batches))
    hub.fault = "refuse"
    with open_split(its, "train") as faces:
        assert faces.is_cached and corresponds(everything(faces)) and faces.label_names == ("Odd", "High")


def test_a_trainer_is_given_each_batchs_labels(tmp_path, monkeypatch):
    write_table(tmp_path / "mine/train.parquet", range(16), **ATTRIBUTES)
    given = []

    def step(self, images, number, labels):
        given.append((images, labels))
        return {"a_loss": torch.tensor(1.0)}

    monkeypatch.setattr(generators.GANTrainer, "step", step)
    small = [
        "--passes",
        "1",
        "--batch-size",
        "8",
        "--latent-size",
        "10",
        "--hidden-size",
        "4",
        "--discrete-size",
        "5",
        "--epochs",
        "2",
    ]
    folders = ["--dataset", str(tmp_path / "mine"), "--cache-dir", str(tmp_path / "cache")]
    gan.main([*small, *folders, "--output", str(tmp_path / "run")])
    assert len(given) == 4
    for images, labels in given:
        assert labels.dtype == torch.float32 and labels.device == images.device
        seen = ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
        assert labels.tolist() == [labels_of(number) for number in seen]
