"""Two processes train as one does."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from models import Autoencoder, load
from tests.serving import REPOSITORY, free_port
from tests.test_train import COMMANDS, losses, make_adversary_small
from train import distributed
from train.losses import mmd, pixel_loss
from train.settings import TrainingError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked, since importing takes long")


def in_two_processes(work: Callable[[], None]) -> None:
    """As torchrun starts them."""
    common = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
    }

    def process(rank: int) -> None:
        os.environ.update(common, RANK=str(rank), LOCAL_RANK=str(rank))
        work()

    torch.multiprocessing.start_processes(process, nprocs=2, start_method="fork")


def test_two_processes_have_the_gradients_of_one_autoencoder():
    """With batch normalisation and the matching loss over the whole batch, and halves that are not alike."""
    torch.manual_seed(0)
    alone = Autoencoder(10, 16, (4, 4, 4), matching="mmd")
    together = copy.deepcopy(alone)
    images, prior = torch.rand(16, 3, 64, 64) * 2 - 1, alone.sample_latent(16, seed=0)
    images[::2] *= 0.5

    def gradients(model, images):
        z = model.encode(images)
        (pixel_loss(model.decode(z), images) + mmd(distributed.gather(z), prior, 2.0)).backward()
        distributed.average_gradients(model)
        return [parameter.grad for parameter in model.parameters()]

    expected = gradients(alone, images)

    def work():
        with distributed.joined(torch.device("cpu"), 16):
            rank = distributed.rank()
            batch = torch.arange(6)[:, None]
            assert torch.equal(distributed.gather(distributed.mine(batch)), batch)
            assert distributed.any_of(rank * 3, torch.device("cpu")) == 3 and distributed.from_main(rank) == 0
            assert distributed.is_main() == distributed.is_first_here() == (rank == 0)
            distributed.synchronise_batches(together)
            torch.testing.assert_close(gradients(together, distributed.mine(images)), expected, rtol=1e-3, atol=1e-5)
            for statistic, whole in zip(together.buffers(), alone.buffers(), strict=True):
                torch.testing.assert_close(statistic, whole)

    in_two_processes(work)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gan", "shifted", "attribute gan", "perceptual"])
def test_two_processes_have_the_losses_of_one(name, celeba, tmp_path, capfd, monkeypatch):
    make_adversary_small(monkeypatch)
    main, _, own = COMMANDS[name]
    # Adam's first steps are the learning rate times the gradients' signs, which rounding decides where a gradient is
    # next to nothing. In a very small network that shows, so this one is less small and learns slowly.
    calm = ["--batch-size", "16", "--epochs", "3", "--learning-rate", "0.0001"]
    wide = ["--hidden-size", "64"] if name == "shifted" else []
    common = [*own, *calm, *wide, "--dataset", str(celeba)]
    main([*common, "--cache-dir", str(tmp_path / "cache1"), "--output", str(tmp_path / "one")])
    capfd.readouterr()
    two = ["--cache-dir", str(tmp_path / "cache2"), "--output", str(tmp_path / "two")]
    in_two_processes(lambda: main([*common, *two]))
    assert capfd.readouterr().out.count("epochs are done") == 1  # One of them speaks.

    for one, both in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert one.keys() == both.keys()
        within = 1e-5 if one["step"] == 1 else 1e-3
        for key in one:
            if key.endswith("_loss"):
                assert both[key] == pytest.approx(one[key], rel=within, abs=within), (one, both)
    one, both = (torch.load(tmp_path / run / "checkpoint.pt")["state"].get("shares", {}) for run in ("one", "two"))
    torch.testing.assert_close(one, both)
    one, both = (load(tmp_path / run / "model") for run in ("one", "two"))
    z = one.sample_latent(4, seed=0)
    assert torch.allclose(one.decode(z), both.decode(z), atol=0.05)


@pytest.mark.slow
def test_a_run_of_one_process_is_resumed_by_torchrun(celeba, tmp_path):
    main, _, own = COMMANDS["gan"]
    common = [*own, "--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    main([*common, "--epochs", "1"])
    torchrun = ["torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    torchrun += ["--master-port", str(free_port()), "-m", "train.gan"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", *torchrun, *common, "--epochs", "2", "--resume"]
    subprocess.run(command, check=True, cwd=REPOSITORY, env=environment, timeout=300)
    assert losses(tmp_path / "run")[-1]["step"] == 12


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with pytest.raises(TrainingError, match="--batch-size is 7: 2 processes cannot share it evenly"):
        distributed.joined(torch.device("cpu"), 7).__enter__()
