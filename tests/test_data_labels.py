"""Which columns, files and folders are labels, what each face's are, and why others are none."""

import re
import zipfile

import datasets
import pytest
import torch
from datasets import ClassLabel, Dataset, List, Value

from tests.conftest import encode
from tests.grey import (
    ATTRIBUTES,
    corresponds,
    labels_of,
    numbers,
    opened,
    picture,
    save,
    save_all,
    settings,
    write_table,
)
from train import attribute_gan, data, gan, generators, source
from train.data import open_faces
from train.settings import TrainingError
from train.source import find_source

SMALL = ["--passes", "1", "--batch-size", "4", "--latent-size", "10", "--hidden-size", "4", "--discrete-size", "5"]
SMALL_ATTRIBUTE_GAN = [*SMALL, "--channels", "4", "4", "4", "4", "4"]


def folders(tmp_path) -> list[str]:
    names = {"--dataset": "mine", "--cache-dir": "cache", "--output": "run"}
    return [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]


def told(tmp_path, capsys, **more) -> str:
    """The line about labels that a run prints."""
    with open_faces(gan.GANSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache", **more)):
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("Labels", "No labels"))]
    return line


# Columns of tables. Each case is a column: its feature, and what makes its value of a number n up to 12; then the labels'
# names, and which of them n has. The first rows, read four at a time, do not tell of the others.
BOOL, INT8, INT64, FLOAT, STRING = (Value(kind) for kind in ("bool", "int8", "int64", "float32", "string"))
COLUMNS = {
    "bool": (BOOL, lambda n: n > 1, ("bool",), lambda n: [n > 1]),
    "never": (BOOL, lambda n: False, ("never",), lambda n: [False]),
    "zero or one": (INT8, lambda n: n % 2, ("zero or one",), lambda n: [n % 2]),
    "minus one": (INT64, lambda n: n % 2 * 2 - 1, ("minus one",), lambda n: [n % 2]),
    "always minus one": (INT64, lambda n: -1, ("always minus one",), lambda n: [False]),
    "float": (FLOAT, lambda n: float(n > 1), ("float",), lambda n: [n > 1]),
    "yes": (STRING, lambda n: "Yes" if n > 6 else "no", ("yes",), lambda n: [n > 6]),
    "true": (STRING, lambda n: str(n > 1), ("true",), lambda n: [n > 1]),
    "letters": (STRING, lambda n: "ny"[n % 2], ("letters",), lambda n: [n % 2]),
    "two classes": (ClassLabel(names=["no", "wide"]), lambda n: n % 2, ("wide",), lambda n: [n % 2]),
    "classes": (
        ClassLabel(names=["c", "g", "s"]),
        lambda n: n // 4,
        ("c", "g", "s"),
        lambda n: [n < 4, 3 < n < 8, n > 7],
    ),
    "words": (Value("large_string"), lambda n: "rkt"[n // 4], ("k", "r", "t"), lambda n: [3 < n < 8, n < 4, n > 7]),
    "two words": (STRING, lambda n: "mf"[n % 2], ("m",), lambda n: [n % 2 == 0]),
    "lists": (List(STRING), lambda n: ["a"] * (n % 2) + ["b"] * (n > 5), ("a", "b"), lambda n: [n % 2, n > 5]),
    "lists of classes": (
        List(ClassLabel(names=["x", "z"])),
        lambda n: [n % 2],
        ("x", "z"),
        lambda n: [1 - n % 2, n % 2],
    ),
    "mapping": ({"p": BOOL, "q": INT8}, lambda n: {"p": n > 3, "q": n % 2}, ("p", "q"), lambda n: [n > 3, n % 2]),
}


def test_columns_of_which_the_meaning_is_plain_are_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "ROWS", 4)
    columns = {name: (feature, value) for name, (feature, value, *_) in COLUMNS.items()}
    write_table(tmp_path / "mine/train.parquet", range(12), **columns)
    with opened(tmp_path) as faces:
        rows = faces.labels(slice(None))
        found, place = {}, 0
        for name, (*_, names, _) in COLUMNS.items():
            found[name] = (faces.label_names[place : place + len(names)], rows[:, place : place + len(names)].tolist())
            place += len(names)
    assert place == len(faces.label_names) and rows.dtype == torch.int8 and faces.state.label_note == ""
    for name, (*_, names, labels) in COLUMNS.items():
        assert found[name] == (names, [[1 if label else -1 for label in labels(number)] for number in range(12)]), name


# Likewise, and why it is no label.
OTHERS = {
    "identity": (ClassLabel(names=[str(k) for k in range(51)]), lambda n: n % 51, "holds 51 different words"),
    "one class": (ClassLabel(names=["face"]), lambda n: 0, "it is always 'face'"),
    "count": (INT64, lambda n: n, "it holds 60 different numbers"),
    "kind": (INT64, lambda n: n % 3, "it holds 0, 1, 2, which may be counts or classes"),
    "one": (INT64, lambda n: 1, "it is always 1"),
    "score": (FLOAT, lambda n: n / 7, "different numbers"),
    "word": (STRING, lambda n: "cat", "it is always 'cat'"),
    "name": (STRING, lambda n: f"{n}.txt", "it holds 60 different words, more than 50"),
    "nothing": (BOOL, lambda n: None, "it is empty"),
    "sparse": (BOOL, lambda n: None if n % 3 else True, "it says nothing of 40 of 60 pictures"),
    "unknown": (INT64, lambda n: n % 3 - 1, "it is -1, beside 0 and 1 for no and yes, for 20 of 60"),
    "numbers": (List(INT64), lambda n: [n], "its lists hold numbers"),
    "date": (Value("date32"), lambda n: None, "it is of type date32"),
}


@pytest.mark.parametrize("some", [list(OTHERS)[:6], list(OTHERS)[6:]], ids=str)
def test_other_columns_are_named_with_the_reason(some, tmp_path, capsys):
    columns = {name: (feature, value) for name, (feature, value, _) in OTHERS.items() if name in some}
    write_table(tmp_path / "mine/train.parquet", range(60), **columns, **ATTRIBUTES)
    for _ in ("read", "cached"):
        line = told(tmp_path, capsys)
        assert line.startswith("Labels (2): Odd, High. No labels: ")
        for name in some:
            assert re.search(rf"\b{name} \([^(]*{OTHERS[name][2]}", line), (name, line)


def test_classes_of_the_same_name_are_told_apart_by_their_columns(tmp_path):
    yes = (ClassLabel(names=["no", "yes"]), lambda number: number % 2)
    write_table(tmp_path / "mine/train.parquet", range(2), Hat=yes, Beard=yes, Odd=ATTRIBUTES["Odd"])
    with opened(tmp_path) as faces:
        assert faces.label_names == ("Hat yes", "Beard yes", "Odd")


@pytest.mark.parametrize(
    "feature, value, reason",
    [
        (Value("bool"), lambda number: None if number == 5 else True, "says nothing of it."),
        (ClassLabel(names=["no", "yes"]), lambda number: -1 if number == 5 else 1, "says nothing of it."),
        (Value("int64"), lambda number: 7 if number == 5 else number % 2, "holds 7, which is not 0 or 1."),
    ],
)
def test_a_picture_without_labels_among_labelled_ones_is_named(feature, value, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(source, "ROWS", 4)
    write_table(tmp_path / "mine/train.parquet", range(8), column=(feature, value), **ATTRIBUTES)
    with opened(tmp_path) as faces:
        batch = faces.batch(slice(None))
    assert numbers(batch.pixels) == [0, 1, 2, 3, 4, 6, 7]
    assert corresponds(data.Batch(batch.pixels, batch.labels[:, 1:]))
    assert f"row 5 cannot be read and is left out: Column 'column' {reason}" in capsys.readouterr().out


def test_several_splits_bring_the_labels_that_all_have_and_so_do_data_sets_that_were_saved_to_disk(tmp_path):
    hat = (Value("bool"), lambda number: True)
    write_table(tmp_path / "mine/train.parquet", range(4), **ATTRIBUTES, Hat=hat)
    write_table(tmp_path / "mine/test.parquet", range(4, 8), **ATTRIBUTES, Hat=hat)
    with opened(tmp_path, "train+test") as faces:
        assert faces.label_names == ("Odd", "High", "Hat") and numbers(faces[:]) == list(range(8))
    write_table(tmp_path / "mine/test.parquet", range(4, 8), **ATTRIBUTES)
    tables = {split: Dataset.from_parquet(str(tmp_path / f"mine/{split}.parquet")) for split in ("train", "test")}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "saved")
    for split, names in (("train", 3), ("test", 2), ("train+test", 2), ("test+train", 2)):
        with opened(tmp_path, split, folder="saved") as faces:
            assert len(faces.label_names) == names and (names == 3 or corresponds(faces.batch(slice(None))))


# Files of attributes.

LINES = "".join(f"{number:06}.jpg {' '.join(map(str, labels_of(number)))}\n" for number in range(8))
COMMAS = LINES.replace(" ", ",")
WORDS = COMMAS.replace(",-1", ",False").replace(",1", ",True")


@pytest.mark.parametrize(
    "text",
    [
        "8\nOdd High\n" + LINES,
        "8\r\nOdd High \r\n" + LINES.replace(" ", "  ").replace("\n", "\r\n"),
        "image_id,Odd,High\n" + COMMAS,
        "image,Odd,High\n" + WORDS,
        "image,Odd,High\n" + WORDS.replace("True", "yes").replace("False", "No"),
        "\ufeffimage;Odd;High\r\n" + COMMAS.replace("-1", "0").replace(",", ";").replace("\n", "\r\n"),
        '"image","Odd","High"\n' + re.sub(r"(\d+\.jpg)", r'"\1"', COMMAS),
        "image\tOdd\tHigh\n" + COMMAS.replace(",", "\t"),
        "image,Odd,High,remark\n" + COMMAS.replace("\n", ',"well, it is a picture"\n'),
    ],
    ids=["CelebA", "blanks", "Kaggle", "words", "yes and no", "semicolons", "quotes", "tabs", "a remark"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_attribute_file_is_read_whatever_a_spreadsheet_writes(text, encoding, tmp_path):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(8)])
    (tmp_path / "mine/list_attr_celeba.csv").write_text(text, encoding=encoding, newline="")
    with opened(tmp_path) as faces:
        assert faces.label_names == ("Odd", "High") and len(faces) == 8 and corresponds(faces.batch(slice(None)))


def test_names_of_an_attribute_file_may_hold_its_separator_and_a_change_of_it_makes_another_cache(tmp_path):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(8)])
    (tmp_path / "mine/list_attr_celeba.csv").write_text('"image","Odd","Hair, high"\n' + COMMAS)
    with opened(tmp_path) as faces:
        assert faces.label_names == ("Odd", "Hair, high") and corresponds(faces.batch(slice(None)))
    (tmp_path / "mine/list_attr_celeba.csv").write_text("image,Odd,High\n" + COMMAS.replace("7.jpg,1,1", "7.jpg,1,-1"))
    with opened(tmp_path) as faces:
        assert faces.labels(slice(None))[numbers(faces[:]).index(7)].tolist() == [1, -1]


def test_a_picture_that_has_no_attributes_is_named(tmp_path, capsys):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(8)])
    lines = LINES.replace("000002.jpg -1", "x -1").replace("5.jpg 1", "5.jpg").replace("6.jpg -1", "6.jpg ?")
    (tmp_path / "mine/list_attr_celeba.txt").write_text("8\nOdd High\n" + lines)
    with opened(tmp_path) as faces:
        batch = faces.batch(slice(None))
    assert corresponds(batch) and sorted(numbers(batch.pixels)) == [0, 1, 3, 4, 7]
    out = capsys.readouterr().out
    for name in ("000002.png", "000005.png"):
        assert f"{name} cannot be read and is left out: list_attr_celeba.txt has no line of it" in out
    assert "000006.png cannot be read and is left out: Column 'Odd' says nothing of it." in out


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "names"),
        ("8\nOdd High\n", "names"),
        ("<html>not\nfound here</html>\n", "labels"),
        ("\0\1\2", "names"),
        ("image,Odd,High\n" + COMMAS.replace("\n", ",1,1\n"), "its first line names 3 columns, and others have 5"),
        ("image,Age\n" + "".join(f"{number:06}.jpg,{number / 3}\n" for number in range(8)), r"Age \(it holds 0, 0.33"),
    ],
)
def test_an_attribute_file_that_cannot_be_read_says_why(text, reason, tmp_path):
    save(0, tmp_path / "mine/000000.png")
    (tmp_path / "mine/list_attr_celeba.csv").write_text(text)
    with pytest.raises(TrainingError, match=f"list_attr_celeba.csv has no .*{reason}.*: restore it, or move it away"):
        find_source(settings(tmp_path), "train")


# Folders of classes.


def test_pictures_in_folders_of_classes_are_labelled_by_them(tmp_path):
    save_all(tmp_path / "mine", ["train/dog/a", "train/cat/b", "train/dog/deep/c", "val/cat/d", "val/dog/e"])
    kinds = {0: "dog", 1: "cat", 2: "dog", 3: "cat", 4: "dog"}
    for split, its in (("train", {0, 1, 2}), ("valid", {3, 4}), ("train+val", {0, 1, 2, 3, 4})):
        with opened(tmp_path, split) as faces:
            batch = faces.batch(slice(None))
            assert faces.label_names == ("cat", "dog")
        found = dict(zip(numbers(batch.pixels), batch.labels.tolist()))
        assert found == {number: [1, -1] if kinds[number] == "cat" else [-1, 1] for number in its}
        assert "train" not in split or set(numbers(batch.pixels)[:3]) == {0, 1, 2}, "in the order of the splits"


def test_folders_of_classes_in_a_zip_file_are_labels_and_their_names_printable(tmp_path):
    (tmp_path / "mine").mkdir()
    with zipfile.ZipFile(tmp_path / "mine/all.zip", "w") as archive:
        for number, folder in enumerate(("été", "a b")):
            archive.writestr(f"train/{folder}/{number}.png", encode(picture(number), "PNG"))
    with opened(tmp_path) as faces:
        assert faces.label_names == ("a b", "été")
        batch = faces.batch(slice(None))
        assert dict(zip(numbers(batch.pixels), batch.labels.tolist())) == {0: [-1, 1], 1: [1, -1]}
    names = [name.decode("utf-8", "surrogateescape") for name in (b"train/\xff", b"train/\xfe")]
    save_all(tmp_path / "other", [f"{name}/1" for name in names])
    with opened(tmp_path, folder="other") as faces:
        assert faces.label_names == (r"\udcfe", r"\udcff") and len(faces) == 2


@pytest.mark.parametrize(
    "places, line",
    [
        (["train/cat/0", "train/dog/1"], r"Labels \(2\): cat, dog\.$"),
        (["tabby/0", "tuxedo/1"], "No labels: .* if tabby and tuxedo are classes, move them into a folder train"),
        (["0", "1"], "No labels: no picture lies in a class folder, such as train/cat.$"),
        (["cat/train/0", "dog/train/1"], "No labels: no picture lies in a class folder"),
        (["train/cat/0", "train/dog/1", "train/2"], "No labels: 1 picture lies in no class folder, .*: train/2.png"),
        (["train/cat/0", "train/dog/1", "outside/2"], "No labels: 1 picture lies in no class folder, .*: outside/2"),
        (["train/cat/0", "train/cat/1"], "No labels: there is one class folder only: train/cat"),
        ([f"train/{number}/{number}" for number in range(51)], "No labels: there are 51 folders in train, and 50 "),
    ],
)
def test_every_run_says_which_class_folders_it_found_or_why_none(places, line, tmp_path, capsys):
    save_all(tmp_path / "mine", places)
    for _ in ("read", "cached"):
        assert re.match(line, told(tmp_path, capsys))
    with opened(tmp_path) as faces:
        assert faces.labels(slice(2)).shape == (2, 2 if "cat, dog" in line else 0)


def test_labels_that_one_split_has_not_are_named_where_both_are_wanted(tmp_path, capsys):
    save_all(tmp_path / "mine", ["train/cat/0", "train/dog/1", "valid/cat/2", "valid/eel/3", "test/4"])
    assert told(tmp_path, capsys) == "Labels (2): cat, dog."
    line = told(tmp_path, capsys, split="train+valid")
    assert line == "No labels: valid: valid holds a class that no split before it has: eel."
    assert told(tmp_path, capsys, split="train+test").startswith("No labels: test: no picture lies in a class folder")


# To the trainers.


def test_a_trainer_is_given_each_batchs_labels(tmp_path, monkeypatch):
    write_table(tmp_path / "mine/train.parquet", range(16), **ATTRIBUTES)
    given = []

    def step(self, images, number, labels):
        given.append((images, labels))
        return {"a_loss": torch.tensor(1.0)}

    monkeypatch.setattr(generators.GANTrainer, "step", step)
    gan.main([*SMALL, "--epochs", "2", *folders(tmp_path)])
    assert len(given) == 8
    for images, labels in given:
        assert labels.dtype == torch.float32 and labels.device == images.device
        seen = ((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
        assert labels.tolist() == [labels_of(number) for number in seen]


def test_a_run_for_labels_without_any_stops_and_says_where_they_belong(tmp_path):
    save_all(tmp_path / "mine", [f"{kind}/{number}" for kind in ("tabby", "tuxedo") for number in range(4)])
    message = "needs labels.*tabby and tuxedo.*class folders below the folder of their split"
    with pytest.raises(TrainingError, match=message):
        attribute_gan.main([*SMALL_ATTRIBUTE_GAN, "--epochs", "1", *folders(tmp_path)])
    assert not (tmp_path / "run/model").exists()


def test_a_run_is_not_resumed_with_other_labels(tmp_path):
    save_all(tmp_path / "mine", [f"train/{kind}/{number}" for kind in ("cat", "dog") for number in range(4)])
    attribute_gan.main([*SMALL_ATTRIBUTE_GAN, "--epochs", "1", *folders(tmp_path)])
    files = [tmp_path / "run/checkpoint.pt", tmp_path / "run/run.json"]
    before = [file.read_bytes() for file in files]
    save(9, tmp_path / "mine/train/eel/9.png")
    for now in ("cat, dog, eel", "dog, eel, zebra"):
        with pytest.raises(TrainingError, match=f"--resume: .* began with cat, dog, and now there are {now};"):
            attribute_gan.main([*SMALL_ATTRIBUTE_GAN, "--epochs", "2", *folders(tmp_path), "--resume"])
        if now.startswith("cat"):
            (tmp_path / "mine/train/cat").rename(tmp_path / "mine/train/zebra")
    assert before == [file.read_bytes() for file in files]
