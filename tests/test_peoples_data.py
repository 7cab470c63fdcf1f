"""Folders, tables and machines as people have them: read, or told in one sentence."""

import base64
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import datasets
import pytest
import torch
from datasets import Dataset, Features

from tests.conftest import encode
from tests.grey import (
    ATTRIBUTES,
    corresponds,
    numbers,
    numbers_in,
    opened,
    picture,
    save,
    save_all,
    settings,
    write_table,
)
from tests.test_data_labels import COMMAS, SMALL, folders
from tests.test_images import progressive_with
from train import gan, loop, run
from train.data import open_faces
from train.settings import TrainingError, printable
from train.source import find_source

REPOSITORY = Path(__file__).parent.parent


def python(script: str, **environment) -> subprocess.CompletedProcess:
    """A process of its own; what is None is not in its environment."""
    its = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, check=False, capture_output=True, cwd=REPOSITORY, env=its)


# Folders.


def test_all_pictures_of_a_flat_folder_are_found_whatever_their_names(tmp_path):
    names = ["anna_01", "test 1", "train_01", "valid", "été 年", "[x]*?"]
    save_all(tmp_path / "faces [2024] {a}", names)
    assert numbers_in(tmp_path, folder="faces [2024] {a}") == list(range(6))


def test_every_format_that_people_have_is_read(tmp_path):
    extensions = ["jpg", "JPEG", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "PNG"]
    for number, extension in enumerate(extensions):
        save(number * 20, tmp_path / f"mine/{number}.{extension}")
    assert numbers_in(tmp_path) == pytest.approx([number * 20 for number in range(len(extensions))], abs=2)


def test_what_lies_beside_pictures_is_told_and_nothing_else(tmp_path, capsys):
    folder = save_all(tmp_path / "mine", [f"deep/{number}/face" for number in range(4)])
    for number in range(4):
        (folder / f"deep/{number}/face.txt").write_text("a face")
    (folder / "metadata.csv").write_text("file_name,text\nnowhere.png,x\n")
    Dataset.from_dict({"number": [1]}).to_parquet(folder / "numbers.parquet")
    for name in ("phone.HEIC", "more.tar", "._0.png"):
        (folder / name).write_bytes(b"?")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    save_all(folder, [".thumbnails/5", "__MACOSX/5"])
    with open_faces(gan.GANSettings(dataset=str(folder), cache_dir=tmp_path / "cache")) as faces:
        assert sorted(numbers(faces[:])) == [0, 1, 2, 3]
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{folder} holds 4 pictures; left out: 4 .txt, ")
    kinds = ("1 .csv", "1 .parquet", "1 .heic (pip install pillow-heif", "1 .tar (unpack them)", "1 broken links")
    assert all(kind in told[0] for kind in kinds)
    assert told[1].startswith("No labels: ")
    assert "the centre square, as wide as the shorter side (--crop sets it)" in told[2]


def test_linked_folders_are_entered_once(tmp_path):
    save(0, tmp_path / "mine/0.png")
    save(1, tmp_path / "elsewhere/1.png")
    (tmp_path / "mine/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "mine")
    (tmp_path / "door").symlink_to(tmp_path / "mine")
    assert numbers_in(tmp_path, folder="door") == [0, 1]


@pytest.mark.parametrize(
    "names", [("train", "valid", "test"), ("Training", "VAL", "TEST"), ("train", "validation", "testing")]
)
@pytest.mark.parametrize("place", ["{split}/images/{number}", "images/{split}/{number}"])
def test_folders_of_splits_are_what_they_say(names, place, tmp_path):
    save_all(tmp_path / "mine", [place.format(split=split, number=number) for number, split in enumerate(names)])
    for number, asked in enumerate([("train",), ("valid", "val", "validation", "dev"), ("test",)]):
        for split in asked:
            assert numbers_in(tmp_path, split) == [number]


def zip_up(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))


def test_pictures_in_zip_files_are_read_and_not_twice(tmp_path):
    save_all(tmp_path / "unpacked", ["a/0", "a/1", "a/2", "__MACOSX/._0"])
    (tmp_path / "mine").mkdir()
    zip_up(tmp_path / "mine/images.zip", tmp_path / "unpacked")
    (tmp_path / "mine/other.zip").write_bytes(b"no zip")
    assert numbers_in(tmp_path) == [0, 1, 2]
    assert "1 .zip (damaged)" in find_source(settings(tmp_path), "train").description
    shutil.copytree(tmp_path / "unpacked", tmp_path / "mine/images")
    assert numbers_in(tmp_path) == [0, 1, 2]
    assert "1 .zip (unpacked beside it)" in find_source(settings(tmp_path), "train").description


# CelebA as it is published: where its pictures are, its list of splits, and what --dataset is given.
LAYOUTS = {
    "torchvision": ("img_align_celeba", "list_eval_partition.txt", "."),
    "its own site": ("Img/img_align_celeba", "Eval/list_eval_partition.txt", "."),
    "its own site, PNG": ("Img/img_align_celeba_png", "Eval/list_eval_partition.txt", "."),
    "its pictures alone": ("Img/img_align_celeba", "Eval/list_eval_partition.txt", "Img/img_align_celeba"),
    "its pictures' folder": ("Img/img_align_celeba", "Eval/list_eval_partition.txt", "Img"),
    "Kaggle": ("img_align_celeba/img_align_celeba", "list_eval_partition.csv", "."),
    "Kaggle, zipped": ("img_align_celeba/img_align_celeba", "list_eval_partition.csv", "."),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_celebas_own_splits_and_attributes_are_heeded(layout, tmp_path):
    pictures, partition, given = LAYOUTS[layout]
    folder = save_all(
        tmp_path / "celeba", [f"{pictures}/{number:06}" for number in range(8)]
    )  # The last is in no split.
    attributes = partition.replace("Eval", "Anno").replace("eval_partition", "attr_celeba")
    splits, header = "".join(f"{number:06}.jpg,{number // 3}\n" for number in range(7)), "image_id,partition\n"
    labels = "image_id,Odd,High\n" + COMMAS
    if layout.startswith("Kaggle"):
        texts = {partition: header + splits, attributes: labels}
    else:
        texts = {partition: splits.replace(",", " "), attributes: "8\nOdd High\n" + COMMAS.replace(",", "  ")}
    if layout.startswith("its own"):  # Pictures that are not aligned have the same names.
        save_all(folder / "Img/img_celeba", [f"{number:06}" for number in (7, 6, 5, 4, 3, 2, 1, 0)])
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if layout == "Kaggle, zipped":
        (tmp_path / "zipped").mkdir()
        zip_up(tmp_path / "zipped/archive.zip", folder)
        folder = tmp_path / "zipped"
    for split, its in (("train", [0, 1, 2]), ("valid", [3, 4, 5]), ("test", [6])):
        with opened(tmp_path, split, folder=folder / given) as faces:
            assert faces.label_names == ("Odd", "High") and corresponds(faces.batch(slice(None)))
            assert sorted(numbers(faces[:])) == its
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


def test_a_jpeg_that_was_made_to_be_slow_is_left_out(tmp_path, capsys):
    save(3, tmp_path / "mine/3.png")
    (tmp_path / "mine/slow.jpg").write_bytes(progressive_with(2000))
    assert numbers_in(tmp_path) == [3]
    assert "slow.jpg cannot be read and is left out: This JPEG takes too long" in capsys.readouterr().out


def test_classes_in_folders_come_mixed_and_a_picture_more_leaves_the_others_in_their_order(tmp_path):
    save_all(tmp_path / "mine", [f"train/{'cat' if number < 32 else 'dog'}/{number:02}" for number in range(64)])
    with opened(tmp_path) as faces:
        before = numbers(faces[:])
        first = next(faces.batches(1, 16, seed=0)).labels[:, 0]
    assert sorted(before) == list(range(64)) and 3 < (first > 0).sum() < 13
    assert 8 < sum(number < 32 for number in before[:32]) < 24
    save(64, tmp_path / "mine/train/dog/64.png")
    with opened(tmp_path) as faces:
        assert [number for number in numbers(faces[:]) if number < 64] == before


# Tables.


@pytest.mark.parametrize(
    "columns, line",
    [
        (["picture"], "The images are taken from column 'picture' of .*mine\\.$"),
        (["before", "after"], "The images are taken from column 'before' of .*mine; after may hold images too\\.$"),
        (["thumbnail", "image"], "$"),
    ],
)
def test_the_column_of_images_is_found_and_told(columns, line, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    pictures = {
        name: [{"bytes": encode(picture(10 * k + number), "PNG"), "path": None} for number in range(2)]
        for k, name in enumerate(columns)
    }
    features = Features(dict.fromkeys(columns, datasets.Image()))
    Dataset.from_dict(pictures, features).to_parquet(tmp_path / "mine/train.parquet")
    assert numbers_in(tmp_path) == ([10, 11] if "image" in columns else [0, 1])
    assert re.match(line, capsys.readouterr().out.strip())


def test_a_folder_of_save_to_disk_is_read(tmp_path):
    for split, first in (("train", 0), ("valid", 6)):
        write_table(tmp_path / f"mine/{split}.parquet", range(first, first + 6), **ATTRIBUTES)
    saved = datasets.load_dataset(str(tmp_path / "mine"), cache_dir=tmp_path / "hub")
    saved.save_to_disk(tmp_path / "all")
    saved["train"].save_to_disk(tmp_path / "one")
    for name, split, first in (("all", "valid", 6), ("one", "train", 0)):
        with opened(tmp_path, split, folder=name) as faces:
            assert numbers(faces[:]) == list(range(first, first + 6)) and corresponds(faces.batch(slice(None)))


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


@pytest.fixture
def server():
    """Serves /number.png, and nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path[1:].removesuffix(".png")
            self.send_response(200 if name.isdecimal() else 404)
            self.end_headers()
            if name.isdecimal():
                self.wfile.write(encode(picture(int(name)), "PNG"))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def write_texts(tmp_path: Path, texts: list[str], column: str = "image", **others) -> None:
    (tmp_path / "mine").mkdir(exist_ok=True)
    Dataset.from_dict({**others, column: texts}).to_parquet(tmp_path / "mine/train.parquet")


def test_addresses_in_the_column_of_images_are_fetched_with_what_is_installed(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    write_texts(tmp_path, [f"{server}/{number}.png" for number in range(5)] + [f"{server}/nothing.png"])
    assert numbers_in(tmp_path) == [0, 1, 2, 3, 4]
    assert "row 5 (nothing.png) cannot be read and is left out: Its server answers 404" in capsys.readouterr().out


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


@pytest.mark.parametrize("text", ["a cat on a mat", "gone.png", "data:image/png;base64,%%%", "x" * 2000])
def test_texts_that_are_no_pictures_end_in_one_sentence_about_the_column(text, tmp_path):
    write_texts(tmp_path, [text] * 8)
    with pytest.raises(TrainingError, match="no picture that can be read: row 0|more than 5") as caught:
        opened(tmp_path)
    assert len(str(caught.value)) < 400 and (
        "Column 'image' holds" in str(caught.value) or "not an image" in str(caught.value)
    )


# Machines.


@pytest.mark.skipif(os.name != "posix", reason="homes are found otherwise")
def test_a_command_runs_on_any_terminal_without_a_home_and_behind_a_proxy(server, tmp_path):
    """Names are printed with escapes, what is kept goes to the temporary folder, and this machine is asked directly."""
    script = f"""if True:
        import httpx2
        from train.settings import DataSettings, run_command
        def command(words):
            print("γάτες \\udcff")
            print(DataSettings().cache_folder)
            print(httpx2.get("{server}/1.png").status_code)
        run_command(command)"""
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    home = {"HOME": "/nowhere/at/all", "XDG_CACHE_HOME": None, "TMPDIR": str(tmp_path)}
    done = python(script, **proxies, **home, no_proxy="", NO_PROXY="", PYTHONIOENCODING="cp1252")
    line, names, folder, status = done.stdout.decode().splitlines()
    assert line.startswith("There is no home folder") and names == r"\u03b3\u03ac\u03c4\u03b5\u03c2 \udcff"
    assert folder.startswith(str(tmp_path)) and status == "200" and not done.stderr


def test_names_are_printed_with_escapes():
    assert printable("été\x1b[31m\udcff\n") == r"été\x1b[31m\udcff\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_a_run_among_names_of_any_bytes_ends_well(tmp_path):
    for number in range(8):
        save(number, tmp_path / f"γάτες\udcff/train/{number % 2}\udcfe/{number}\udcfd.png")
    odd = str(tmp_path / "γάτες\udcff")
    words = ["--dataset", odd, "--cache-dir", f"{odd} cache", "--output", f"{odd} run", "--data-note", "cats \udcff"]
    gan.main([*SMALL, "--epochs", "1", *words])
    assert r"path/to/γάτες\udcff" in Path(f"{odd} run/model/README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_starts_behind_a_proxy():
    script = "import app; print(app.launch(app.build(), prevent_thread_lock=True, quiet=True)[1])"
    proxies = {
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "all_proxy": "socks5://127.0.0.1:9",
    }
    done = python(script, **proxies, no_proxy="", NO_PROXY="", GRADIO_SERVER_PORT=None)
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
    gan.main([*SMALL[2:], "--epochs", "1", *folders(tmp_path)])
    assert "Each epoch makes 3 passes over the 16 faces (--passes sets it)." in capsys.readouterr().out
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 3 * 16 // 4
    command = lambda: json.loads((tmp_path / "run/run.json").read_text())["command"]
    assert "--passes" not in command()  # It would choose as many by itself.
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
