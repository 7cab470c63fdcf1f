"""The training commands, from their arguments to the model they leave."""

import functools
import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from models import AttributeDiscriminator, AttributeGenerator, Generator, PerceptualAutoencoder, load
from models.history import load_history
from tests.conftest import WEIGHTS
from train import attribute_gan, autoencoder, autoencoders, gan, perceptual_autoencoder
from train.autoencoders import AutoencoderTrainer, PerceptualAutoencoderTrainer
from train.gan import GANSettings
from train.generators import AttributeGANTrainer, GANTrainer
from train.loop import start
from train.losses import PerceptualDistance
from train.settings import Interrupted, TrainingError

SMALL = ["--batch-size", "8", "--latent-size", "10", "--precision", "fp32", "--passes", "1"]
SMALL_GAN = [*SMALL, "--hidden-size", "4", "--discrete-size", "5"]
SMALL_AUTOENCODER = [*SMALL, "--hidden-size", "8", "--held-out", "16"]
CHANNELS = ["--channels", *["4"] * 5]
SMALL_ATTRIBUTE_GAN = [*SMALL_GAN, *CHANNELS, "--warped", "0.5"]
SMALL_PERCEPTUAL = [*SMALL, *CHANNELS, "--encoder-channels", *["4"] * 4, "--held-out", "16", "--components", "2"]
SMALL_PERCEPTUAL += ["--perceptual-share", "0.34", "--adversarial-share", "0.34"]
MATCHED, SHIFTED = (["--prior-mean", mean, "--prior-variance", "2"] for mean in ("0", "-3"))

COMMANDS = {
    "gan": (gan.main, GANTrainer, SMALL_GAN),
    "plain": (autoencoder.main, AutoencoderTrainer, SMALL_AUTOENCODER),
    "matched": (autoencoder.main, AutoencoderTrainer, [*SMALL_AUTOENCODER, *MATCHED]),
    "shifted": (autoencoder.main, AutoencoderTrainer, [*SMALL_AUTOENCODER, *SHIFTED]),
    "attribute gan": (attribute_gan.main, AttributeGANTrainer, SMALL_ATTRIBUTE_GAN),
    "perceptual": (perceptual_autoencoder.main, PerceptualAutoencoderTrainer, SMALL_PERCEPTUAL),
}

# The README's command of each bundled model.
BUNDLED = {
    "gan": ("gan", "python -m train.gan"),
    "plain": ("autoencoder", "python -m train.autoencoder"),
    "matched": ("matched-autoencoder", f"python -m train.autoencoder {' '.join(MATCHED)}"),
    "shifted": ("shifted-autoencoder", f"python -m train.autoencoder {' '.join(SHIFTED)}"),
    "attribute gan": ("attribute-gan", "python -m train.attribute_gan"),
    "perceptual": ("perceptual-autoencoder", "python -m train.perceptual_autoencoder"),
}


def make_adversary_small(patch: pytest.MonkeyPatch) -> None:
    """A discriminator of few channels, with a head start so short that models learn from it in these short runs."""
    patch.setattr(autoencoders, "AttributeDiscriminator", lambda: AttributeDiscriminator(0, 4))
    patch.setattr("train.losses.HEAD_START", 2)
    patch.setattr("train.losses.PENALTY_EVERY", 2)


@pytest.fixture(scope="module", autouse=True)
def small_adversary():
    with pytest.MonkeyPatch.context() as patch:
        make_adversary_small(patch)
        patch.setattr(autoencoders, "PerceptualDistance", functools.cache(PerceptualDistance))
        yield


def epochs_of(name: str) -> int:
    return 3 if name == "perceptual" else 2  # It has three phases.


def losses(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(one: Path, two: Path) -> None:
    """The same metrics, weights and history to the last bit; times and folders aside."""
    metrics = [
        [{key: value for key, value in line.items() if key != "seconds"} for line in losses(run)] for run in (one, two)
    ]
    assert metrics[0] == metrics[1]
    states = [torch.load(run / "checkpoint.pt")["state"] for run in (one, two)]
    for part, state in states[0].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, states[1][part][key]), (part, key)
    histories = [json.loads((run / "model/training.json").read_text()) for run in (one, two)]
    for history in histories:
        assert history.pop("seconds") > 0 and history["measurements"].pop("seconds")
    assert histories[0] == histories[1]
    assert (one / "model/epochs.webp").read_bytes() == (two / "model/epochs.webp").read_bytes()


def interrupt(patch: pytest.MonkeyPatch, trainer: type, step: int) -> None:
    """Press Ctrl-C during a step, the first being 1."""
    real = trainer.step

    def interrupted(self, images, number, labels):
        if number == step - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, images, number, labels)

    patch.setattr(trainer, "step", interrupted)


def error(main, arguments) -> str:
    with pytest.raises(TrainingError) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What a command leaves.


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readmes_command_makes_what_the_bundled_models_folder_holds(name, straight):
    folder, command = BUNDLED[name]
    readme = (WEIGHTS.parent / "README.md").read_text()
    assert command in [line.partition("#")[0].strip() for line in readme.splitlines()]
    made, bundled = straight(name) / "model", WEIGHTS / folder
    # What a model's attributes look like is measured afterwards, by study.report.
    assert {path.name for path in made.iterdir()} == {path.name for path in bundled.iterdir()} - {"attributes.json"}
    one, other = load(made), load(bundled)
    assert type(one) is type(other) and one.prior_mean == other.prior_mean
    if name in ("plain", "matched", "shifted"):
        assert (one.matching, one.prior_variance) == (other.matching, other.prior_variance)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_leaves_a_model_its_pictures_and_its_figures(name, straight):
    run, epochs = straight(name), [*range(1, epochs_of(name) + 1)]
    lines = losses(run)
    steps = [line for line in lines if any(key.endswith("_loss") for key in line)]
    assert [line["step"] for line in steps] == [*range(1, 6 * len(epochs) + 1)]  # 48 faces, 8 a step.
    assert steps[-1]["images_seen"] == 48 * len(epochs)
    assert Image.open(run / "loss.png").width > 100
    series = ["samples"] if "gan" in name else ["samples", "reconstructions", "interpolations"]
    for folder in series:
        pictures = [path.name for path in sorted((run / folder).iterdir())]
        assert pictures == [f"epoch-{epoch:04d}.png" for epoch in epochs]
    assert [line["epoch"] for line in lines if "held_out_psnr" in line] == (epochs if "gan" not in name else [])
    model = load(run / "model")
    assert (model.latent_size, model.crop) == (10, 140 / 178)
    assert model.attributes == (("Smiling",) if name in ("attribute gan", "perceptual") else ())
    assert model.generate(2, seed=0)[0].size == (64, 64)
    stored = load_file(run / "model/model.safetensors")
    assert all(stored[key].dtype == torch.float16 for key, _ in model.named_parameters())
    card = (run / "model/README.md").read_text()
    assert "license: other" in card and f"| images seen | {48 * len(epochs)} |" in card
    assert "The same 16 latents after every epoch:\n\n![" in card and "](epochs.webp)" in card
    history = load_history(run / "model")
    assert (history.epochs, history.images_seen) == (len(epochs), 48 * len(epochs))
    assert len(history.losses["step"]) == len(steps) and ("held_out_psnr" in history.measurements) == (
        "gan" not in name
    )


def test_a_perceptual_autoencoder_has_three_phases_and_a_fitted_prior(straight):
    run = straight("perceptual")
    steps, card = [line for line in losses(run) if "seconds" not in line], (run / "model/README.md").read_text()
    assert ["perceptual_loss" in line for line in steps] == [True] * 6 + [False] * 12
    model = load(run / "model")
    z = model.sample_latent(5000, seed=0)
    assert z.mean(0).abs().max() < 0.4 and z.var(0).mean() == pytest.approx(model.prior_variance, rel=0.2)
    assert model.encoding_steps == 4
    fitted = model.with_encoding_steps(0).with_encoding_steps(4).preconditioner  # To weights in float16.
    torch.testing.assert_close(model.preconditioner, fitted, rtol=0.1, atol=0.1 * fitted.abs().max().item())
    for told in (
        "mean squared pixel error; in epochs 1 to 1 also 0.03 x perceptual distance",
        "; in epochs 3 to 3 it weighs 100, beside a discriminator that tells draws from real faces: relativistic",
        "stretched to a variance of 1.8. Encoding goes on from the encoder by 4 Gauss-Newton steps",
    ):
        assert told in " ".join(card.split())


# Stopping and going on.


@pytest.mark.parametrize(
    "name, stop_at", [("gan", 6), ("matched", 3), ("attribute gan", 9), ("perceptual", 9), ("perceptual", 15)]
)
def test_a_stopped_run_resumes_as_if_it_had_not_been(name, stop_at, straight, arguments, tmp_path, monkeypatch):
    """Stopped within an epoch, or phase, and at the end of one."""
    main, trainer, own = COMMANDS[name]
    with monkeypatch.context() as patch:
        interrupt(patch, trainer, stop_at)
        with pytest.raises(Interrupted, match=f"step {stop_at}.*--resume"):
            main(arguments(own, epochs=epochs_of(name)))
    if stop_at > 6:
        assert load_history(tmp_path / "run/model").epochs == stop_at // 6
        assert "](epochs.webp)" in (tmp_path / "run/model/README.md").read_text()
    main([*arguments(own, epochs=epochs_of(name)), "--resume"])
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 6 * epochs_of(name)
    assert_same_run(straight(name), tmp_path / "run")


def test_an_epoch_of_two_passes_trains_as_two_epochs_of_one(straight, arguments, tmp_path, monkeypatch):
    """Also when it is stopped in its second pass."""
    own = arguments([*SMALL_GAN, "--passes", "2"], epochs=1)
    with monkeypatch.context() as patch:
        interrupt(patch, GANTrainer, 9)
        with pytest.raises(Interrupted, match="step 9"):
            gan.main(own)
    gan.main([*own, "--resume"])
    epochs, passes = (
        [(line["step"], line["generator_loss"]) for line in losses(run) if "generator_loss" in line]
        for run in (straight("gan"), tmp_path / "run")
    )
    assert len(epochs) == 12 and epochs == passes
    assert [path.name for path in (tmp_path / "run/samples").iterdir()] == ["epoch-0001.png"]
    assert "| epochs | 1, each of 2 passes over the faces |" in (tmp_path / "run/model/README.md").read_text()


def test_models_are_kept_on_the_way(straight, arguments, tmp_path):
    gan.main([*arguments(SMALL_GAN, epochs=3), "--keep-epochs", "2"])
    (snapshot,) = (tmp_path / "run/snapshots").iterdir()
    assert snapshot.name == "epoch-0002" and "| epochs | 2 (of 3 begun) |" in (snapshot / "README.md").read_text()
    kept, short = (load_file(folder / "model.safetensors") for folder in (snapshot, straight("gan") / "model"))
    assert all(torch.equal(kept[name], short[name]) for name in short)


def test_another_average_of_a_finished_run_is_written_in_its_place(finished, arguments):
    run = finished("gan")
    name, kept = "layers.0.0.weight", torch.load(run / "checkpoint.pt")["state"]["averages"]
    assert not torch.equal(kept[f"each.1.module.{name}"], kept[f"each.2.module.{name}"])
    for number, average in ((2, "0.1"), (1, "0.05")):
        gan.main([*arguments(SMALL_GAN), "--average", average, "--resume"])
        written = load_file(run / "model/model.safetensors")[name]
        assert torch.equal(written, kept[f"each.{number}.module.{name}"].half())
        assert f"relative standard deviation {average})" in (run / "model/README.md").read_text()


def test_resuming_what_is_not_there_or_another_run_is_refused(finished, arguments):
    assert "holds no run" in error(gan.main, [*arguments(SMALL_GAN), "--resume"])
    run = finished("gan")
    before = (run / "checkpoint.pt").read_bytes()
    told = error(autoencoder.main, [*arguments(SMALL_AUTOENCODER), "--resume"])
    assert "train.gan, not of train.autoencoder" in told
    other = arguments([*SMALL_GAN, "--discrete-size", "6"])
    assert "was begun with --discrete-size 5; this command has 6" in error(gan.main, [*other, "--resume"])
    assert "already" in error(gan.main, arguments(SMALL_GAN))
    assert (run / "checkpoint.pt").read_bytes() == before
    with FileLock(run / ".lock"):
        assert "another process" in error(gan.main, [*arguments(SMALL_GAN), "--resume"])


def test_a_run_goes_on_where_it_and_its_faces_have_moved(celeba, finished, arguments, tmp_path):
    moved, run = shutil.copytree(celeba, tmp_path / "moved"), finished("gan")
    gan.main([*arguments(SMALL_GAN, epochs=3), "--dataset", str(moved), "--resume"])
    assert losses(run)[-1]["step"] == 18
    assert "--dataset path/to/moved" in (run / "model/README.md").read_text()

    shutil.copy(moved / "data/valid-00000-of-00001.parquet", moved / "data/train-00000-of-00002.parquet")
    other = moved.rename(tmp_path / "other")
    before = (run / "run.json").read_bytes()
    told = error(gan.main, [*arguments(SMALL_GAN, epochs=4), "--dataset", str(other), "--resume"])
    assert f"was trained on {moved}, and {other} has other faces" in told and (run / "run.json").read_bytes() == before


def test_a_run_can_be_lengthened_and_tells_what_is_done(finished, arguments, capsys):
    run, before = finished("plain"), 2
    for epochs in (3, 3, 1):
        autoencoder.main([*arguments(SMALL_AUTOENCODER, epochs=epochs), "--resume"])
        out = capsys.readouterr().out
        assert "3 epochs are done;" in out and (f"--epochs is {epochs}, no longer" in out) == (epochs != before)
        before = epochs
    assert "| epochs | 3, begun as 2" in (run / "model/README.md").read_text()


# Starting from a trained model.


def convolutions(folder) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in load(folder).named_parameters() if weight.ndim == 4}


@pytest.mark.parametrize("name", ["gan", "matched", "attribute gan", "perceptual"])
def test_training_starts_from_a_trained_model(name, straight, arguments, tmp_path):
    main, _, own = COMMANDS[name]
    first = straight(name) / "model"
    own = [*own, "--start-from", str(first), "--learning-rate", "1e-9", "--seed", "1"]
    own += ["--encoding-steps", "0"] if name == "perceptual" else []  # Which also is fitted anew.
    main(arguments(own, epochs=1))
    before, after = convolutions(first), convolutions(tmp_path / "run/model")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    card = (tmp_path / "run/model/README.md").read_text()
    assert "| first weights | those of path/to/model |" in card and "--start-from path/to/model" in card
    assert load_history(tmp_path / "run/model").note == "Training began with the weights of path/to/model."


def small_attribute_generator(attributes=("Smiling",), discrete_size=5, channels=4) -> AttributeGenerator:
    return AttributeGenerator(10, discrete_size, attributes, (channels,) * 5)


def test_training_starts_from_a_model_with_other_labels_or_with_encoding_steps(tmp_path):
    labelled = small_attribute_generator(("Glasses", "Hat"))
    stepping = PerceptualAutoencoder(10, (4,) * 4, (4,) * 5, 2).with_encoding_steps(4)
    for before, new in (
        (labelled, small_attribute_generator()),
        (stepping, PerceptualAutoencoder(10, (4,) * 4, (4,) * 5, 2)),
    ):
        before.save_pretrained(tmp_path / type(before).__name__)
        after = start(new, GANSettings(start_from=str(tmp_path / type(before).__name__)))
        assert after.attributes == new.attributes
        for name, weight in before.named_parameters():
            assert torch.equal(after.get_parameter(name), weight), name


@pytest.mark.parametrize(
    "before, new",
    [
        (Generator(10, 5, 4), small_attribute_generator()),
        (small_attribute_generator(channels=8), small_attribute_generator()),
        (small_attribute_generator(discrete_size=4), small_attribute_generator()),
    ],
    ids=["another class", "wider", "other bits"],
)
def test_another_model_to_start_from_is_refused(before, new, tmp_path):
    before.save_pretrained(tmp_path)
    for place, reason in ((str(tmp_path), ""), ("nowhere", "there is no model nowhere: name a folder")):
        with pytest.raises(TrainingError, match=f"--start-from {place} is no model of the kind and sizes.*: {reason}"):
            start(new, GANSettings(start_from=place))


# What can be wrong.


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(finished, arguments, monkeypatch):
    run = finished("plain")
    before = (run / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(autoencoders, "pixel_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    told = error(autoencoder.main, [*arguments(SMALL_AUTOENCODER, epochs=3), "--resume"])
    assert (
        "training diverged at step 13" in told
        and "--learning-rate below 0.005" in told
        and "the last checkpoint is kept" in told
    )
    assert (run / "checkpoint.pt").read_bytes() == before
    told = error(autoencoder.main, arguments(SMALL_AUTOENCODER, "other"))
    assert "training diverged at step 1" in told and "checkpoint" not in told


def test_weights_that_are_no_numbers_are_never_saved(finished, arguments, monkeypatch):
    """The last step of an epoch may spoil them, and its loss be a number."""
    step = GANTrainer.step

    def spoiling(self, images, number, labels):
        losses = step(self, images, number, labels)
        if number == 17:
            torch.nn.init.constant_(next(self.discriminator.parameters()), float("inf"))
        return losses

    monkeypatch.setattr(GANTrainer, "step", spoiling)
    run = finished("gan")
    assert "training diverged at step 18" in error(gan.main, [*arguments(SMALL_GAN, epochs=3), "--resume"])
    assert torch.load(run / "checkpoint.pt")["position"]["step"] == 12


def test_without_a_held_out_split_the_first_faces_are_kept_out(arguments, tmp_path, capsys):
    autoencoder.main(arguments([*SMALL_AUTOENCODER, "--split", "valid"], epochs=1))
    assert "the first 2 faces, a tenth of 16, of 'valid' are held out" in capsys.readouterr().out
    assert losses(tmp_path / "run")[-1]["images_seen"] == 8  # 16 - 2, in batches of 8
    assert "first 2 faces of split valid" in (tmp_path / "run/model/README.md").read_text()


@pytest.mark.parametrize(
    "name, wrong, told",
    [
        ("gan", "--epochs 0", "--epochs is 0: it must be between 1 and 2,000"),
        ("gan", "--learning-rate nan", "--learning-rate is nan: it must be between 1e-15"),
        ("gan", "--discrete-size 11", "--discrete-size is 11: it must be between 0 and --latent-size (10)"),
        (
            "gan",
            "--limit 7",
            "gives 7 faces to train on, fewer than one batch: lower --batch-size (8), or raise --limit (7)",
        ),
        ("plain", "--prior-mean 1e30", "--prior-mean is 1e+30: it must be between -10,000 and 10,000"),
        ("attribute gan", "--channels 4 4 4 4 0", "--channels is (4, 4, 4, 4, 0): it must be between 1 and 4,096"),
        ("attribute gan", "--hidden-size 1000000000", "between 1 and 512"),
        ("attribute gan", "--discrete-size 0", "--discrete-size is 0"),
        ("plain", "--match moments", "--match and --match-weight need a prior"),
        ("perceptual", "--perceptual-share 0.9", "--perceptual-share and --adversarial-share are more than 1 together"),
        ("perceptual", "--components 49", "--components is 49: there are 48 faces only"),
    ],
)
def test_an_impossible_setting_is_named(name, wrong, told, arguments):
    main, _, own = COMMANDS[name]
    assert told in error(main, [*arguments(own, epochs=1), *wrong.split()])


# Where it runs.


def test_training_in_a_thread(arguments, tmp_path, monkeypatch):
    """As in a notebook or a server, where signals are not its affair, and on a cluster that sets WORLD_SIZE alone."""
    monkeypatch.setenv("WORLD_SIZE", "1")
    handler = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(gan.main, arguments(SMALL_GAN, epochs=1)).result()
    assert (tmp_path / "run/model/model.safetensors").is_file() and signal.getsignal(signal.SIGINT) == handler


class WithoutDouble(TorchFunctionMode):
    """Only what was brought to the CPU becomes float64, as with Apple's GPUs."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sources = [value for value in args if isinstance(value, torch.Tensor)]
        if function is torch.Tensor.cpu or any(getattr(source, "on_cpu", False) for source in sources):
            result = result.clone() if function is torch.Tensor.cpu else result
            if isinstance(result, torch.Tensor):
                result.on_cpu = True
        elif sources and getattr(result, "dtype", None) == torch.float64:
            raise TypeError("the MPS framework doesn't support float64")
        return result


@pytest.mark.parametrize("name", ["plain", "attribute gan"])
def test_training_without_float64(name, arguments, tmp_path):
    main, _, own = COMMANDS[name]
    with WithoutDouble():
        with pytest.raises(TypeError, match="float64"):
            torch.ones(3).double()
        main(arguments(own, epochs=1))
    assert (tmp_path / "run/model/model.safetensors").is_file()
