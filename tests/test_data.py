import errno
import json
import shutil
import zipfile
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from filelock import FileLock
from PIL import Image

from models.images import crop, denormalise, from_pil, resize_and_crop
from study.evaluate import EvaluationSettings
from tests.conftest import draw_face, encode, write_parquet
from train import data, gan
from train.data import FACE_BYTES, Faces, open_faces, open_held_out, open_split
from train.settings import DataSettings, TrainingError
from train.source import TableSource, UnknownSplit, find_source


def source(folder, cache, split="train", **settings):
    return find_source(DataSettings(dataset=str(folder), cache_dir=cache, **settings), split)


def expected(number: int) -> torch.Tensor:
    """By hand: 70 of 89 pixels, which is 140 of 178 halved."""
    return denormalise(from_pil(draw_face(number).crop((9, 19, 79, 89))))[0]


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
        streamed = [[batch.pixels for batch in faces.batches(epoch, 10, seed=3)] for epoch in (1, 2)]
    with Faces(source(celeba, tmp_path), tmp_path / "a") as faces:
        cached = [[batch.pixels for batch in faces.batches(epoch, 10, seed=3)] for epoch in (1, 2)]
        tail = [batch.pixels for batch in faces.batches(2, 10, seed=3, start=3)]
        third = torch.cat([batch.pixels for batch in faces.batches(3, 10, seed=3)])
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
    assert len(held) == 4
    for one, two in zip(read, held):
        assert torch.equal(one.pixels, two.pixels) and torch.equal(one.labels, two.labels)


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
        (lambda folder: None, "train", "holds no pictures"),
        (lambda folder: (folder / "notes.bin").write_bytes(b"hello"), "train", "left out: 1 .bin"),
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


# How much of a picture is seen.


def plain(width, height):
    """Every pixel is its own place: x in red, y in green."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack((x, y, np.zeros_like(x)), axis=-1))


def test_the_literatures_crop_is_the_square_from_19_39_to_159_179():
    seen = crop(plain(178, 218), 140 / 178)[0].float()
    # Seen from the middle of the first to the middle of the last of 64 pixels, each 140 / 64 wide.
    half = 140 / 64 / 2
    assert seen[0].mean(0)[[0, -1]].tolist() == pytest.approx([19 + half - 0.5, 159 - half - 0.5], abs=0.6)
    assert seen[1].mean(1)[[0, -1]].tolist() == pytest.approx([39 + half - 0.5, 179 - half - 0.5], abs=0.6)
    assert torch.equal(crop(plain(178, 218), 140 / 178), crop(plain(178, 218).crop((19, 39, 159, 179))))


def test_a_share_of_a_tall_picture_is_a_square_in_its_middle():
    assert torch.equal(crop(plain(100, 200), 0.5), crop(plain(100, 200).crop((25, 75, 75, 125))))


@pytest.mark.parametrize("side", [192, 218])
@pytest.mark.parametrize("across", [True, False])
def test_the_resize_filter_averages_whatever_the_size(side, across):
    """A triangle as wide as two pixels of the result, which is Pillow's BILINEAR too. Without antialiasing every third
    or fourth row alone is seen."""
    pixels = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    pixels[..., ::3] = 255
    pixels = pixels if across else pixels.mT.contiguous()
    resized = Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).resize((64, 64), Image.Resampling.BILINEAR)
    result = resize_and_crop(pixels)[0].permute(1, 2, 0).int()
    assert (result - torch.from_numpy(np.array(resized)).int()).abs().max() <= 1
    assert abs(result.float().mean() - 255 / 3) < 2 and result.float().std() < 45


@pytest.mark.parametrize(
    "size, asked, share", [((178, 218), None, 140 / 178), ((89, 109), None, 140 / 178), ((100, 109), None, 1.0)]
)
def test_the_crop_follows_the_size_of_the_pictures(size, asked, share, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    draw_face(1, size).save(folder / "1.png")
    with open_split(DataSettings(dataset=str(folder), cache_dir=tmp_path / "cache"), "train") as faces:
        assert faces.crop == share
        assert torch.equal(faces[:1], crop(draw_face(1, size), share))


def test_a_crop_of_ones_own_has_a_cache_of_its_own(celeba, tmp_path):
    with open_split(DataSettings(dataset=str(celeba), cache_dir=tmp_path, crop=1.0), "train", limit=3) as faces:
        assert torch.equal(faces[:3][2], denormalise(from_pil(draw_face(2)))[0]) and faces.crop == 1
    with open_split(DataSettings(dataset=str(celeba), cache_dir=tmp_path), "train", limit=3) as faces:
        assert torch.equal(faces[:3][2], expected(2))
    with open_split(DataSettings(dataset=str(celeba), cache_dir=tmp_path), "train", limit=3) as faces:
        assert faces.is_cached and faces.crop == 140 / 178


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_an_impossible_crop_is_named(share):
    with pytest.raises(TrainingError, match="--crop"):
        DataSettings(crop=share)


# People's own folders.


def save(number: int, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_face(number, (80, 80)).save(path)


def drawn(number: int) -> torch.Tensor:
    return denormalise(from_pil(draw_face(number, (80, 80))))[0]


def numbers_of(folder, cache, split="train", **settings) -> list[int]:
    """Which of the first 12 drawn faces a split holds."""
    with open_split(DataSettings(dataset=str(folder), cache_dir=cache, **settings), split) as faces:
        faces = faces[: len(faces)]
    known = [drawn(number) for number in range(12)]
    return sorted(next(number for number in range(12) if torch.equal(face, known[number])) for face in faces)


def test_all_pictures_of_a_flat_folder_are_found_whatever_their_names(tmp_path):
    names = ["anna_01.png", "test 1.png", "train_01.png", "valid.png", "été 年.PNG", "[x]*?.png"]
    for number, name in enumerate(names):
        save(number, tmp_path / "faces [2024] {a}" / name)
    assert numbers_of(tmp_path / "faces [2024] {a}", tmp_path / "cache") == list(range(6))


def test_what_lies_beside_pictures_is_told_and_nothing_else(tmp_path, capsys):
    folder = tmp_path / "mine"
    for number in range(4):
        save(number, folder / f"deep/{number}/face.png")
        (folder / f"deep/{number}/face.txt").write_text("a face")
    (folder / "metadata.csv").write_text("file_name,text\nnowhere.png,x\n")
    (folder / "data.json").write_text("[1, 2]")
    (folder / "phone.HEIC").write_bytes(b"?")
    (folder / "more.tar").write_bytes(b"?")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    save(5, folder / ".thumbnails/5.png")
    save(5, folder / "__MACOSX/5.png")
    (folder / "._0.png").write_bytes(b"?")
    settings = gan.GANSettings(dataset=str(folder), cache_dir=tmp_path / "cache")
    with open_faces(settings) as faces:
        assert len(faces) == 4
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{folder} holds 4 pictures; left out: 4 .txt, ")
    for part in ("1 .csv", "1 .json", "1 .heic (pip install pillow-heif", "1 .tar (unpack them)", "1 broken links"):
        assert part in told[0]
    assert told[1].startswith("No labels: ")
    assert "the centre square, as wide as the shorter side (--crop sets it)" in told[2]


@pytest.mark.parametrize("extension", ["jpg", "JPEG", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"])
def test_every_format_that_people_have_is_read(extension, tmp_path):
    save(0, tmp_path / f"mine/0.{extension}")
    with open_split(DataSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache"), "train") as faces:
        assert (faces[:1][0].float() - drawn(0).float()).abs().mean() < 8


def test_a_file_of_another_format_is_never_opened_as_what_it_is(tmp_path):
    save(0, tmp_path / "mine/0.png")
    (tmp_path / "mine/1.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    assert numbers_of(tmp_path / "mine", tmp_path / "cache") == [0]


def test_linked_folders_are_entered_once(tmp_path):
    save(0, tmp_path / "mine/0.png")
    save(1, tmp_path / "elsewhere/1.png")
    (tmp_path / "mine/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "mine")
    (tmp_path / "door").symlink_to(tmp_path / "mine")
    assert numbers_of(tmp_path / "door", tmp_path / "cache") == [0, 1]


def zip_up(path, folder):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/._0.png", b"?")


def test_pictures_in_zip_files_are_read_and_not_twice(tmp_path, capsys):
    for number in range(3):
        save(number, tmp_path / f"unpacked/a/{number}.png")
    folder = tmp_path / "mine"
    folder.mkdir()
    zip_up(folder / "images.zip", tmp_path / "unpacked")
    (folder / "other.zip").write_bytes(b"no zip")
    assert numbers_of(folder, tmp_path / "cache") == [0, 1, 2]
    assert "1 .zip (damaged)" in find_source(DataSettings(dataset=str(folder)), "train").description
    shutil.copytree(tmp_path / "unpacked", folder / "images")
    assert numbers_of(folder, tmp_path / "cache") == [0, 1, 2]


@pytest.mark.parametrize(
    "names", [("train", "valid", "test"), ("Training", "VAL", "TEST"), ("train", "validation", "testing")]
)
@pytest.mark.parametrize("order", ["{split}/images/{number}.png", "images/{split}/{number}.png"])
def test_folders_of_splits_are_what_they_say(names, order, tmp_path):
    for number, split in enumerate(names):
        save(number, tmp_path / "mine" / order.format(split=split, number=number))
    for number, asked in enumerate([("train",), ("valid", "val", "validation", "dev"), ("test",)]):
        for split in asked:
            assert numbers_of(tmp_path / "mine", tmp_path / "cache", split) == [number]
    assert numbers_of(tmp_path / "mine", tmp_path / "cache", "all") == [0, 1, 2]
    with pytest.raises(UnknownSplit, match="no split 'else'; it has train, valid, test"):
        source(tmp_path / "mine", tmp_path, "else")


def lay_out_celeba(folder, layout):
    partition = "".join(f"{number + 1:06}.jpg {number // 2}\n" for number in range(6))
    pictures, file, given = {
        "torchvision": ("img_align_celeba", "list_eval_partition.txt", "."),
        "its own site": ("Img/img_align_celeba", "Eval/list_eval_partition.txt", "."),
        "its own site, PNG": ("Img/img_align_celeba_png", "Eval/list_eval_partition.txt", "."),
        "its pictures alone": ("Img/img_align_celeba", "Eval/list_eval_partition.txt", "Img"),
        "its pictures' folder": ("img_align_celeba", "list_eval_partition.txt", "img_align_celeba"),
        "Kaggle": ("img_align_celeba/img_align_celeba", "list_eval_partition.csv", "."),
    }[layout]
    for number in range(6):
        save(number, folder / pictures / f"{number + 1:06}.png")
    save(7, folder / pictures / "000007.png")  # Not in the partition.
    (folder / file).parent.mkdir(exist_ok=True)
    text = "image_id,partition\n" + partition.replace(" ", ",") if file.endswith("csv") else partition
    (folder / file).write_text(text)
    attributes = "".join(f"{number + 1:06}.jpg -1  {number % 2 * 2 - 1}\n" for number in range(6))
    attributes = f"6\nBald Male\n{attributes}"
    if layout == "Kaggle":
        attributes = attributes.replace("6\nBald", "image_id Bald").replace("  ", " ").replace(" ", ",")
    attribute_file = file.replace("Eval", "Anno").replace("eval_partition", "attr_celeba")
    (folder / attribute_file).parent.mkdir(exist_ok=True)
    (folder / attribute_file).write_text(attributes)
    return folder / given


@pytest.mark.parametrize(
    "layout",
    ["torchvision", "its own site", "its own site, PNG", "its pictures alone", "its pictures' folder", "Kaggle"],
)
def test_celebas_own_partition_is_heeded(layout, tmp_path):
    folder = lay_out_celeba(tmp_path / "celeba", layout)
    for split, numbers in (("train", [0, 1]), ("valid", [2, 3]), ("test", [4, 5])):
        assert numbers_of(folder, tmp_path / "cache", split) == numbers
        with open_split(DataSettings(dataset=str(folder), cache_dir=tmp_path / "cache"), split) as faces:
            assert faces.label_names == ("Bald", "Male")
            male = [torch.equal(faces[:][place], drawn(numbers[1])) for place in range(2)]  # The odd ones.
            assert faces.labels(slice(2)).tolist() == [[-1, 1 if its else -1] for its in male]
    assert not any(word in faces.source.description for word in ("1 .csv", "1 .txt", "2 .csv", "2 .txt"))


def test_of_celebas_pictures_there_twice_the_aligned_ones_are_taken(tmp_path):
    folder = lay_out_celeba(tmp_path / "celeba", "its own site")
    for number in range(6):
        save(11 - number, folder / f"Img/img_celeba/{number + 1:06}.png")
        save(11 - number, folder / f"Img/img_align_celeba_png/{number + 1:06}.png")
    assert numbers_of(folder, tmp_path / "cache", "all") == [0, 1, 2, 3, 4, 5]


# Tables.


def test_the_only_column_of_images_is_taken_and_told(tmp_path, capsys):
    write_parquet(tmp_path / "mine/data/train-00000-of-00001.parquet", range(3), column="picture")
    with open_split(DataSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache"), "train") as faces:
        assert len(faces) == 3 and torch.equal(faces[:][2], expected(2))
    assert "column 'picture'" in capsys.readouterr().out


def test_one_of_several_columns_of_images_has_to_be_chosen(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    pictures = [{"bytes": encode(draw_face(number), "PNG"), "path": None} for number in range(2)]
    features = Features({"before": datasets.Image(), "after": datasets.Image()})
    Dataset.from_dict({"before": pictures, "after": pictures[::-1]}, features).to_parquet(folder / "train.parquet")
    settings = DataSettings(dataset=str(folder), cache_dir=tmp_path / "cache")
    with pytest.raises(
        TrainingError, match="--image-column image: .* no such column; those of images are before, after"
    ):
        open_split(settings, "train")
    with open_split(replace(settings, image_column="after"), "train") as faces:
        assert torch.equal(faces[:2][1], expected(0))


def test_a_folder_of_save_to_disk_is_read(celeba, tmp_path):
    saved = datasets.load_dataset(str(celeba), cache_dir=tmp_path / "hub")
    saved.save_to_disk(tmp_path / "all")
    saved["train"].save_to_disk(tmp_path / "one")
    for name, split, first, size in (("all", "valid", 48, 16), ("one", "train", 0, 48)):
        with open_split(DataSettings(dataset=str(tmp_path / name), cache_dir=tmp_path / "cache"), split) as faces:
            assert len(faces) == size and torch.equal(faces[:1][0], expected(first))


def test_pictures_beside_tables_that_hold_none_are_what_is_meant(tmp_path):
    save(3, tmp_path / "mine/3.png")
    Dataset.from_dict({"number": [1]}).to_parquet(tmp_path / "mine/numbers.parquet")
    assert numbers_of(tmp_path / "mine", tmp_path / "cache") == [3]


def test_a_data_set_of_several_configurations_wants_one(tmp_path):
    folder = tmp_path / "mine"
    write_parquet(folder / "a/train.parquet", range(1))
    write_parquet(folder / "b/train.parquet", range(1, 3))
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in "ab")
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    settings = DataSettings(dataset=str(folder), cache_dir=tmp_path / "cache")
    with pytest.raises(TrainingError, match="--config is to name one: .* has several, a, b$"):
        open_split(settings, "train")
    with pytest.raises(TrainingError, match="--config c: .* has no such configuration; it has a, b$"):
        open_split(replace(settings, config="c"), "train")
    with open_split(replace(settings, config="b"), "train") as faces:
        assert len(faces) == 2 and torch.equal(faces[:1][0], expected(1))
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}  default: true\n---\n")
    with open_split(settings, "train") as faces:
        assert len(faces) == 2 and torch.equal(faces[:1][0], expected(1))


def test_tables_in_a_folder_that_their_reader_cannot_name_say_so(tmp_path):
    write_parquet(tmp_path / "faces [2024]/train.parquet", range(1))
    with pytest.raises(TrainingError, match="rename it"):
        open_split(DataSettings(dataset=str(tmp_path / "faces [2024]"), cache_dir=tmp_path / "cache"), "train")


# Damaged pictures.


def damage(path):
    path.write_bytes(path.read_bytes()[:200])


def test_a_damaged_picture_is_named_and_left_out(tmp_path, capsys):
    for number in range(6):
        save(number, tmp_path / f"mine/{number}.png")
    damage(tmp_path / "mine/2.png")
    (tmp_path / "mine/4.png").write_bytes(b"")
    assert numbers_of(tmp_path / "mine", tmp_path / "cache") == [0, 1, 3, 5]
    told = capsys.readouterr().out
    assert "2.png cannot be read and is left out" in told and "4.png cannot be read and is left out" in told
    settings = gan.GANSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache")
    with open_faces(settings) as faces:
        assert faces.is_cached and len(faces) == 4
    assert "2 that cannot be read are left out: 2.png, 4.png" in capsys.readouterr().out


@pytest.mark.parametrize("cached", [False, True])
def test_strict_stops_at_the_first_damaged_picture(cached, tmp_path):
    for number in range(3):
        save(number, tmp_path / f"mine/{number}.png")
    damage(tmp_path / "mine/1.png")
    settings = DataSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache")
    if cached:
        with open_split(settings, "train") as faces:
            assert len(faces) == 2
    with pytest.raises(TrainingError, match="--strict: 1.png of .* cannot be read"):
        open_split(replace(settings, strict=True), "train")


def test_empty_and_damaged_rows_are_named_and_do_not_shift_what_follows(tmp_path, monkeypatch, capsys):
    pictures = [{"bytes": encode(draw_face(number), "PNG"), "path": f"{number:06}.png"} for number in range(12)]
    pictures[3] = None
    pictures[7] = {"bytes": pictures[7]["bytes"][:100], "path": "000007.png"}
    folder = tmp_path / "mine"
    folder.mkdir()
    features = Features({"image": datasets.Image(), "Smiling": Value("bool")})
    columns = {"image": pictures, "Smiling": [number > 5 for number in range(12)]}
    Dataset.from_dict(columns, features).to_parquet(folder / "train.parquet")
    monkeypatch.setattr(data, "CHUNK", 5)
    settings = EvaluationSettings(dataset=str(folder), cache_dir=tmp_path / "cache")
    # Begun with a limit, and gone on with: chunks of 5, 1 and again 5 pictures.
    for limit, numbers in ((5, [0, 1, 2, 4, 5]), (None, [0, 1, 2, 4, 5, 6, 8, 9, 10, 11])):
        with open_split(settings, "train", limit) as faces:
            assert torch.equal(faces[: len(faces)], torch.stack([expected(number) for number in numbers]))
    told = capsys.readouterr().out
    assert "row 3 cannot be read and is left out: It is empty." in told and "row 7 (000007.png) cannot" in told
    smiling = settings.labels("train", 6)["Smiling"]
    assert smiling.tolist() == [False, False, False, False, False, True]
    assert settings.labels("train", 2, skip=4)["Smiling"].tolist() == [False, True]


def test_more_damaged_pictures_than_a_few_stop_the_run(tmp_path):
    for number in range(9):
        save(number, tmp_path / f"mine/{number}.png")
    for number in range(1, 7):
        damage(tmp_path / f"mine/{number}.png")
    with (
        pytest.raises(TrainingError, match=r"more than 5 pictures cannot be read, the last of them [1-6].png"),
        Faces(source(tmp_path / "mine", tmp_path), tmp_path / "cache") as faces,
    ):
        len(faces)


def test_a_set_of_damaged_pictures_alone_says_so(tmp_path):
    save(0, tmp_path / "mine/0.png")
    damage(tmp_path / "mine/0.png")
    with pytest.raises(TrainingError, match="none can be read: 0.png"):
        open_split(DataSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache"), "train")


# Small sets.


@pytest.mark.parametrize("size, held", [(60, 6), (20, 2), (4, 2)])
def test_of_a_small_set_a_tenth_is_held_out(size, held, tmp_path, capsys):
    for number in range(size):
        save(number, tmp_path / f"mine/{number:02}.png")
    settings = gan.GANSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache")
    found = open_held_out(settings, "valid", 500)
    assert found.skip == len(found.faces) == held and found.split == "train"
    assert f"the first {held} faces, a tenth of {size}, of 'train' are held out" in capsys.readouterr().out
    with open_faces(settings, found.skip) as faces:
        assert len(faces) == size - held
        both = torch.cat([found.faces, faces[:]]).flatten(1)
    assert len(both.unique(dim=0)) == size


def test_three_pictures_are_too_few_to_hold_any_out(tmp_path):
    for number in range(3):
        save(number, tmp_path / f"mine/{number}.png")
    with pytest.raises(TrainingError, match="holds 3 faces: 4 are the least"):
        open_held_out(DataSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache"), "valid", 500)


def test_held_out_faces_are_those_of_valid_where_there_is_no_test(tmp_path):
    for number in range(4):
        save(number, tmp_path / f"mine/train/{number}.png")
        save(number + 4, tmp_path / f"mine/val/{number}.png")
    found = open_held_out(DataSettings(dataset=str(tmp_path / "mine"), cache_dir=tmp_path / "cache"), "test", 500)
    assert (found.split, found.skip, len(found.faces)) == ("valid", 0, 4)
    assert all(any(torch.equal(face, drawn(number)) for face in found.faces) for number in range(4, 8))


def test_faces_of_the_training_split_are_never_held_out_and_trained_on(celeba, tmp_path):
    found = open_held_out(DataSettings(dataset=str(celeba), cache_dir=tmp_path), "train", 3)
    assert found.skip == len(found.faces) == 3


# What is no folder, and what a disk does.


@pytest.mark.parametrize(
    "name, message",
    [
        ("file.jpg", "is a file"),
        ("", "is empty"),
        ("~nobody-of-that-name/x", "no such folder"),
        ("/" + "x" * 300, "no"),
    ],
)
def test_what_is_no_folder_is_told(name, message, tmp_path):
    (tmp_path / "file.jpg").write_bytes(b"x")
    with pytest.raises(TrainingError, match=f"--dataset .*{message}"):
        find_source(DataSettings(dataset=str(tmp_path / name) if name == "file.jpg" else name), "train")


def test_flipped_bits_of_the_cache_are_noticed_and_mended(celeba, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "CHUNK", 10)
    with Faces(source(celeba, tmp_path), tmp_path) as faces:
        before = faces[: len(faces)]
    pixels = bytearray(faces._pixels_path.read_bytes())
    for place in (0, 23 * FACE_BYTES + 77, 48 * FACE_BYTES - 1):
        pixels[place] ^= 4
    faces._pixels_path.write_bytes(pixels)
    with Faces(source(celeba, tmp_path), tmp_path, limit=45) as faces:
        assert torch.equal(faces[10:20], before[10:20]) and "damaged" not in capsys.readouterr().out
        assert torch.equal(faces[20:30], before[20:30])
        assert capsys.readouterr().out.count("Faces 20 to 29 of the cache") == 1
        assert torch.equal(torch.cat([batch.pixels for batch in faces.batches(2, 1, 0)]).sum(), before[:45].sum())
        told = capsys.readouterr().out
        assert "Faces 0 to 9 " in told and "Faces 40 to 47 " in told and told.count("\n") == 2
    with Faces(source(celeba, tmp_path), tmp_path) as faces:
        assert torch.equal(faces[: len(faces)], before)
    assert capsys.readouterr().out == ""


def test_flipped_bits_whose_source_is_gone_are_told(tmp_path):
    for number in range(3):
        save(number, tmp_path / f"mine/{number}.png")
    own = source(tmp_path / "mine", tmp_path)
    with Faces(own, tmp_path / "cache") as faces:
        len(faces)
    with open(faces._pixels_path, "r+b") as file:
        file.write(b"\0\1\2")
    (tmp_path / "mine/1.png").unlink()
    with Faces(own, tmp_path / "cache") as faces, pytest.raises(TrainingError, match="other pictures now: delete it"):
        faces[:3]


@pytest.mark.parametrize("harm", ["no JSON", "[]", "another number", "another version"])
def test_a_state_that_is_damaged_is_no_state(harm, celeba, tmp_path):
    with Faces(source(celeba, tmp_path), tmp_path, limit=20) as faces:
        len(faces)
    state = json.loads(faces._state_path.read_text())
    state["chunks"][0][0] += 1
    texts = {"no JSON": "\0\0", "[]": "[]", "another number": json.dumps(state), "another version": '{"count": 20}'}
    faces._state_path.write_text(texts[harm])
    with Faces(source(celeba, tmp_path), tmp_path) as faces:
        assert len(faces) == 48 and torch.equal(faces[:][23], expected(23))


def test_a_cache_that_cannot_be_written_is_one_sentence(celeba, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(TrainingError, match="--cache-dir: the cache .* cannot be written: Not a directory"):
        open_split(DataSettings(dataset=str(celeba), cache_dir=tmp_path / "file"), "train")

    def no_space(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data, "CHUNK", 10)
    settings = DataSettings(dataset=str(celeba), cache_dir=tmp_path / "cache")
    with open_split(settings, "train", limit=20) as faces:
        len(faces)
    monkeypatch.setattr(data.os, "fsync", no_space)
    with open_split(settings, "train") as faces, pytest.raises(TrainingError, match="cannot be written: No space left"):
        len(faces)
    monkeypatch.undo()
    with open_split(settings, "train") as faces:
        assert len(faces) == 48 and torch.equal(faces[:][23], expected(23))
