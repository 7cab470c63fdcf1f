"""Which columns, files and folders are labels, what each face's are, and why others are none."""

import csv
import json
import re
import unicodedata
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
    mapping = ({"Odd": INT8}, lambda number: {"Odd": 1})
    write_table(tmp_path / "mine/train.parquet", range(2), Hat=yes, Beard=yes, Odd=ATTRIBUTES["Odd"], more=mapping)
    with opened(tmp_path) as faces:
        assert faces.label_names == ("Hat yes", "Beard yes", "Odd")
        assert faces.state.label_note == "Odd (a column before it has that name)"


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
    assert f"row 5 (5.png) cannot be read and is left out: Column 'column' {reason}" in capsys.readouterr().out


def test_several_splits_bring_the_labels_that_all_have_and_so_do_data_sets_that_were_saved_to_disk(tmp_path):
    hat = (BOOL, lambda number: True)
    write_table(tmp_path / "mine/train.parquet", range(4), **ATTRIBUTES, Hat=hat)
    write_table(tmp_path / "mine/test.parquet", range(4, 8), **ATTRIBUTES, Hat=hat)
    with opened(tmp_path, "train+test") as faces:
        assert faces.label_names == ("Odd", "High", "Hat") and numbers(faces[:]) == list(range(8))
    write_table(tmp_path / "mine/test.parquet", range(4, 8), **ATTRIBUTES)
    tables = {split: Dataset.from_parquet(str(tmp_path / f"mine/{split}.parquet")) for split in ("train", "test")}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "saved")
    tables["test"].save_to_disk(tmp_path / "one")
    for folder, split, count in (("saved", "train", 3), ("saved", "train+test", 2), ("saved", "test+train", 2)):
        with opened(tmp_path, split, folder=folder) as faces:
            assert len(faces.label_names) == count and len(faces) == 4 * len(split.split("+"))
    for folder, split in (("saved", "test"), ("one", "train")):  # A table that is not told its split is train.
        with opened(tmp_path, split, folder=folder) as faces:
            assert numbers(faces[:]) == [4, 5, 6, 7] and corresponds(faces.batch(slice(None)))


# Lists of attributes.

LINES = "".join(f"{number:06}.jpg {' '.join(map(str, labels_of(number)))}\n" for number in range(8))
COMMAS = LINES.replace(" ", ",")
WORDS = COMMAS.replace(",-1", ",False").replace(",1", ",True")
HEADER = "image,Odd,High\n"


SPREADSHEETS = {
    "CelebA": "8\nOdd High\n" + LINES,
    "blanks": "8\r\nOdd High \r\n" + LINES.replace(" ", "  ").replace("\n", "\r\n"),
    "UTF-16": HEADER + COMMAS,
    "words": HEADER + WORDS,
    "yes and no": HEADER + WORDS.replace("True", "yes").replace("False", "No"),
    "scientific": HEADER + WORDS.replace("True", "1.000e+00").replace("False", "0.000E+00"),
    "German": "\ufeffimage;Odd;High\r\n" + WORDS.replace(",", ";").replace("True", "1,0").replace("False", "0,00"),
    "quotes": '"image","Odd","High"\n' + re.sub(r"(\d+\.jpg)", r'"\1"', COMMAS),
    "tabs": "image\tOdd\tHigh\n" + COMMAS.replace(",", "\t"),
    "remark": "image,Odd,High,remark\n" + COMMAS.replace("\n", ',"well, it is\na picture"\n'),
    "names last": "Odd,High,image\n" + re.sub(r"(.*?),(.*)", r"\2,\1", COMMAS),
    "index": ",image,Odd,High\n" + re.sub(r"0*(\d+)\.jpg", r"\1,\g<0>", COMMAS),
    "another machine": HEADER + re.sub(r"(0+\d)", r"C:\\My Pictures\\\1", COMMAS),
    "capitals": HEADER + COMMAS.replace(".jpg", ".JPG"),
    "no extensions": HEADER + COMMAS.replace(".jpg", ""),
}


@pytest.mark.parametrize("kind", SPREADSHEETS)
def test_an_attribute_file_is_read_whatever_a_spreadsheet_writes(kind, tmp_path):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(8)])
    content = SPREADSHEETS[kind].encode("utf-16" if kind == "UTF-16" else "utf-8")
    (tmp_path / "mine/List_attr_celeba.CSV").write_bytes(content)
    with opened(tmp_path) as faces:
        assert faces.label_names == ("Odd", "High") and len(faces) == 8 and corresponds(faces.batch(slice(None)))


def test_names_of_columns_may_be_odd_and_a_change_of_the_file_makes_another_cache(tmp_path):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(8)])
    file = tmp_path / "mine/list_attr_celeba.csv"
    for header, names in (
        ('"image","Odd","Hair, high"', ("Odd", "Hair, high")),
        ("image,Lächeln,Lächeln", ("Lächeln", "Lächeln 3")),
        ("image,,High", ("column 2", "High")),
    ):
        file.write_text(f"{header}\n{COMMAS}", encoding="cp1252")
        with opened(tmp_path) as faces:
            assert faces.label_names == names and corresponds(faces.batch(slice(None)))
    file.write_text(HEADER + COMMAS.replace("7.jpg,1,1", "7.jpg,1,-1"))
    with opened(tmp_path) as faces:
        assert faces.labels(slice(None))[numbers(faces[:]).index(7)].tolist() == [1, -1]


def test_pictures_of_the_same_name_in_two_folders_are_told_apart(tmp_path):
    """Also with accents that a Mac has written as characters of their own."""
    places = [f"{['', 'é/'][number % 2]}face.v{number // 2}" for number in range(8)]
    save_all(tmp_path / "mine", [unicodedata.normalize("NFD", place) for place in places])
    (tmp_path / "mine/list_attr_celeba.csv").write_text(
        "image,Odd,High\n" + "".join(f"{place},{n % 2},{n // 2 % 2}\n" for n, place in enumerate(places))
    )
    (tmp_path / "mine/list_eval_partition.csv").write_text(
        ",image,partition\n" + "".join(f"{n},{place},{n // 4}\n" for n, place in enumerate(places))
    )
    for split, its in (("train", [0, 1, 2, 3]), ("valid", [4, 5, 6, 7])):
        with opened(tmp_path, split) as faces:
            assert sorted(numbers(faces[:])) == its and corresponds(faces.batch(slice(None)))


def test_a_picture_that_has_no_attributes_or_two_lines_of_them_is_named(tmp_path, capsys):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(8)])
    lines = LINES.replace("000002.jpg -1", "x -1").replace("5.jpg 1", "5.jpg").replace("6.jpg -1", "6.jpg NA")
    (tmp_path / "mine/list_attr_celeba.txt").write_text(f"8\nOdd High\n{lines}000007.jpg -1 -1\n")
    with opened(tmp_path) as faces:
        batch = faces.batch(slice(None))
    assert corresponds(batch) and sorted(numbers(batch.pixels)) == [0, 1, 3, 4]
    out = capsys.readouterr().out
    for name in ("000002.png", "000005.png", "000007.png"):
        assert f"{name} cannot be read and is left out: list_attr_celeba.txt has no line of it, or several" in out
    assert "000006.png cannot be read and is left out: Column 'Odd' says nothing of it." in out


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "names"),
        ("8\nOdd High\n", "names"),
        ("<html>not\nfound here</html>\n", "labels"),
        ("\0\1\2", "names"),
        (HEADER + COMMAS.replace("\n", ",1,1\n"), "its first line names 3 columns, and others have 5"),
        ("image,Age\n" + "".join(f"{number:06}.jpg,{number / 3}\n" for number in range(8)), r"Age \(it holds 0, 0.33"),
        (HEADER + COMMAS.replace("000", "111"), "a line for 0 of 6 pictures"),
    ],
)
def test_an_attribute_file_that_cannot_be_read_says_why(text, reason, tmp_path):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(6)])
    (tmp_path / "mine/list_attr_celeba.csv").write_text(text)
    with pytest.raises(TrainingError, match=f"list_attr_celeba.csv has .*{reason}.*: restore it, or move it away"):
        find_source(settings(tmp_path), "train")


def write_rows(path, rows: list[dict]) -> None:
    """A CSV file or one of JSON in lines."""
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize("extension", ["csv", "jsonl"])
def test_the_metadata_of_a_folder_of_images_are_labels(extension, tmp_path, capsys):
    """Each file is about its own folder; what only one of them has is no label."""
    save_all(tmp_path / "mine", [f"{'train' if number < 8 else 'valid'}/{number % 8}" for number in range(12)])
    for split, its in (("train", range(8)), ("valid", range(8, 12))):
        rows = [{"file_name": f"{n % 8}.png", "Odd": n % 2, "High": bool(n // 2 % 2)} for n in its]
        rows = [row | {"Early": True} for row in rows] if split == "train" else rows
        write_rows(tmp_path / f"mine/{split}/metadata.{extension}", rows)
    for split, its in (("train+valid", range(12)), ("valid", range(8, 12))):
        with opened(tmp_path, split) as faces:
            assert sorted(numbers(faces[:])) == list(its)
            assert faces.label_names == ("Odd", "High") and corresponds(faces.batch(slice(None)))
    line = told(tmp_path, capsys, split="train+valid")
    assert line == f"Labels (2): Odd, High. No labels: Early (it is not in every metadata.{extension})."


@pytest.mark.parametrize(
    "row, line",
    [
        (
            {"file_name": "{}.png", "text": "face {}"},
            "has no labels: text (it holds another word for nearly every picture)",
        ),
        ({"file_name": "{}.png", "box": [1]}, "has no labels: box (its lists hold numbers, which have no names)"),
        ({"file_name": "x{}.png", "Odd": True}, "has a line for 0 of 6 pictures"),
        ({"file_name": "{}.png"}, "has no labels: it has no other columns"),
        ([], "does not hold a JSON object in each line"),
        ("{{", "does not hold a JSON object in each line"),
    ],
)
def test_metadata_without_labels_are_told_and_folders_of_classes_are_labels(row, line, tmp_path, capsys):
    save_all(tmp_path / "mine", [f"train/{'cat' if number < 3 else 'dog'}/{number}" for number in range(6)])
    rows = [json.loads(json.dumps(row).replace("{}", str(number))) for number in range(6)]
    write_rows(tmp_path / "mine/metadata.jsonl", rows)
    assert told(tmp_path, capsys).startswith(f"Labels (2): cat, dog. No labels: metadata.jsonl {line}")


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
    with opened(tmp_path, folder="mine/train") as faces:
        assert faces.label_names == ("cat", "dog") and len(faces) == 3


def test_folders_of_classes_in_a_zip_file_are_labels(tmp_path):
    (tmp_path / "mine").mkdir()
    with zipfile.ZipFile(tmp_path / "mine/all.zip", "w") as archive:
        for number, folder in enumerate(("été", "a b")):
            archive.writestr(f"train/{folder}/{number}.png", encode(picture(number), "PNG"))
    with opened(tmp_path) as faces:
        assert faces.label_names == ("a b", "été")
        batch = faces.batch(slice(None))
        assert dict(zip(numbers(batch.pixels), batch.labels.tolist())) == {0: [-1, 1], 1: [1, -1]}


@pytest.mark.parametrize(
    "places, line",
    [
        (["train/cat/0", "train/dog/1"], r"Labels \(2\): cat, dog\.$"),
        (["tabby/0", "tuxedo/1"], "No labels: .* if tabby and tuxedo are classes, move them into a folder train"),
        (["0", "1"], "No labels: no picture lies in a class folder, such as train/cat.$"),
        (["cat/train/0", "dog/train/1"], "No labels: no picture lies in a class folder"),
        (["training_set/training_set/cat/0", "training_set/training_set/dog/1"], r"Labels \(2\): cat, dog\.$"),
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
