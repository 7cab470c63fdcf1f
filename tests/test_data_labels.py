"""Which columns, files and folders are labels, what each face's are, and why others are none."""

import re
import shutil
import unicodedata

import datasets
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, List, Value

from tests.grey import (
    ATTRIBUTES,
    corresponds,
    labels_of,
    numbers,
    opened,
    save,
    save_all,
    settings,
    write_table,
)
from train import attribute_gan, data, gan, generators, tables
from train.data import open_faces
from train.settings import TrainingError
from train.tables import find_source

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
    "minus one": (INT64, lambda n: n % 2 * 2 - 1, ("minus one",), lambda n: [n % 2]),
    "always minus one": (INT64, lambda n: -1, ("always minus one",), lambda n: [False]),
    "float": (FLOAT, lambda n: float(n > 1), ("float",), lambda n: [n > 1]),
    "yes": (STRING, lambda n: "Yes" if n > 6 else "no", ("yes",), lambda n: [n > 6]),
    "letters": (STRING, lambda n: "ny"[n % 2], ("letters",), lambda n: [n % 2]),
    "two classes": (ClassLabel(names=["no", "wide"]), lambda n: n % 2, ("wide",), lambda n: [n % 2]),
    "classes": (ClassLabel(names=[*"cgs"]), lambda n: n // 4, ("c", "g", "s"), lambda n: [n < 4, 3 < n < 8, n > 7]),
    "words": (Value("large_string"), lambda n: "rkt"[n // 4], ("k", "r", "t"), lambda n: [3 < n < 8, n < 4, n > 7]),
    "two words": (STRING, lambda n: "mf"[n % 2], ("m",), lambda n: [n % 2 == 0]),
    "lists": (List(STRING), lambda n: ["a"] * (n % 2) + ["b"] * (n > 5), ("a", "b"), lambda n: [n % 2, n > 5]),
    "lists of classes": (List(ClassLabel(names=[*"xz"])), lambda n: [n % 2], ("x", "z"), lambda n: [1 - n % 2, n % 2]),
    "mapping": ({"p": BOOL, "q": INT8}, lambda n: {"p": n > 3, "q": n % 2}, ("p", "q"), lambda n: [n > 3, n % 2]),
}


def test_columns_of_which_the_meaning_is_plain_are_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 4)
    columns = {name: (feature, value) for name, (feature, value, *_) in COLUMNS.items()}
    write_table(tmp_path / "mine/train.parquet", range(12), **columns)
    with opened(tmp_path) as faces:
        rows = faces[:].labels
        found, place = {}, 0
        for name, (*_, names, _) in COLUMNS.items():
            found[name] = (faces.label_names[place : place + len(names)], rows[:, place : place + len(names)].tolist())
            place += len(names)
    assert place == len(faces.label_names) and rows.dtype == torch.int8 and faces.state.label_note == ""
    for name, (*_, names, labels) in COLUMNS.items():
        assert found[name] == (names, [[1 if label else -1 for label in labels(number)] for number in range(12)]), name


# Likewise, and why it is no label.
OTHERS = {
    "identity": (ClassLabel(names=[*map(str, range(51))]), lambda n: n % 51, "it holds 51 different words in 60 rows"),
    "one class": (ClassLabel(names=["face"]), lambda n: 0, "it is always 'face'"),
    "count": (INT64, lambda n: n, r"it holds 0, 1, 10, 11, \.\.\., which may be counts or classes"),
    "kind": (INT64, lambda n: n % 3, "it holds 0, 1, 2, which may be counts or classes"),
    "one": (INT64, lambda n: 1, "it holds 1, which may be counts"),
    "word": (STRING, lambda n: "cat", "it is always 'cat'"),
    "name": (STRING, lambda n: f"{n}.txt", "it holds 60 different words in 60 rows"),
    "caption": (STRING, lambda n: ("cat ", "dog ")[n % 2] * 40, r"'dog dog .*'\.\.\. has more than 100 characters"),
    "nothing": (BOOL, lambda n: None, "it is empty"),
    "sparse": (BOOL, lambda n: None if n % 3 else True, "it says nothing of 40 of 60 pictures"),
    "unknown": (INT64, lambda n: n % 3 - 1, "it says nothing of 20 of 60 pictures"),
    "numbers": (List(INT64), lambda n: [n], "it holds 0, 1, 10, 11"),
    "date": (Value("date32"), lambda n: None, "it is of type date32"),
}


@pytest.mark.parametrize("some", [list(OTHERS)[:4], list(OTHERS)[4:8], list(OTHERS)[8:]], ids=str)
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
    "feature, value",
    [
        (Value("bool"), lambda number: None if number == 5 else True),
        (ClassLabel(names=["no", "yes"]), lambda number: -1 if number == 5 else 1),
        (Value("int64"), lambda number: 7 if number == 5 else number % 2),
    ],
)
def test_a_picture_without_labels_among_labelled_ones_is_named(feature, value, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "ROWS", 4)
    write_table(tmp_path / "mine/train.parquet", range(8), column=(feature, value), **ATTRIBUTES)
    with opened(tmp_path) as faces:
        batch = faces[:]
    assert numbers(batch.pixels) == [0, 1, 2, 3, 4, 6, 7]
    assert corresponds(data.Batch(batch.pixels, batch.labels[:, 1:]))
    name = "yes" if isinstance(feature, ClassLabel) else "column"
    assert f"row 5 (5.png) cannot be read and is left out: Its label '{name}' is not known." in capsys.readouterr().out


def test_several_splits_bring_the_labels_that_all_have_and_so_do_data_sets_that_were_saved_to_disk(tmp_path):
    hat = (BOOL, lambda number: True)
    write_table(tmp_path / "mine/train.parquet", range(4), **ATTRIBUTES, Hat=hat)
    write_table(tmp_path / "mine/test.parquet", range(4, 8), **ATTRIBUTES, Hat=hat)
    with opened(tmp_path, "train+test") as faces:
        assert faces.label_names == ("Odd", "High", "Hat") and numbers(faces[:].pixels) == list(range(8))
    write_table(tmp_path / "mine/test.parquet", range(4, 8), **ATTRIBUTES)
    tables = {split: Dataset.from_parquet(str(tmp_path / f"mine/{split}.parquet")) for split in ("train", "test")}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "saved")
    tables["test"].save_to_disk(tmp_path / "one")
    for folder, split, count in (("saved", "train", 3), ("saved", "train+test", 2), ("saved", "test+train", 2)):
        with opened(tmp_path, split, folder=folder) as faces:
            assert len(faces.label_names) == count and len(faces) == 4 * len(split.split("+"))
    for folder, split in (("saved", "test"), ("one", "train")):  # A table that is not told its split is train.
        with opened(tmp_path, split, folder=folder) as faces:
            assert numbers(faces[:].pixels) == [4, 5, 6, 7] and corresponds(faces[:])


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
    "scientific": HEADER + WORDS.replace("True", "1.000e+00").replace("False", "0.000E+00"),
    "German": "\ufeffimage;Odd;High\r\n" + WORDS.replace(",", ";").replace("True", "1,0").replace("False", "0,00"),
    "quotes": '"image","Odd","High"\n' + re.sub(r"(\d+\.jpg)", r'"\1"', COMMAS),
    "tabs": "image\tOdd\tHigh\n" + COMMAS.replace(",", "\t"),
    "remark": "image,Odd,High,remark\n" + COMMAS.replace("\n", ',"schön, it is\na picture"\n'),
    "names last": "Odd,High,image\n" + re.sub(r"(.*?),(.*)", r"\2,\1", COMMAS),
    "index": ",image,Odd,High\n" + re.sub(r"0*(\d+)\.jpg", r"\1,\g<0>", COMMAS),
    "another machine": HEADER + re.sub(r"(0+\d)", r"C:\\My Pictures\\\1", COMMAS),
    "capitals": HEADER + COMMAS.replace(".jpg", ".JPG"),
    "no extensions": HEADER + COMMAS.replace(".jpg", ""),
}


@pytest.mark.parametrize("kind", SPREADSHEETS)
def test_an_attribute_file_is_read_whatever_a_spreadsheet_writes(kind, tmp_path):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(8)])
    encoding = {"UTF-16": "utf-16", "remark": "cp1252"}.get(kind, "utf-8")
    (tmp_path / "mine/List_attr_celeba.CSV").write_bytes(SPREADSHEETS[kind].encode(encoding))
    with opened(tmp_path) as faces:
        assert faces.label_names == ("Odd", "High") and len(faces) == 8 and corresponds(faces[:])


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
            assert sorted(numbers(faces[:].pixels)) == its and corresponds(faces[:])


def test_a_picture_that_has_no_attributes_or_two_lines_of_them_is_named(tmp_path, capsys):
    save_all(tmp_path / "mine", [f"{number:06}" for number in range(8)])
    lines = LINES.replace("000002.jpg -1", "x -1").replace("5.jpg 1", "5.jpg").replace("6.jpg -1", "6.jpg NA")
    (tmp_path / "mine/list_attr_celeba.txt").write_text(f"8\nOdd High\n{lines}000007.jpg -1 -1\n")
    with opened(tmp_path) as faces:
        batch = faces[:]
    assert corresponds(batch) and sorted(numbers(batch.pixels)) == [0, 1, 3, 4]
    out = capsys.readouterr().out
    for name, label in (("000002.png", "Odd"), ("000005.png", "High"), ("000006.png", "Odd"), ("000007.png", "Odd")):
        assert f"{name} cannot be read and is left out: Its label '{label}' is not known." in out


def write_rows(path, rows: list[dict]) -> None:
    """A CSV file or one of JSON in lines."""
    table = pd.DataFrame(rows)
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)


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
            assert sorted(numbers(faces[:].pixels)) == list(its)
            assert faces.label_names == ("Odd", "High") and corresponds(faces[:])
    line = told(tmp_path, capsys, split="train+valid")
    assert line == f"Labels (2): Odd, High. No labels: Early (it is not in every metadata.{extension})."


def test_a_list_of_splits_that_cannot_be_read_stops_the_run(tmp_path):
    save(0, tmp_path / "mine/0.png")
    for text in ("", "<html>", "not found\nhere at all", "000001.jpg\n000002.jpg\n"):
        (tmp_path / "mine/list_eval_partition.txt").write_text(text)
        with pytest.raises(TrainingError, match="list_eval_partition.txt .*: restore it, or move it away"):
            find_source(settings(tmp_path), "train")


@pytest.mark.parametrize(
    "text, line",
    [
        ("", "cannot be read: "),
        ("8\nOdd High\n", "cannot be read: it has no rows"),
        ("<html>not\nfound here</html>\n", "has no labels: <html>not (it holds 1 different words in 1 rows"),
        (HEADER + COMMAS.replace("\n", ",\n"), "cannot be read: it has no rows, or its first line names fewer"),
        (HEADER + COMMAS.replace("3.jpg,", "3.jpg,1,"), "cannot be read: "),
        (HEADER + COMMAS.replace("000", "111"), "has a line for 0 of 6 pictures"),
        ('{"file_name": "1.png", "text": "a face"}', "has no labels: text (it holds 1 different words in 1 rows"),
        ('{"file_name": "1.png", "box": [1]}', "has no labels: box (it holds 1, which may be counts"),
        ('{"file_name": "1.png"}', "has no labels: it has no other columns"),
        ("[]", "cannot be read: it has no rows"),
        ("{{", "cannot be read: "),
    ],
)
def test_lists_without_labels_are_told_and_folders_of_classes_are_labels(text, line, tmp_path, capsys):
    save_all(tmp_path / "mine", [f"train/{'cat' if number < 3 else 'dog'}/{number:06}" for number in range(6)])
    name = "metadata.jsonl" if text[:1] in ("{", "[") else "list_attr_celeba.csv"
    (tmp_path / "mine" / name).write_text(text)
    assert told(tmp_path, capsys).startswith(f"Labels (2): cat, dog. No labels: {name} {line}")


# Folders of classes.


def test_pictures_in_folders_of_classes_are_labelled_by_them(tmp_path):
    save_all(tmp_path / "mine", ["train/dog/a", "train/cat/b", "train/dog/deep/c", "val/cat/d", "val/dog/e"])
    kinds = {0: "dog", 1: "cat", 2: "dog", 3: "cat", 4: "dog"}
    for split, its in (("train", {0, 1, 2}), ("valid", {3, 4}), ("train+val", {0, 1, 2, 3, 4})):
        with opened(tmp_path, split) as faces:
            batch = faces[:]
            assert faces.label_names == ("cat", "dog")
        found = dict(zip(numbers(batch.pixels), batch.labels.tolist()))
        assert found == {number: [1, -1] if kinds[number] == "cat" else [-1, 1] for number in its}
        assert "train" not in split or set(numbers(batch.pixels)[:3]) == {0, 1, 2}, "in the order of the splits"
    shutil.make_archive(str(tmp_path / "zipped/all"), "zip", tmp_path / "mine")
    for folder in ("mine/train", "zipped"):
        with opened(tmp_path, folder=folder) as faces:
            found = dict(zip(numbers(faces[:].pixels), faces[:].labels.tolist()))
            assert faces.label_names == ("cat", "dog") and found == {0: [-1, 1], 1: [1, -1], 2: [-1, 1]}


@pytest.mark.parametrize(
    "split, places, line",
    [
        ("train", ["train/cat/0", "train/dog/1", "valid/eel/2"], r"Labels \(2\): cat, dog\.$"),
        ("train+valid", ["train/cat/0", "train/dog/1", "valid/eel/2"], "No labels: valid/eel/2.png lies in no class"),
        ("train", ["tabby/0", "tuxedo/1"], r"No labels: tabby/0.png lies .*, such as train/cat \(2 of 2 pictures\)\.$"),
        ("train", ["cat/train/0", "dog/train/1"], "No labels: cat/train/0.png lies in no class folder"),
        ("train", ["training_set/training_set/cat/0", "training_set/training_set/dog/1"], r"Labels \(2\): cat, dog\.$"),
        ("train", ["train/cat/0", "train/dog/1", "train/2"], "No labels: train/2.png lies in no class folder"),
        ("train", ["train/cat/0", "train/cat/1"], "No labels: there is one class folder only: train/cat"),
        ("train", [f"train/{n}/{n}" for n in range(51)], "No labels: there are 51 folders in train, and 50 classes"),
    ],
)
def test_every_run_says_which_class_folders_it_found_or_why_none(split, places, line, tmp_path, capsys):
    save_all(tmp_path / "mine", places)
    for _ in ("read", "cached"):
        assert re.match(line, told(tmp_path, capsys, split=split))
    with opened(tmp_path, split) as faces:
        assert faces[:2].labels.shape[1] == (2 if "cat, dog" in line else 0)


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
    message = "needs labels.*tabby/0.png lies in no class folder.*class folders below the folder of their split"
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
