"""Folders, tables and machines as people have them: read, or told in one sentence."""

import base64
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Value

from tests.conftest import encode
from tests.test_data_labels import (
    ATTRIBUTES,
    LINES,
    corresponds,
    everything,
    numbers,
    picture,
    save,
    settings,
    write_table,
)
from tests.test_images import progressive_with
from train import attribute_gan, data, gan, loop, run
from train.data import open_faces, open_held_out, open_split
from train.settings import TrainingError, printable
from train.source import find_source

REPOSITORY = Path(__file__).parent.parent
SMALL = ["--batch-size", "4", "--latent-size", "10", "--hidden-size", "4", "--discrete-size", "5"]
SMALL_ATTRIBUTE_GAN = [*SMALL, "--passes", "1", "--channels", "4", "4", "4", "4", "4"]


def folders(tmp_path: Path) -> list[str]:
    names = {"--dataset": "mine", "--cache-dir": "cache", "--output": "run"}
    return [word for flag, name in names.items() for word in (flag, str(tmp_path / name))]


def save_all(tmp_path: Path, places: list[str]) -> None:
    for number, place in enumerate(places):
        save(number, tmp_path / f"mine/{place}.png")


def told(tmp_path: Path, capsys, **more) -> str:
    """The line about labels that a run prints."""
    its = gan.GANSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache", **more)
    with open_faces(its):
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "abels" in line]
    return line


def python(script: str, **environment) -> subprocess.CompletedProcess:
    """A process of its own; what is None is not in its environment."""
    its = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, check=False, capture_output=True, cwd=REPOSITORY, env=its)


# Labels, or why there are none.


@pytest.mark.parametrize(
    "places, line",
    [
        (["train/cat/0", "train/dog/1"], r"Labels \(2\): cat, dog\.$"),
        (["tabby/0", "tuxedo/1"], "No labels: .* if tabby and tuxedo are classes, move them into a folder train"),
        (["0", "1"], "No labels: no picture lies in a class folder, such as train/cat.$"),
        (["train/cat/0", "train/dog/1", "train/2"], "No labels: 1 picture lies in no class folder, .*: train/2.png"),
        (["train/cat/0", "train/cat/1"], "No labels: there is one class folder only: train/cat"),
        ([f"train/{number}/{number}" for number in range(51)], "No labels: there are 51 folders in train, and 50 "),
    ],
)
def test_every_run_says_which_labels_it_found_or_why_none(places, line, tmp_path, capsys):
    save_all(tmp_path, places)
    for _ in ("read", "cached"):
        assert re.match(line, told(tmp_path, capsys))


def test_a_class_more_in_another_split_is_named_where_both_are_wanted(tmp_path, capsys):
    save_all(tmp_path, ["train/cat/0", "train/dog/1", "valid/cat/2", "valid/eel/3"])
    assert told(tmp_path, capsys) == "Labels (2): cat, dog."
    line = told(tmp_path, capsys, split="train+valid")
    assert line == "No labels: valid: valid holds a class that no split before it has: eel."


def test_columns_that_are_no_labels_are_named_with_the_reason(tmp_path, capsys):
    columns = {
        "age": (Value("int64"), lambda number: number),
        "kind": (Value("int64"), lambda number: number % 3),
        "score": (Value("float32"), lambda number: number / 7),
        "text": (Value("string"), lambda number: f"a picture of {number}"),
        "smile": (Value("string"), lambda number: ("no", "Yes")[number % 2]),
    }
    write_table(tmp_path / "mine/train.parquet", range(60), **columns)
    for _ in ("read", "cached"):
        line = told(tmp_path, capsys)
        assert line.startswith(
            "Labels (1): smile. No labels: age (it holds 60 different numbers), kind (it holds 0, 1, 2, "
        )
        assert "score (" in line and "text (it holds 60 different words, more than 50)" in line


def test_a_run_for_labels_without_any_stops_and_says_where_they_belong(tmp_path):
    save_all(tmp_path, [f"{kind}/{number}" for kind in ("tabby", "tuxedo") for number in range(4)])
    with pytest.raises(
        TrainingError, match="needs labels.*tabby and tuxedo.*class folders below the folder of their spl"
    ):
        attribute_gan.main([*SMALL_ATTRIBUTE_GAN, "--epochs", "1", *folders(tmp_path)])
    assert not (tmp_path / "run/model").exists()


@pytest.mark.parametrize("change", ["added", "renamed"])
def test_a_run_is_not_resumed_with_other_labels(change, tmp_path):
    save_all(tmp_path, [f"train/{kind}/{number}" for kind in ("cat", "dog") for number in range(4)])
    attribute_gan.main([*SMALL_ATTRIBUTE_GAN, "--epochs", "1", *folders(tmp_path)])
    before = (tmp_path / "run/checkpoint.pt").read_bytes(), (tmp_path / "run/run.json").read_bytes()
    if change == "added":
        save(9, tmp_path / "mine/train/eel/9.png")
    else:
        (tmp_path / "mine/train/cat").rename(tmp_path / "mine/train/zebra")
    now = {"added": "cat, dog, eel", "renamed": "dog, zebra"}[change]
    with pytest.raises(TrainingError, match=f"--resume: .* began with cat, dog, and now there are {now};"):
        attribute_gan.main([*SMALL_ATTRIBUTE_GAN, "--epochs", "2", *folders(tmp_path), "--resume"])
    assert before == ((tmp_path / "run/checkpoint.pt").read_bytes(), (tmp_path / "run/run.json").read_bytes())


COMMAS = LINES.replace(" ", ",")
WORDS = COMMAS.replace(",-1", ",False").replace(",1", ",True")


@pytest.mark.parametrize(
    "text",
    [
        "image,Odd,High\n" + WORDS,
        "image,Odd,High\n" + WORDS.replace("True", "yes").replace("False", "No"),
        "\ufeffimage;Odd;High\r\n" + COMMAS.replace("-1", "0").replace(",", ";").replace("\n", "\r\n"),
        '"image","Odd","High"\n' + re.sub(r"(\d+\.jpg)", r'"\1"', COMMAS),
        "image\tOdd\tHigh\n" + COMMAS.replace(",", "\t"),
        "image,Odd,High,remark\n" + COMMAS.replace("\n", ',"well, it is a picture"\n'),
    ],
    ids=["words", "yes and no", "semicolons", "quotes", "tabs", "a remark"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_attribute_file_of_ones_own_is_read(text, encoding, tmp_path):
    for number in range(8):
        save(number, tmp_path / f"mine/{number:06}.png")
    (tmp_path / "mine/list_attr_celeba.csv").write_text(text, encoding=encoding, newline="")
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == ("Odd", "High") and len(faces) == 8 and corresponds(everything(faces))


def test_names_of_an_attribute_file_may_hold_its_separator(tmp_path):
    for number in range(8):
        save(number, tmp_path / f"mine/{number:06}.png")
    (tmp_path / "mine/list_attr_celeba.csv").write_text('"image","Odd","Hair, high"\n' + COMMAS)
    with open_split(settings(tmp_path), "train") as faces:
        assert faces.label_names == ("Odd", "Hair, high") and corresponds(everything(faces))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("image,Odd,High\n" + COMMAS.replace("\n", ",1,1\n"), "its first line names 3 columns, and others have 5"),
        ("image,Age\n" + "".join(f"{number:06}.jpg,{number / 3}\n" for number in range(8)), r"Age \(it holds 0, 0.33"),
    ],
)
def test_an_attribute_file_that_cannot_be_read_says_why(text, reason, tmp_path):
    save(0, tmp_path / "mine/000000.png")
    (tmp_path / "mine/list_attr_celeba.csv").write_text(text)
    with pytest.raises(TrainingError, match=f"list_attr_celeba.csv has no .*{reason}"):
        find_source(settings(tmp_path), "train")


def test_a_data_set_that_is_still_zipped_is_read_as_it_would_be_unpacked(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    with zipfile.ZipFile(tmp_path / "mine/archive.zip", "w") as archive:
        for number in range(8):
            archive.writestr(f"img_align_celeba/img_align_celeba/{number:06}.png", encode(picture(number), "PNG"))
        archive.writestr("list_attr_celeba.csv", "image_id,Odd,High\n" + COMMAS)
        lines = "".join(f"{number:06}.jpg,{number // 3}\n" for number in range(8))
        archive.writestr("list_eval_partition.csv", "image_id,partition\n" + lines)
        archive.writestr("more.zip", b"?")
    for split, its in (("train", {0, 1, 2}), ("valid", {3, 4, 5}), ("test", {6, 7})):
        with open_split(settings(tmp_path), split) as faces:
            assert set(numbers(everything(faces).pixels)) == its and corresponds(everything(faces))
    assert faces.source.description.endswith("; left out: 1 .zip in a zip file (unpack it)")


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


def write_texts(tmp_path: Path, texts: list[str]) -> None:
    (tmp_path / "mine").mkdir(exist_ok=True)
    Dataset.from_dict({"image": texts}).to_parquet(tmp_path / "mine/train.parquet")


def test_addresses_in_the_column_of_images_are_fetched_with_what_is_installed(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    write_texts(tmp_path, [f"{server}/{number}.png" for number in range(5)] + [f"{server}/nothing.png"])
    with open_split(settings(tmp_path), "train") as faces:
        assert numbers(everything(faces).pixels) == [0, 1, 2, 3, 4]
    assert "row 5 (nothing.png) cannot be read and is left out: Its server answers 404" in capsys.readouterr().out


def test_texts_that_are_pictures_or_name_files_are_read(tmp_path):
    content = [encode(picture(number), "PNG") for number in range(4)]
    inline = [base64.b64encode(content[0]).decode(), base64.urlsafe_b64encode(content[1]).decode().rstrip("=")]
    inline = [
        *(text.ljust(501, "\n") for text in inline),
        "data:image/png;base64," + base64.b64encode(content[2]).decode(),
    ]
    write_texts(tmp_path, [*inline, "deep/3.png"])
    save(3, tmp_path / "mine/deep/3.png")
    (tmp_path / "mine/deep/3.png").rename(tmp_path / "mine/deep/3.bin")
    write_texts(tmp_path, [*inline, "deep/3.bin"])
    with open_split(settings(tmp_path), "train") as faces:
        assert numbers(everything(faces).pixels) == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["a cat on a mat", "gone.png", "data:image/png;base64,%%%", "x" * 2000])
def test_texts_that_are_no_pictures_end_in_one_sentence_about_the_column(text, tmp_path):
    write_texts(tmp_path, [text] * 8)
    with pytest.raises(TrainingError, match="none can be read: row 0|more than 5") as caught:
        open_split(settings(tmp_path), "train")
    assert len(str(caught.value)) < 400 and (
        "Column 'image' holds" in str(caught.value) or "not an image" in str(caught.value)
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has none in folders")
def test_pipes_and_sockets_that_are_called_as_files_are_named_and_left_out(tmp_path, monkeypatch):
    save(3, tmp_path / "mine/3.png")
    for name in ("a.jpg", "b.zip", "list_attr_celeba.csv", "list_eval_partition.txt", "c.parquet"):
        os.mkfifo(tmp_path / "mine" / name)
    (tmp_path / "mine/zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as one, monkeypatch.context() as patch:
        patch.chdir(tmp_path / "mine")  # A path of some 100 bytes is the longest.
        one.bind("d.jpg")
        with open_split(settings(tmp_path), "train") as faces:
            assert numbers(everything(faces).pixels) == [3]
    assert faces.source.description.count("(no regular file)") == 7
    assert "1 list_attr_celeba.csv (no regular file)" in faces.source.description


def test_a_jpeg_that_was_made_to_be_slow_is_left_out(tmp_path, capsys):
    save(3, tmp_path / "mine/3.png")
    (tmp_path / "mine/slow.jpg").write_bytes(progressive_with(2000))
    with open_split(settings(tmp_path), "train") as faces:
        assert numbers(everything(faces).pixels) == [3]
    assert "slow.jpg cannot be read and is left out: This JPEG takes too long" in capsys.readouterr().out


# In which order, and what is held out.


def test_classes_in_folders_come_mixed_and_a_picture_more_leaves_the_others_in_their_order(tmp_path):
    save_all(tmp_path, [f"train/{'cat' if number < 32 else 'dog'}/{number:02}" for number in range(64)])
    with open_split(settings(tmp_path), "train") as faces:
        before = numbers(everything(faces).pixels)
        first = next(faces.batches(1, 16, seed=0)).labels[:, 0]
    assert sorted(before) == list(range(64)) and 3 < (first > 0).sum() < 13
    assert 8 < sum(number < 32 for number in before[:32]) < 24
    save(64, tmp_path / "mine/train/dog/64.png")
    with open_split(settings(tmp_path), "train") as faces:
        assert [number for number in numbers(everything(faces).pixels) if number < 64] == before


def test_of_a_table_in_order_the_first_epoch_draws_from_what_has_come(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 10)
    write_table(tmp_path / "mine/train.parquet", range(100))
    with open_split(settings(tmp_path), "train") as faces:
        streamed = [numbers(batch.pixels) for batch in faces.batches(1, 8, seed=5)]
        cached = [numbers(batch.pixels) for batch in faces.batches(1, 8, seed=5)]
        resumed = [numbers(batch.pixels) for batch in faces.batches(1, 8, seed=5, start=7)]
        other = [numbers(batch.pixels) for batch in faces.batches(1, 8, seed=6)]
    assert streamed == cached and streamed[7:] == resumed and streamed != other
    assert len(streamed) == 12 and len({number for batch in streamed for number in batch}) == 96
    assert max(streamed[0]) < 32 and max(streamed[1]) < 64 and max(streamed[0] + streamed[1] + streamed[2]) > 32


def test_a_sample_is_of_all_faces_and_so_are_their_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 10)
    write_table(tmp_path / "mine/train.parquet", range(100), **ATTRIBUTES)
    with open_split(settings(tmp_path), "train") as faces:
        assert len(faces.labels(slice(None))) == 100
    with open_split(settings(tmp_path), "train", skip=10) as faces:
        one, again, other = (faces.sample(40, seed) for seed in (0, 0, 1))
        whole = faces.sample(1000, 0)
    assert numbers(one.pixels) == numbers(again.pixels) != numbers(other.pixels)
    assert len(set(numbers(one.pixels))) == 40 and corresponds(one) and max(numbers(one.pixels)) > 80
    assert sorted(numbers(whole.pixels)) == list(range(10, 100)) and corresponds(whole)


@pytest.mark.parametrize("split", ["train+valid", "all", "valid+train", "train+validation", "valid", "train+train"])
def test_whatever_is_trained_on_is_not_held_out(split, tmp_path):
    save_all(tmp_path, [f"{'train' if number < 20 else 'valid'}/{number:02}" for number in range(40)])
    its = settings(tmp_path, split=split)
    held_out = open_held_out(its, "valid", 6)
    with open_split(its, split, skip=held_out.skip) as faces:
        trained = numbers(everything(faces).pixels)
    assert len(held_out.faces) >= 2 and not set(trained) & set(numbers(held_out.faces))
    assert len(trained) == len(set(trained))


# Machines.


def test_names_are_printed_on_any_terminal():
    script = "from train.settings import run_command; run_command(lambda words: print('γάτες \\udcff'))"
    done = python(script, PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stdout.strip()) == (0, rb"\u03b3\u03ac\u03c4\u03b5\u03c2 \udcff")
    assert printable("été\x1b[31m\udcff\n") == r"été\x1b[31m\udcff\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_a_run_among_names_of_any_bytes_ends_well(tmp_path):
    for number in range(8):
        save(number, tmp_path / f"γάτες\udcff/train/{number % 2}\udcfe/{number}\udcfd.png")
    odd = str(tmp_path / "γάτες\udcff")
    words = ["--dataset", odd, "--cache-dir", f"{odd} cache", "--output", f"{odd} run", "--data-note", "cats \udcff"]
    gan.main([*SMALL, "--passes", "1", "--epochs", "1", *words])
    assert r"path/to/γάτες\udcff" in Path(f"{odd} run/model/README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="homes are found otherwise")
def test_without_a_home_what_is_kept_goes_to_the_temporary_folder_and_a_line_says_so(tmp_path):
    script = "from train.settings import run_command; from train.settings import DataSettings\n"
    script += "run_command(lambda words: print(DataSettings().cache_folder))"
    done = python(script, HOME="/nowhere/at/all", XDG_CACHE_HOME=None, TMPDIR=str(tmp_path))
    line, folder = done.stdout.decode().splitlines()
    assert line.startswith("There is no home folder") and folder.startswith(str(tmp_path)) and not done.stderr


def test_this_machine_is_not_asked_by_way_of_a_proxy(server):
    script = "import httpx2; from train.settings import run_command\n"
    script += f"run_command(lambda words: print(httpx2.get('{server}/1.png').status_code))"
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    done = python(script, **proxies, no_proxy="", NO_PROXY="")
    assert done.stdout.strip() == b"200", done.stderr


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_the_page_starts_behind_a_proxy(kind):
    script = "import app; print(app.launch(app.build(), prevent_thread_lock=True, quiet=True)[1])"
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), f"{kind}://127.0.0.1:9")
    done = python(script, **proxies, no_proxy="", NO_PROXY="", GRADIO_SERVER_PORT=None)
    assert b"http://127.0.0.1:" in done.stdout, done.stderr


@pytest.mark.parametrize("command", ["gan", "attribute_gan", "autoencoder", "perceptual_autoencoder"])
def test_help_and_wrong_settings_are_answered_before_pytorch_is_imported(command):
    """Which takes seconds, in which nothing would be said."""
    wrong = [["--help"], ["--epochs", "x"], ["--epochs", "0"], ["--dataset", "./nowhere"], ["--latent-sice", "3"]]
    script = f"import sys\nfrom train import {command}\nfor words in {wrong}:\n"
    script += f"    try: {command}.main(words)\n"
    script += "    except BaseException as error: print(type(error).__name__, file=sys.stderr)\n"
    script += "print('End.', [name for name in ('torch', 'datasets', 'sklearn') if name in sys.modules])"
    done = python(script)
    assert done.stdout.endswith(b"End. []\n")
    ends = [line for line in done.stderr.split() if line in (b"SystemExit", b"TrainingError")]
    assert ends == [b"SystemExit", b"SystemExit", b"TrainingError", b"TrainingError", b"SystemExit"]


# Small sets.


def test_a_small_set_is_gone_over_several_times_an_epoch_and_a_resumed_run_as_before(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "FACES_PER_EPOCH", 40)
    save_all(tmp_path, [f"{number:02}" for number in range(16)])
    gan.main([*SMALL, "--epochs", "1", *folders(tmp_path)])
    assert "Each epoch makes 3 passes over the 16 faces (--passes sets it)." in capsys.readouterr().out
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 3 * 16 // 4
    command = lambda: json.loads((tmp_path / "run/run.json").read_text())["command"]
    assert "--passes" not in command()  # It would choose as many by itself.
    save(16, tmp_path / "mine/16.png")
    monkeypatch.setattr(run, "FACES_PER_EPOCH", 400)
    gan.main([*SMALL, "--epochs", "2", *folders(tmp_path), "--resume"])
    assert json.loads((tmp_path / "run/run.json").read_text())["settings"]["passes"] == 3
    assert "--passes 3" in command()
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 2 * 3 * 16 // 4


def test_the_bar_moves_though_few_steps_are_made(tmp_path, monkeypatch):
    save_all(tmp_path, [f"{number:02}" for number in range(16)])
    shown = []
    monkeypatch.setattr(loop, "SECONDS_PER_READ", 0)
    monkeypatch.setattr(loop, "_show", lambda bar, position, *others: shown.append(position.images_seen))
    gan.main([*SMALL, "--passes", "1", "--epochs", "1", *folders(tmp_path)])
    assert shown == [4, 8, 12, 16]
