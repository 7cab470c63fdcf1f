"""Folders, tables and machines as people have them: read, or told in one sentence."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
from datasets import Dataset, Features

from tests.conftest import encode
from tests.grey import corresponds, numbers, numbers_in, opened, picture, save, save_all, settings, write_table
from tests.serving import free_port
from tests.test_data_labels import COMMAS, SMALL, folders, write_rows
from train import gan, loop, run
from train.data import open_faces
from train.settings import TrainingError
from train.tables import find_source

REPOSITORY = Path(__file__).parent.parent


def python(script: str, **environment) -> subprocess.CompletedProcess:
    """A process of its own; what is None is not in its environment."""
    its = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, check=False, capture_output=True, cwd=REPOSITORY, env=its)


# Folders.


def test_every_name_and_format_that_people_have_is_read(tmp_path):
    names = ["anna_01.jpg", "test 1.JPEG", "train_01.jfif", "valid.png", "été 年.webp", "[x]*?.gif", "6.bmp", "7.tif"]
    names += ["8.tiff", "9.avif", "10.PNG", "11.pgm"]
    for number, name in enumerate(names):
        save(number * 20, tmp_path / "faces [2024] {a}" / name)
    found = numbers_in(tmp_path, folder="faces [2024] {a}")
    assert found == pytest.approx([number * 20 for number in range(len(names))], abs=2)


def test_what_lies_beside_pictures_is_told_and_nothing_else(tmp_path, capsys):
    folder = save_all(tmp_path / "mine", [f"deep/{number}/face" for number in range(4)])
    for number in range(4):
        (folder / f"deep/{number}/face.txt").write_text("a face")
    Dataset.from_dict({"number": [1]}).to_parquet(folder / "numbers.parquet")
    for name in ("notes.csv", "phone.HEIC", "more.tar", "._0.png"):
        (folder / name).write_bytes(b"?")
    (folder / "cloned.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    save_all(folder, [".thumbnails/5", "__MACOSX/5"])
    with open_faces(gan.GANSettings(dataset=str(folder), cache_dir=tmp_path / "cache")) as faces:
        assert sorted(numbers(faces[:].pixels)) == [0, 1, 2, 3]
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{folder} holds 4 pictures; left out: 4 .txt, ")
    kinds = ("1 .csv", "1 .parquet", "1 .heic (pip install pillow-heif", "1 .tar (unpack them)", "1 broken links")
    assert all(kind in told[0] for kind in (*kinds, "1 Git LFS pointers (git lfs pull"))
    assert told[1].startswith("No labels: ")
    assert "the centre square, as wide as the shorter side (--crop sets it)" in told[2]


def test_a_run_inside_its_data_set_does_not_train_on_its_own_pictures(tmp_path, capsys):
    save_all(tmp_path / "mine", ["0", "1", "2", "3"])
    words = ["--dataset", str(tmp_path / "mine"), "--cache-dir", str(tmp_path / "mine/cache"), "--epochs"]
    for output in ("mine/run", "mine"):
        gan.main([*SMALL, *words, "1", "--output", str(tmp_path / output)])
    gan.main([*SMALL, *words, "2", "--output", str(tmp_path / "mine/run"), "--resume"])
    assert "no longer those" not in capsys.readouterr().out
    assert numbers_in(tmp_path) == [0, 1, 2, 3] and find_source(settings(tmp_path), "train").description == "4 pictures"


def test_linked_folders_are_entered_once(tmp_path):
    save(0, tmp_path / "mine/0.png")
    save(1, tmp_path / "elsewhere/1.png")
    (tmp_path / "mine/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "mine")
    (tmp_path / "door").symlink_to(tmp_path / "mine")
    assert numbers_in(tmp_path, folder="door") == [0, 1]


@pytest.mark.parametrize("names", ["train valid test", "Training VAL testing", "train2017 dev-set test_images"])
@pytest.mark.parametrize("place", ["{split}/images/{number}", "images/{split}/{number}"])
def test_folders_of_splits_are_what_they_say(names, place, tmp_path):
    places = [place.format(split=split, number=number) for number, split in enumerate(names.split())]
    save_all(tmp_path / "mine", [*places, "trains/3", "test shots of me/4"])
    for its, asked in (([0, 3, 4], ("train",)), ([1], ("valid", "val", "validation", "dev")), ([2], ("test",))):
        for split in asked:
            assert numbers_in(tmp_path, split) == its


def test_pictures_in_zip_files_are_read_and_not_twice(tmp_path):
    save_all(tmp_path / "unpacked", ["a/0", "a/1", "a/2", "__MACOSX/._0"])
    (tmp_path / "mine").mkdir()
    archive = shutil.make_archive(str(tmp_path / "images"), "zip", tmp_path / "unpacked")
    shutil.move(archive, tmp_path / "mine/images.ZIP")
    (tmp_path / "mine/other.zip").write_bytes(b"no zip")
    assert numbers_in(tmp_path) == [0, 1, 2]
    assert "1 .zip (damaged)" in find_source(settings(tmp_path), "train").description
    shutil.copytree(tmp_path / "unpacked/a", tmp_path / "mine/images")
    assert numbers_in(tmp_path) == [0, 1, 2]
    assert "1 .zip (unpacked beside it)" in find_source(settings(tmp_path), "train").description


# CelebA as it is published: where its pictures are, its list of splits, and what --dataset is given.
LAYOUTS = {
    "torchvision": ("img_align_celeba", "list_eval_partition.txt", "."),
    "its own site": ("Img/img_align_celeba", "Eval/list_eval_partition.txt", "."),
    "its pictures alone": ("Img/img_align_celeba", "Eval/list_eval_partition.txt", "Img/img_align_celeba"),
    "its pictures' folder": ("Img/img_align_celeba", "Eval/list_eval_partition.txt", "Img"),
    "Kaggle": ("img_align_celeba/img_align_celeba", "list_eval_partition.csv", "."),
    "Kaggle, zipped": ("img_align_celeba/img_align_celeba", "list_eval_partition.csv", "."),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_celebas_own_splits_and_attributes_are_heeded(layout, tmp_path):
    pictures, partition, given = LAYOUTS[layout]
    # The last is in no split.
    folder = save_all(tmp_path / "celeba", [f"{pictures}/{number:06}" for number in range(8)])
    attributes = partition.replace("Eval", "Anno").replace("eval_partition", "attr_celeba")
    splits = "".join(f"{number:06}.jpg,{number // 3}\n" for number in range(7))
    if layout.startswith("Kaggle"):
        texts = {partition: "image_id,partition\n" + splits, attributes: "image_id,Odd,High\n" + COMMAS}
    else:
        texts = {partition: splits.replace(",", " "), attributes: "8\nOdd High\n" + COMMAS.replace(",", "  ")}
    if layout.startswith("its own"):  # Pictures that are not aligned have the same names.
        save_all(folder / "Img/img_celeba", [f"{number:06}" for number in (7, 6, 5, 4, 3, 2, 1, 0)])
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if layout == "Kaggle, zipped":
        shutil.make_archive(str(tmp_path / "zipped/archive"), "zip", folder)
        folder = tmp_path / "zipped"
    for split, its in (("train", [0, 1, 2]), ("valid", [3, 4, 5]), ("test", [6])):
        with opened(tmp_path, split, folder=folder / given) as faces:
            assert faces.label_names == ("Odd", "High") and corresponds(faces[:])
            assert sorted(numbers(faces[:].pixels)) == its
    assert not any(word in faces.source.description for word in ("1 .csv", "1 .txt", "2 .csv", "2 .txt"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has none in folders")
def test_pipes_and_sockets_that_are_called_as_files_are_named_and_left_out(tmp_path, monkeypatch):
    save(3, tmp_path / "mine/3.png")
    for name in ("a.jpg", "b.zip", "list_attr_celeba.csv", "list_eval_partition.txt", "c.parquet"):
        os.mkfifo(tmp_path / "mine" / name)
    (tmp_path / "mine/zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as one, monkeypatch.context() as patch:
        patch.chdir(tmp_path / "mine")  # A path of some 100 bytes is the longest.
        one.bind("d.jpg")
        assert numbers_in(tmp_path) == [3]
        description = find_source(settings(tmp_path), "train").description
    assert description.count("(no regular file)") == 7
    assert "1 list_attr_celeba.csv (no regular file)" in description


def test_classes_in_folders_come_mixed_and_a_picture_more_leaves_the_others_in_their_order(tmp_path):
    save_all(tmp_path / "mine", [f"train/{'cat' if number < 32 else 'dog'}/{number:02}" for number in range(64)])
    with opened(tmp_path) as faces:
        before = numbers(faces[:].pixels)
        first = next(faces.batches(1, 16, seed=0)).labels[:, 0]
    assert sorted(before) == list(range(64)) and 3 < (first > 0).sum() < 13
    assert 8 < sum(number < 32 for number in before[:32]) < 24
    save(64, tmp_path / "mine/train/dog/64.png")
    with opened(tmp_path) as faces:
        assert [number for number in numbers(faces[:].pixels) if number < 64] == before


# Tables.


@pytest.mark.parametrize(
    "columns, line",
    [
        ("before after", "The images are taken from column 'before' of .*mine; after may hold images too\\.$"),
        ("thumbnail image", "$"),
    ],
)
def test_the_column_of_images_is_found_and_told(columns, line, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    image = lambda number: {"bytes": encode(picture(number), "PNG"), "path": None}
    rows = {name: [image(10 * place)] for place, name in enumerate(columns.split())}
    Dataset.from_dict(rows, Features(dict.fromkeys(rows, datasets.Image()))).to_parquet(tmp_path / "mine/a.parquet")
    assert numbers_in(tmp_path) == [10 if "image" in rows else 0]
    assert re.match(line, capsys.readouterr().out.strip())


def test_of_several_configurations_the_first_is_taken_or_the_default(tmp_path, capsys):
    for number, name in enumerate("ab"):
        write_table(tmp_path / f"mine/{name}/train.parquet", range(number, number + 1))
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in "ab")
    (tmp_path / "mine/README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert numbers_in(tmp_path) == [0]
    assert "has several configurations, a, b: a is taken" in capsys.readouterr().out
    (tmp_path / "mine/README.md").write_text(f"---\nconfigs:\n{configs}  default: true\n---\n")
    assert numbers_in(tmp_path) == [1] and "configurations" not in capsys.readouterr().out


# Where pictures are.


def write_texts(tmp_path: Path, texts: list[str], column: str = "image", **others) -> None:
    (tmp_path / "mine").mkdir(exist_ok=True)
    Dataset.from_dict({**others, column: texts}).to_parquet(tmp_path / "mine/train.parquet")


def test_addresses_in_the_column_of_images_are_fetched_with_what_is_installed(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    hub.add_folder("dataset", "tester/served", save_all(tmp_path / "served", list("01234")))
    write_texts(tmp_path, [f"{hub.url}/datasets/tester/served/resolve/main/{number}.png" for number in range(6)])
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4]
    assert "row 5 (5.png) cannot be read and is left out: Its server answers 404" in capsys.readouterr().out


@pytest.mark.parametrize("column", ["image", "photo"])
def test_texts_that_are_pictures_or_name_files_are_read(column, tmp_path):
    content = [encode(picture(number), "PNG") for number in range(4)]
    inline = [base64.b64encode(content[0]).decode(), base64.urlsafe_b64encode(content[1]).decode().rstrip("=")]
    padded = [text.ljust(501, "\n") for text in inline]
    (tmp_path / "mine/deep").mkdir(parents=True)
    (tmp_path / "mine/deep/3.bin").write_bytes(content[3])
    texts = [*padded, "data:image/png;base64," + base64.b64encode(content[2]).decode(), "deep/3.bin"]
    write_texts(tmp_path, texts, column, number=[5, 6, 7, 8], text=["a face", "b", "c", "d"])
    assert numbers_in(tmp_path) == [0, 1, 2, 3]


@pytest.mark.parametrize("extension", ["csv", "jsonl"])
def test_tables_of_text_are_read_where_there_is_nothing_else(extension, tmp_path):
    """Their readers tell no types of columns, and read all of them."""
    texts = [base64.b64encode(encode(picture(number), "PNG")).decode() for number in range(6)]
    rows = [{"place": n, "photo": f"data:image/png;base64,{texts[n]}", "Odd": n % 2} for n in range(6)]
    (tmp_path / "mine").mkdir()
    write_rows(tmp_path / f"mine/train.{extension}", rows)
    with opened(tmp_path) as faces:
        assert numbers(faces[:].pixels) == list(range(6)) and faces.label_names == ("Odd",)
        assert faces[:].labels.flatten().tolist() == [-1, 1, -1, 1, -1, 1]
    save(9, tmp_path / "mine/9.png")
    assert numbers_in(tmp_path) == [9]


@pytest.mark.parametrize("text", ["a cat on a mat", "gone.png", "data:image/png;base64,%%%", "x" * 2000])
def test_texts_that_are_no_pictures_end_in_one_sentence_about_the_column(text, tmp_path):
    write_texts(tmp_path, [text] * 8)
    with pytest.raises(TrainingError, match="no picture that can be read: row 0|more than 5") as caught:
        opened(tmp_path)
    assert len(str(caught.value)) < 400
    assert "Column 'image' holds no" in str(caught.value) or "not an image" in str(caught.value)


# Machines.


@pytest.mark.skipif(os.name != "posix", reason="homes are found otherwise")
def test_a_command_runs_on_any_terminal_without_a_home_and_behind_a_proxy(loopback, tmp_path):
    """Names are printed with escapes, what is kept goes to the temporary folder, and this machine is asked directly."""
    script = f"""if True:
        import httpx2
        from train.settings import DataSettings, run_command
        def command(words):
            print("γάτες \\udcff")
            print(DataSettings().cache_folder)
            print(httpx2.get("{loopback.url}/nothing").status_code)
        run_command(command)"""
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    home = {"HOME": "/nowhere/at/all", "XDG_CACHE_HOME": None, "TMPDIR": str(tmp_path)}
    done = python(script, **proxies, **home, no_proxy="", NO_PROXY="", PYTHONIOENCODING="cp1252")
    line, names, folder, status = done.stdout.decode().splitlines()
    assert line.startswith("There is no home folder") and names == r"\u03b3\u03ac\u03c4\u03b5\u03c2 \udcff"
    assert folder.startswith(str(tmp_path)) and status == "404" and not done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_a_run_among_names_of_any_bytes_ends_well(tmp_path):
    for number in range(8):
        save(number, tmp_path / f"γάτες\udcff/train/{number % 2}\udcfe/{number}\udcfd.png")
    odd = str(tmp_path / "γάτες\udcff")
    words = ["--dataset", odd, "--cache-dir", f"{odd} cache", "--output", f"{odd} run", "--data-note", "cats \udcff"]
    gan.main([*SMALL, "--epochs", "1", *words])
    with open_faces(gan.GANSettings(dataset=odd, cache_dir=Path(f"{odd} cache"))) as faces:
        assert faces.label_names == (r"0\udcfe", r"1\udcfe")
    assert r"path/to/γάτες\udcff" in Path(f"{odd} run/model/README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_starts_behind_a_proxy():
    script = "import app; print(app.launch(app.build(), prevent_thread_lock=True, quiet=True)[1])"
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9"}
    port = str(free_port())
    done = python(script, http_proxy="http://127.0.0.1:9", no_proxy="", NO_PROXY="", GRADIO_SERVER_PORT=port, **proxies)
    assert b"http://127.0.0.1:" in done.stdout, done.stderr


def test_help_and_wrong_settings_are_answered_before_pytorch_is_imported():
    """PyTorch takes seconds to import, in which nothing would be said."""
    wrong = [["--help"], ["--epochs", "x"], ["--epochs", "0"], ["--dataset", "./nowhere"], ["--latent-sice", "3"]]
    script = "import sys\nfrom train import attribute_gan, autoencoder, gan, perceptual_autoencoder\n"
    script += "for command in attribute_gan, autoencoder, gan, perceptual_autoencoder:\n"
    script += f"    for words in {wrong}:\n"
    script += "        try: command.main(words)\n"
    script += "        except BaseException as error: print(type(error).__name__, file=sys.stderr)\n"
    script += "print('End.', [name for name in ('torch', 'datasets', 'sklearn') if name in sys.modules])"
    done = python(script)
    assert done.stdout.endswith(b"End. []\n")
    ends = [line for line in done.stderr.split() if line in (b"SystemExit", b"TrainingError")]
    assert ends == [b"SystemExit", b"SystemExit", b"TrainingError", b"TrainingError", b"SystemExit"] * 4


# Small sets.


def test_a_small_set_is_gone_over_several_times_an_epoch_and_a_resumed_run_as_before(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "FACES_PER_EPOCH", 40)
    save_all(tmp_path / "mine", [f"{number:02}" for number in range(16)])
    (tmp_path / "10").mkdir()  # A folder that has the name of a setting's value.
    monkeypatch.chdir(tmp_path)
    gan.main([*SMALL[2:], "--epochs", "1", *folders(tmp_path)])
    assert "Each epoch makes 3 passes over the 16 faces (--passes sets it)." in capsys.readouterr().out
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 3 * 16 // 4
    command = lambda: json.loads((tmp_path / "run/run.json").read_text())["command"]
    assert "--latent-size 10" in command() and "--passes" not in command()  # It would choose as many by itself.
    save(16, tmp_path / "mine/16.png")
    monkeypatch.setattr(run, "FACES_PER_EPOCH", 400)
    gan.main([*SMALL[2:], "--epochs", "2", *folders(tmp_path), "--resume"])
    assert json.loads((tmp_path / "run/run.json").read_text())["settings"]["passes"] == 3
    assert "--passes 3" in command()
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 2 * 3 * 16 // 4


def test_the_bar_moves_though_few_steps_are_made(tmp_path, monkeypatch):
    save_all(tmp_path / "mine", [f"{number:02}" for number in range(16)])
    shown = []
    monkeypatch.setattr(loop, "SECONDS_PER_READ", 0)
    monkeypatch.setattr(loop, "_show", lambda bar, position, *others: shown.append(position.images_seen))
    gan.main([*SMALL, "--epochs", "1", *folders(tmp_path)])
    assert shown == [4, 8, 12, 16]
