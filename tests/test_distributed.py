"""Two processes train as one does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import load
from tests.test_train import COMMANDS

REPOSITORY = Path(__file__).parent.parent


def torchrun(program: str, arguments: list[str], is_module: bool = True) -> subprocess.CompletedProcess:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, *["-m"] * is_module, program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        timeout=300,
    )


def losses(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# Run by each of two processes: the gradients of its half of a batch, averaged, against those of the whole batch.
GRADIENTS = """
import copy, torch
from models import Autoencoder
from train import distributed
from train.losses import mmd, pixel_loss

torch.manual_seed(0)
alone = Autoencoder(10, 16, (4, 4, 4), matching="mmd")
together = copy.deepcopy(alone)
images, prior = torch.rand(16, 3, 64, 64) * 2 - 1, alone.sample_latent(16, seed=0)

def gradients(model, images):
    z = model.encode(images)
    (pixel_loss(model.decode(z), images) + mmd(distributed.gather(z), prior, 2.0)).backward()
    distributed.average_gradients(model)
    return [parameter.grad for parameter in model.parameters()]

expected = gradients(alone, images)  # Before joining, a process is alone.
with distributed.joined(torch.device("cpu"), 16):
    assert distributed.gather(torch.full((1, 2), float(distributed.rank()))).tolist() == [[0, 0], [1, 1]]
    distributed.synchronise_batches(together)
    for gradient, whole in zip(gradients(together, distributed.mine(images)), expected, strict=True):
        torch.testing.assert_close(gradient, whole, rtol=1e-3, atol=1e-5)
    for statistic, whole in zip(together.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(statistic, whole)
"""


# Likewise of a step of the attribute GAN: of both networks, with a penalty, and of what is told of whose attributes.
ADVERSARIAL = """
import copy, torch
from train import adversary, distributed
from train.attribute_gan import AttributeGANSettings
from train.generators import AttributeGANTrainer

class Faces:
    label_names = ("Smiling", "Hat", "Young")

settings = AttributeGANSettings(
    batch_size=16, latent_size=10, discrete_size=5, hidden_size=8, channels=(8,) * 5, precision="fp32", device="cpu",
    told=0.4, warped=0.5,
)
torch.manual_seed(1)
images, labels = torch.rand(16, 3, 64, 64) * 2 - 1, torch.randn(16, 3).sign()

def gradients(share=lambda rows: rows):
    trainer = AttributeGANTrainer(settings, Faces())
    trainer.begin_epoch(1)
    for optimizer in (trainer.generator_optimizer, trainer.discriminator_optimizer):
        optimizer.step = lambda: None
    losses = trainer.step(share(images), adversary.PENALTY_EVERY, share(labels))
    networks = trainer.generator, trainer.discriminator
    losses = {name: distributed.average(loss).item() for name, loss in losses.items()}
    return losses, [parameter.grad for network in networks for parameter in network.parameters()]

expected_losses, expected = gradients()
with distributed.joined(torch.device("cpu"), 16):
    losses, together = gradients(distributed.mine)
    assert losses.keys() == expected_losses.keys()
    for name in losses:
        assert abs(losses[name] - expected_losses[name]) < 1e-4, name
    for gradient, whole in zip(together, expected, strict=True):
        torch.testing.assert_close(gradient, whole, rtol=1e-3, atol=1e-5)
"""


@pytest.mark.parametrize("program", [GRADIENTS, ADVERSARIAL], ids=["autoencoder", "attribute GAN"])
def test_two_processes_have_the_gradients_of_one(program, tmp_path):
    (tmp_path / "gradients.py").write_text(program)
    done = torchrun(str(tmp_path / "gradients.py"), [], is_module=False)
    assert done.returncode == 0, done.stderr


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["gan", *(pytest.param(name, marks=SLOW) for name in ("matched", "shifted", "attribute gan", "perceptual"))]
)
def test_two_processes_have_the_losses_of_one(name, celeba, tmp_path):
    main, _, own = COMMANDS[name]
    # Adam's first steps are the learning rate times the gradients' signs, which rounding decides where a gradient is
    # next to nothing. In a very small network that shows, so this one is less small and learns slowly.
    calm = ["--batch-size", "16", "--epochs", "7", "--learning-rate", "0.0001"]
    wide = ["--hidden-size", "64"] if name in ("matched", "shifted") else []
    common = [*own, *calm, *wide, "--dataset", str(celeba)]
    main([*common, "--cache-dir", str(tmp_path / "cache1"), "--output", str(tmp_path / "one")])
    module = main.__module__
    two = ["--cache-dir", str(tmp_path / "cache2"), "--output", str(tmp_path / "two")]
    done = torchrun(module, [*common, *two])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epochs are done") == 1  # One of them speaks.

    for one, both in zip(losses(tmp_path / "one")[:20], losses(tmp_path / "two")[:20], strict=True):
        assert one.keys() == both.keys()
        for key in one:
            if key.endswith("_loss"):
                assert both[key] == pytest.approx(one[key], rel=1e-3, abs=1e-3), (one, both)
    one, both = (load(tmp_path / run / "model") for run in ("one", "two"))
    z = one.sample_latent(4, seed=0)
    assert torch.allclose(one.decode(z), both.decode(z), atol=0.05)


@pytest.mark.slow
def test_a_run_of_one_process_is_resumed_by_two(celeba, tmp_path):
    main, _, own = COMMANDS["gan"]
    common = [*own, "--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    main([*common, "--epochs", "1"])
    done = torchrun("train.gan", [*common, "--epochs", "2", "--resume"])
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run")[-1]["step"] == 12


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(celeba, tmp_path):
    own = COMMANDS["gan"][2]
    done = torchrun(
        "train.gan", [*own, "--batch-size", "7", "--dataset", str(celeba), "--output", str(tmp_path / "run")]
    )
    assert done.returncode != 0
    assert "error: --batch-size is 7: 2 processes cannot share it evenly" in done.stderr
    assert not (tmp_path / "run").exists()
