"""The training commands, from their arguments to the model they leave."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from models import AttributeDiscriminator, AttributeGenerator, Autoencoder, Generator, PerceptualAutoencoder, load
from models.history import load_history
from train import adversary, attribute_gan, autoencoder, autoencoders, gan, perceptual_autoencoder, pictures
from train.autoencoders import AutoencoderTrainer, PerceptualAutoencoderTrainer
from train.generators import AttributeGANTrainer, GANTrainer
from train.settings import Interrupted, TrainingError

SMALL = ["--batch-size", "8", "--latent-size", "10", "--precision", "fp32", "--passes", "1"]
SMALL_GAN = [*SMALL, "--hidden-size", "4", "--discrete-size", "5"]
SMALL_AUTOENCODER = [*SMALL, "--hidden-size", "8", "--held-out", "16"]
CHANNELS = ["--channels", *["4"] * 5]
SMALL_ATTRIBUTE_GAN = [*SMALL_GAN, *CHANNELS, "--warped", "0.5"]
SMALL_PERCEPTUAL = [*SMALL, *CHANNELS, "--encoder-channels", *["4"] * 4, "--held-out", "16", "--components", "2"]
SMALL_PERCEPTUAL += ["--perceptual-share", "0.34", "--adversarial-share", "0.34"]

COMMANDS = {
    "gan": (gan.main, GANTrainer, SMALL_GAN),
    "plain": (autoencoder.main, AutoencoderTrainer, SMALL_AUTOENCODER),
    "matched": (autoencoder.main, AutoencoderTrainer, [*SMALL_AUTOENCODER, "--prior-mean", "0"]),
    "shifted": (autoencoder.main, AutoencoderTrainer, [*SMALL_AUTOENCODER, "--prior-mean", "-3", "--match", "moments"]),
    "attribute gan": (attribute_gan.main, AttributeGANTrainer, SMALL_ATTRIBUTE_GAN),
    "perceptual": (perceptual_autoencoder.main, PerceptualAutoencoderTrainer, SMALL_PERCEPTUAL),
}


@pytest.fixture(autouse=True)
def small_adversary(monkeypatch):
    """A discriminator of few channels, whose head start is so short that models learn from it in these short runs."""
    monkeypatch.setattr(autoencoders, "AttributeDiscriminator", lambda: AttributeDiscriminator(0, 4))
    monkeypatch.setattr(adversary, "HEAD_START", 2)
    monkeypatch.setattr(adversary, "PENALTY_EVERY", 2)


@pytest.fixture
def arguments(celeba, tmp_path):
    """Of a small run: model's own arguments, then data, epochs and folder."""

    def build(own: list[str], output: str = "run", epochs: int = 2) -> list[str]:
        folders = ["--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / output)]
        return [*own, *folders, "--epochs", str(epochs)]

    return build


def losses(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_leaves_a_model_its_pictures_and_its_figures(name, arguments, tmp_path):
    main, _, own = COMMANDS[name]
    main(arguments(own))
    run = tmp_path / "run"
    steps = [line for line in losses(run) if any(key.endswith("_loss") for key in line)]
    assert [line["step"] for line in steps] == list(range(1, 13))  # 48 faces, 8 a step, twice
    assert steps[-1]["images_seen"] == 96
    assert Image.open(run / "loss.png").width > 100
    series = ["samples"] if "gan" in name else ["samples", "reconstructions", "interpolations"]
    for folder in series:
        assert [path.name for path in sorted((run / folder).iterdir())] == ["epoch-0001.png", "epoch-0002.png"]
    if name == "gan":
        model = Generator.from_pretrained(run / "model")
        assert (model.latent_size, model.discrete_size) == (10, 5)
    elif name == "attribute gan":
        model = AttributeGenerator.from_pretrained(run / "model")
        assert (model.latent_size, model.discrete_size, model.attributes) == (10, 5, ("Smiling",))
        assert all("attribute_loss" in line for line in steps)
        on = (model.sample_latent(1000, seed=0)[:, 5] > 0).float().mean()
        assert on == pytest.approx(0.5, abs=0.05)  # Every second face smiles.
    elif name == "perceptual":
        model = PerceptualAutoencoder.from_pretrained(run / "model")
        assert model.attributes == ("Smiling",)
        assert ["perceptual_loss" in line for line in steps] == [True] * 6 + [False] * 6
        assert ["discriminator_loss" in line for line in steps] == [False] * 6 + [True] * 6
        z = model.sample_latent(5000, seed=0)
        assert z.mean(0).abs().max() < 0.4 and z.var(0).mean() == pytest.approx(model.prior_variance, rel=0.2)
        assert model.encoding_steps == 4
        fitted = model.with_encoding_steps(0).with_encoding_steps(4).preconditioner  # To weights in float16.
        torch.testing.assert_close(model.preconditioner, fitted, rtol=0.1, atol=0.1 * fitted.abs().max().item())
    else:
        model = Autoencoder.from_pretrained(run / "model")
        assert Image.open(run / "interpolations/epoch-0001.png").size == (11 * 66 + 2, 8 * 66 + 2)
        assert [line["epoch"] for line in losses(run) if "held_out_psnr" in line] == [1, 2]
        assert model.prior_mean == (-3 if name == "shifted" else 0) and model.prior_variance == 2
        assert model.matching == {"plain": None, "matched": "mmd", "shifted": "moments"}[name]
    assert model.generate(2, seed=0)[0].size == (64, 64)
    stored = load_file(run / "model/model.safetensors")
    assert all(stored[key].dtype == torch.float16 for key, _ in model.named_parameters())
    card = (run / "model/README.md").read_text()
    told = "relativistic binary cross-entropy, pair by pair; gradient penalties of 0.5 at real and at generated"
    assert (told in card) == (name in ("attribute gan", "perceptual"))
    assert ("50% of the pairs turned" in card) == (name == "attribute gan")
    assert ("Encoding goes on from the encoder by 4 Gauss-Newton steps" in card) == (name == "perceptual")
    assert "license: other" in card and "| images seen | 96 |" in card
    assert "--dataset path/to/celeba0" in card
    assert "The same 16 latents after every epoch:\n\n![" in card and "](epochs.webp)" in card
    story = load_history(run / "model")
    assert (story.epochs, story.images_seen) == (2, 96) and "--dataset path/to/celeba0" in story.command
    assert len(story.losses["step"]) == 12 and ("held_out_psnr" in story.measurements) == ("gan" not in name)
    for epoch in (1, 2):
        grid = Image.open(run / f"samples/epoch-{epoch:04d}.png")
        tenth = grid.crop((68, 68, 132, 132))
        shown, drawn = (np.asarray(face.convert("L")).astype(int) for face in (story.faces_after(epoch)[9], tenth))
        assert np.abs(shown - drawn).mean() < 10  # Of noise, as yet; of another face's it is some 60.


@pytest.mark.parametrize(
    "name, stop_at, epochs",
    [
        *((name, stop_at, 2) for name in ("gan", "matched", "attribute gan") for stop_at in (3, 6, 9)),
        *(("perceptual", stop_at, 3) for stop_at in (3, 9, 12, 15)),
    ],
)
def test_a_stopped_run_resumes_as_if_it_had_not_been(name, stop_at, epochs, arguments, tmp_path, monkeypatch):
    """Stopped within each epoch, or phase, and at the end of one: the same losses and weights to the last bit."""
    main, trainer, own = COMMANDS[name]
    main(arguments(own, "straight", epochs))

    step = trainer.step
    with monkeypatch.context() as patch:

        def interrupted(self, images, number, labels):
            if number == stop_at - 1:
                os.kill(os.getpid(), signal.SIGINT)
            return step(self, images, number, labels)

        patch.setattr(trainer, "step", interrupted)
        with pytest.raises(Interrupted, match=f"step {stop_at}.*--resume"):
            main(arguments(own, "stopped", epochs))
    main([*arguments(own, "stopped", epochs), "--resume"])

    straight, stopped = (
        [{key: value for key, value in line.items() if key != "seconds"} for line in losses(tmp_path / name)]
        for name in ("straight", "stopped")
    )
    assert straight == stopped
    one, two = (torch.load(tmp_path / name / "checkpoint.pt") for name in ("straight", "stopped"))
    assert one["position"]["step"] == two["position"]["step"] == 6 * epochs
    for part, state in one["state"].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, two["state"][part][key]), (part, key)
    assert history_files(tmp_path / "straight") == history_files(tmp_path / "stopped")


def test_an_epoch_of_two_passes_trains_as_two_epochs_of_one(arguments, tmp_path, monkeypatch):
    """Stopped in its second pass, too."""
    main, trainer, own = COMMANDS["gan"]
    main(arguments(own, "epochs"))
    main(arguments([*own, "--passes", "2"], "passes", epochs=1))
    step = trainer.step

    def interrupted(self, images, number, labels):
        if number == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, images, number, labels)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "step", interrupted)
        with pytest.raises(Interrupted, match="step 9"):
            main(arguments([*own, "--passes", "2"], "stopped", epochs=1))
    main([*arguments([*own, "--passes", "2"], "stopped", epochs=1), "--resume"])
    epochs, passes, stopped = (
        [[line["step"], line["generator_loss"]] for line in losses(tmp_path / name) if "generator_loss" in line]
        for name in ("epochs", "passes", "stopped")
    )
    assert len(epochs) == 12 and epochs == passes == stopped
    assert [path.name for path in (tmp_path / "passes/samples").iterdir()] == ["epoch-0001.png"]
    story = load_history(tmp_path / "stopped/model")
    assert (story.epochs, story.images_seen) == (1, 96)
    assert "| epochs | 1, each of 2 passes over the faces |" in (tmp_path / "stopped/model/README.md").read_text()


def history_files(run) -> tuple[dict, bytes]:
    """What a run leaves of its history, times and folders aside."""
    training = json.loads((run / "model/training.json").read_text())
    assert training.pop("seconds") > 0 and training["measurements"].pop("seconds") and training.pop("command")
    return training, (run / "model/epochs.webp").read_bytes()


def test_a_stopped_run_tells_of_the_epochs_that_are_done(arguments, tmp_path, monkeypatch):
    step = GANTrainer.step

    def interrupted(self, images, number, labels):
        if number == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, images, number, labels)

    monkeypatch.setattr(GANTrainer, "step", interrupted)
    with pytest.raises(Interrupted):
        gan.main(arguments(SMALL_GAN))
    story = load_history(tmp_path / "run/model")
    assert story.epochs == 1 and story.losses["step"] == [1, 2, 3, 4, 5, 6] and len(story.faces_after(1)) == 16
    assert "](epochs.webp)" in (tmp_path / "run/model/README.md").read_text()


def test_pictures_are_read_again_once_a_run_and_not_once_an_epoch(arguments, monkeypatch):
    """After every epoch it would take as long as all epochs before it."""
    read, paths = pictures.read_faces, []
    monkeypatch.setattr(pictures, "read_faces", lambda path: paths.append(path) or read(path))
    gan.main(arguments(SMALL_GAN, epochs=3))
    assert len(paths) == 3


@pytest.mark.parametrize("name", ["gan", "plain", "attribute gan", "perceptual"])
def test_resuming_a_finished_run_writes_its_history(name, arguments, tmp_path):
    """For runs from before there was one: their folders hold all that it takes."""
    main, _, own = COMMANDS[name]
    main(arguments(own))
    model = tmp_path / "run/model"
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    for file in ("training.json", "epochs.webp", "README.md"):
        (model / file).unlink()
    main([*arguments(own), "--resume"])
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_a_run_whose_pictures_are_gone_goes_on_without_a_history(arguments, tmp_path, capsys):
    main, _, own = COMMANDS["gan"]
    main(arguments(own, epochs=1))
    (tmp_path / "run/samples/epoch-0001.png").unlink()
    main([*arguments(own, epochs=2), "--resume"])
    assert "goes without training.json and epochs.webp" in capsys.readouterr().out
    assert load_history(tmp_path / "run/model") is None
    assert "epochs.webp" not in (tmp_path / "run/model/README.md").read_text()


def test_a_run_can_be_lengthened(arguments, tmp_path):
    main, _, own = COMMANDS["gan"]
    main(arguments(own, epochs=1))
    main([*arguments(own, epochs=2), "--resume"])
    assert losses(tmp_path / "run")[-1]["step"] == 12


def test_models_of_the_way_are_kept(arguments, tmp_path):
    """After 2 and 4 epochs, as runs of 2 and of 4 leave them."""
    for output, epochs in (("long", 5), ("short", 2)):
        gan.main([*arguments(SMALL_GAN, output, epochs), "--keep-epochs", "2"])
    snapshots = tmp_path / "long/snapshots"
    assert sorted(path.name for path in snapshots.iterdir()) == ["epoch-0002", "epoch-0004"]
    two, four = (load_file(snapshots / name / "model.safetensors") for name in ("epoch-0002", "epoch-0004"))
    short = load_file(tmp_path / "short/model/model.safetensors")
    assert all(torch.equal(two[name], short[name]) for name in short)
    assert not torch.equal(two["layers.0.0.weight"], four["layers.0.0.weight"])
    assert "| epochs | 2 (of 5 begun) |" in (snapshots / "epoch-0002/README.md").read_text()


def test_another_average_of_a_finished_run_is_written_in_its_place(arguments, tmp_path, capsys):
    gan.main([*arguments(SMALL_GAN, "wide"), "--average", "0.1"])
    gan.main(arguments(SMALL_GAN))
    narrow = load_file(tmp_path / "run/model/model.safetensors")
    gan.main([*arguments(SMALL_GAN), "--average", "0.1", "--resume"])
    assert "is of another --average, and is written anew" in capsys.readouterr().out
    now, wide = (load_file(tmp_path / name / "model/model.safetensors") for name in ("run", "wide"))
    assert all(torch.equal(now[name], wide[name]) for name in wide)
    assert any(not torch.equal(now[name], narrow[name]) for name in narrow)
    assert "relative standard deviation 0.1)" in (tmp_path / "run/model/README.md").read_text()


def test_metrics_past_the_checkpoint_are_dropped(arguments, tmp_path):
    """As after a kill: the log knows steps that the checkpoint does not."""
    main, _, own = COMMANDS["gan"]
    main(arguments(own, epochs=1))
    with open(tmp_path / "run/metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 7, "generator_loss": 9.0}) + "\n")
    main([*arguments(own, epochs=2), "--resume"])
    assert [line["step"] for line in losses(tmp_path / "run") if "seconds" not in line] == list(range(1, 13))


def error(main, arguments) -> str:
    with pytest.raises(TrainingError) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_resuming_what_is_not_there_or_another_model_is_refused(arguments, tmp_path):
    main, _, own = COMMANDS["gan"]
    assert "holds no run" in error(main, [*arguments(own), "--resume"])
    main(arguments(own, epochs=1))
    before = (tmp_path / "run/checkpoint.pt").read_bytes()
    assert "train.gan, not of train.autoencoder" in error(
        COMMANDS["plain"][0], [*arguments(COMMANDS["plain"][2]), "--resume"]
    )
    other = [*SMALL, "--hidden-size", "4", "--discrete-size", "6"]
    assert "--discrete-size 5, this command 6" in error(main, [*arguments(other), "--resume"])
    assert "already" in error(main, arguments(own))
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before


def test_a_checkpoint_that_is_another_models_is_refused(arguments, tmp_path):
    main, _, own = COMMANDS["gan"]
    main(arguments(own, epochs=1))
    wider = [*SMALL, "--hidden-size", "8", "--discrete-size", "5"]
    main(arguments(wider, "wider", epochs=1))
    os.replace(tmp_path / "wider/checkpoint.pt", tmp_path / "run/checkpoint.pt")
    assert "belongs to another model" in error(main, [*arguments(own), "--resume"])
    (tmp_path / "run/checkpoint.pt").write_bytes(b"half a checkpoint")
    assert "damaged" in error(main, [*arguments(own), "--resume"])


def test_a_folder_is_held_by_one_process(arguments, tmp_path):
    main, _, own = COMMANDS["gan"]
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run/.lock"):
        assert "another process" in error(main, arguments(own))


def convolutions(folder) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in load(folder).named_parameters() if weight.ndim == 4}


@pytest.mark.parametrize("name", ["gan", "matched", "attribute gan", "perceptual"])
def test_training_starts_from_a_trained_model(name, arguments, tmp_path):
    main, _, own = COMMANDS[name]
    main(arguments(own, "first", epochs=1))
    first = tmp_path / "first/model"
    main([*arguments(own, "second", epochs=1), "--start-from", str(first), "--learning-rate", "1e-12", "--seed", "1"])
    before, after = convolutions(first), convolutions(tmp_path / "second/model")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    card = (tmp_path / "second/model/README.md").read_text()
    assert (
        "| first weights | those of path/to/model, which saw 48 images |" in card
        and "--start-from path/to/model" in card
    )
    note = load_history(tmp_path / "second/model").note
    assert note == "Training began with the weights of path/to/model, which saw 48 images."


@pytest.mark.parametrize("before, after", [("4", "0"), ("0", "4")])
def test_training_starts_from_another_number_of_encoding_steps(before, after, arguments, tmp_path):
    run = lambda output, steps: [*arguments(SMALL_PERCEPTUAL, output, epochs=1), "--encoding-steps", steps]
    perceptual_autoencoder.main(run("first", before))
    perceptual_autoencoder.main([*run("second", after), "--start-from", str(tmp_path / "first/model")])
    assert load(tmp_path / "second/model").encoding_steps == int(after)


def test_training_starts_from_a_model_with_an_affine_map(arguments, tmp_path):
    """Also with other labels than the data set's; how these occur together is learned anew."""
    before = AttributeGenerator(10, 5, ("Glasses", "Hat"), (4,) * 5, affine=True)
    before.save_pretrained(tmp_path / "before")
    own = [*SMALL_ATTRIBUTE_GAN, "--start-from", str(tmp_path / "before"), "--learning-rate", "1e-12"]
    attribute_gan.main(arguments(own, epochs=1))
    after = load(tmp_path / "run/model")
    assert after.attributes == ("Smiling",) and after.affine
    # Of float16, as which they are stored.
    for name, weight in before.named_parameters():
        assert torch.allclose(after.get_parameter(name), weight, atol=3e-4), name
    assert "| first weights | those of path/to/before |" in (tmp_path / "run/model/README.md").read_text()
    attribute_gan.main([*arguments(own, epochs=2), "--resume"])


def test_another_model_to_start_from_is_refused(arguments, tmp_path):
    own, models = SMALL_ATTRIBUTE_GAN, {
        "another class": Generator(10, 5, 4),
        "wider": AttributeGenerator(10, 5, ("Smiling",), (8,) * 5),
        "other bits": AttributeGenerator(10, 4, ("Smiling",), (4,) * 5),
    }  # fmt: skip
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        told = error(attribute_gan.main, [*arguments(own), "--start-from", str(tmp_path / name)])
        assert told.startswith(f"--start-from {tmp_path / name}: it is another model, or of other sizes"), told
    AttributeGenerator(10, 5, ("Smiling",), (4,) * 5, affine=True).save_pretrained(tmp_path / "affine")
    told = error(gan.main, [*arguments(SMALL_GAN, "gan"), "--start-from", str(tmp_path / "affine")])
    assert told.startswith(f"--start-from {tmp_path / 'affine'}: it is another model"), told
    told = error(attribute_gan.main, [*arguments(own), "--start-from", "nowhere"])
    assert told.startswith(
        "--start-from: nowhere is neither a folder here nor the name of a model on the Hub, user/name"
    )


def test_too_few_faces_for_a_batch_say_so(arguments):
    main, _, _ = COMMANDS["gan"]
    own = ["--batch-size", "64", "--latent-size", "10", "--hidden-size", "4", "--discrete-size", "5"]
    assert "48 faces" in error(main, arguments(own))


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(arguments, tmp_path, monkeypatch):
    main, _, own = COMMANDS["plain"]
    main(arguments(own, epochs=1))
    before = (tmp_path / "run/checkpoint.pt").read_bytes()
    monkeypatch.setattr(autoencoders, "pixel_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    told = error(main, [*arguments(own, epochs=2), "--resume"])
    assert "no number at step 7" in told and "--learning-rate below 0.005" in told and "before it is kept" in told
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before
    told = error(main, arguments(own, "other"))
    assert "no number at step 1" in told and "checkpoint" not in told


def test_a_weight_beyond_float16_is_stored_whole(arguments, tmp_path, monkeypatch):
    model = GANTrainer.model

    def large(self):
        torch.nn.init.constant_(model(self).layers[-2].bias, 70_000.0)
        return model(self)

    monkeypatch.setattr(GANTrainer, "model", large)
    gan.main(arguments(SMALL_GAN, epochs=1))
    assert Generator.from_pretrained(tmp_path / "run/model").layers[-2].bias.tolist() == [70_000.0] * 3


def test_weights_that_are_no_numbers_are_never_saved(arguments, tmp_path, monkeypatch):
    """The last step of an epoch may spoil them, and its loss be a number."""
    step = GANTrainer.step

    def spoiling(self, images, number, labels):
        losses = step(self, images, number, labels)
        if number == 11:
            torch.nn.init.constant_(next(self.discriminator.parameters()), float("inf"))
        return losses

    monkeypatch.setattr(GANTrainer, "step", spoiling)
    assert "no number at step 12" in error(gan.main, arguments(SMALL_GAN))
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 6


def test_without_a_held_out_split_the_first_faces_are_kept_out(arguments, tmp_path, celeba, capsys):
    own = [*SMALL_AUTOENCODER, "--split", "valid"]
    autoencoder.main(arguments(own, epochs=1))
    assert "the first 2 faces, a tenth of 16, of 'valid' are held out" in capsys.readouterr().out
    assert losses(tmp_path / "run")[-1]["images_seen"] == 8  # 16 - 2, in batches of 8


@pytest.mark.parametrize(
    "wrong",
    [
        "--epochs 0",
        "--batch-size 1",
        "--batch-size 1000000000",
        "--limit 3",
        "--learning-rate 0",
        "--learning-rate nan",
        "--learning-rate inf",
        "--seed -1",
        "--seed 100000000000000000000000",
        "--latent-size 1000000000",
        "--hidden-size 1000000000",
        "--discrete-size 11",
        "--keep-epochs -1",
        "--average 0.3",
        "--average nan",
    ],
)
def test_an_impossible_setting_is_named(wrong, arguments, tmp_path):
    assert error(gan.main, [*arguments(SMALL_GAN), *wrong.split()]).startswith(wrong.split()[0])
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        "--prior-mean 1e30",
        "--prior-mean nan",
        "--prior-variance 0",
        "--prior-variance inf",
        "--match-weight -1",
        "--hidden-size 100000",
    ],
)
def test_an_impossible_setting_of_an_autoencoder_is_named(wrong, arguments, tmp_path):
    assert error(autoencoder.main, [*arguments(SMALL_AUTOENCODER), *wrong.split()]).startswith(wrong.split()[0])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    ["--channels 4 4 4 4 0", "--discrete-size 11", "--penalty -1", "--warped 2", "--attribute-weight nan"],
)
def test_an_impossible_setting_of_an_attribute_gan_is_named(wrong, arguments, tmp_path):
    assert error(attribute_gan.main, [*arguments(SMALL_ATTRIBUTE_GAN), *wrong.split()]).startswith(wrong.split()[0])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        "--encoder-channels 4 4 4 0",
        "--components 0",
        "--perceptual-weight -1",
        "--perceptual-share 0.9",
        "--average 0.3",
        "--held-out 1",
        "--encoding-steps 51",
    ],
)
def test_an_impossible_setting_of_a_perceptual_autoencoder_is_named(wrong, arguments, tmp_path):
    told = error(perceptual_autoencoder.main, [*arguments(SMALL_PERCEPTUAL), *wrong.split()])
    assert told.startswith(wrong.split()[0]) and not (tmp_path / "run").exists()


def test_more_labels_than_bits_are_told(arguments):
    own = [*SMALL, *CHANNELS, "--discrete-size", "0"]
    assert error(attribute_gan.main, arguments(own)).startswith("--discrete-size is 0")


def test_more_components_than_faces_are_told(arguments):
    told = error(perceptual_autoencoder.main, arguments([*SMALL_PERCEPTUAL, "--components", "49"], epochs=1))
    assert told == "--components is 49: there are 48 faces only"


def test_a_run_goes_on_where_it_and_its_faces_have_moved(celeba, arguments, tmp_path, capsys):
    moved = shutil.copytree(celeba, tmp_path / "moved")  # With other times, and so another fingerprint.
    gan.main(arguments(SMALL_GAN, epochs=1))
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    gan.main([*arguments(SMALL_GAN, "elsewhere", epochs=2), "--dataset", str(moved), "--resume"])
    assert f"the same faces from {moved}" in capsys.readouterr().out
    assert losses(tmp_path / "elsewhere")[-1]["step"] == 12
    assert "--dataset path/to/moved" in (tmp_path / "elsewhere/model/README.md").read_text()

    shutil.copy(moved / "data/valid-00000-of-00001.parquet", moved / "data/train-00000-of-00002.parquet")
    other = moved.rename(tmp_path / "other")
    before = (tmp_path / "elsewhere/run.json").read_bytes()
    told = error(gan.main, [*arguments(SMALL_GAN, "elsewhere", epochs=3), "--dataset", str(other), "--resume"])
    assert f"has --dataset {moved}" in told and (tmp_path / "elsewhere/run.json").read_bytes() == before


def test_as_many_epochs_are_told_as_are_done(arguments, tmp_path, capsys):
    gan.main(arguments(SMALL_GAN, epochs=1))
    assert "1 epoch is done;" in capsys.readouterr().out
    gan.main([*arguments(SMALL_GAN, epochs=2), "--resume"])
    gan.main([*arguments(SMALL_GAN, epochs=1), "--resume"])
    assert capsys.readouterr().out.count("2 epochs are done;") == 2
    assert "| epochs | 2, begun as 1" in (tmp_path / "run/model/README.md").read_text()


def test_a_learning_rate_that_jumps_is_told(arguments, capsys):
    own = [*SMALL_AUTOENCODER, "--learning-rate", "0.004"]
    autoencoder.main(arguments(own, epochs=1))
    assert "learning rate" not in capsys.readouterr().out
    autoencoder.main([*arguments(own, epochs=2), "--resume"])
    assert "in epoch 2 it is 0.002 instead of 0." in capsys.readouterr().out
    autoencoder.main([*arguments(own, epochs=2), "--resume"])
    assert "learning rate" not in capsys.readouterr().out


def test_training_in_a_thread(arguments, tmp_path):
    """As in a notebook or a server, where signals are not its affair."""
    handler = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(gan.main, arguments(SMALL_GAN, epochs=1)).result()
    assert (tmp_path / "run/model/model.safetensors").is_file() and signal.getsignal(signal.SIGINT) == handler


class WithoutDouble(TorchFunctionMode):
    """Only what was brought to the CPU becomes float64, as with Apple's GPUs."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            sources = [value for value in args if isinstance(value, torch.Tensor)]
            if function is torch.Tensor.cpu:
                result = result.clone()
            if function is torch.Tensor.cpu or any(getattr(source, "on_cpu", False) for source in sources):
                result.on_cpu = True
            elif result.dtype == torch.float64 and sources:
                raise TypeError("the MPS framework doesn't support float64")
        return result


@pytest.mark.parametrize("name", ["gan", "matched", "shifted", "attribute gan"])
def test_training_without_float64(name, arguments, tmp_path):
    main, _, own = COMMANDS[name]
    with WithoutDouble():
        with pytest.raises(TypeError, match="float64"):
            torch.ones(3).double()
        assert torch.ones(3).cpu().double().sum().item() == 3
        main(arguments(own, epochs=1))
    assert (tmp_path / "run/model/model.safetensors").is_file()


def test_the_command_line_ends_in_one_line_and_a_status(arguments, tmp_path):
    """The one test of the modules as processes: what a person sees who mistypes a folder."""
    command = [sys.executable, "-m", "train.gan", "--dataset", str(tmp_path / "nowhere")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
