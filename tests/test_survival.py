"""Runs that are killed, and disks that are full: nothing is lost, and what follows is what would have been."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.test_train import SMALL_GAN
from train import gan

REPOSITORY = Path(__file__).parent.parent

# Run the command in a process that kills itself, with no chance to tidy up, at one moment.
DOOMED = """
import os, signal, sys
from train import gan, record
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
moment = sys.argv.pop(1)
if moment == "step":
    step = gan.GANTrainer.step
    gan.GANTrainer.step = lambda self, images, number: die() if number == 15 else step(self, images, number)
else:
    real = getattr(os, moment)
    calls = []
    def doomed(*arguments):
        # The first checkpoint is let through; only calls about checkpoints count.
        about = arguments[0] if moment == "replace" else os.readlink(f"/proc/self/fd/{arguments[0]}")
        if "checkpoint" in str(about):
            calls.append(about)
            if len(calls) == 2:
                if moment == "fsync":
                    os.ftruncate(arguments[0], 1000)
                die()
        return real(*arguments)
    setattr(record.os, moment, doomed)
gan.main(sys.argv[1:])
"""


def losses(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(celeba, tmp_path):
    """Killed while it writes a checkpoint, before that takes the old one's place, and in the middle of an epoch."""
    common = [*SMALL_GAN, "--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--epochs", "4", "--output"]
    gan.main([*common, str(tmp_path / "straight")])
    killed = [*common, str(tmp_path / "killed")]
    for moment, resume in (("fsync", []), ("replace", ["--resume"]), ("step", ["--resume"])):
        command = [sys.executable, "-c", DOOMED, moment, *killed, *resume]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
        assert done.returncode == -9, done.stderr
    gan.main([*killed, "--resume"])
    assert losses(tmp_path / "killed") == losses(tmp_path / "straight")
    one, two = (torch.load(tmp_path / name / "checkpoint.pt")["state"] for name in ("straight", "killed"))
    for part in ("generator", "discriminator", "averaged"):
        assert all(torch.equal(value, two[part][key]) for key, value in one[part].items())


def test_sigterm_saves_and_says_how_to_go_on(celeba, tmp_path):
    stop = "import os, signal; step = gan.GANTrainer.step\n"
    stop += "def terminated(self, images, number):\n"
    stop += "    if number == 3: os.kill(os.getpid(), signal.SIGTERM)\n"
    stop += "    return step(self, images, number)\n"
    stop += "gan.GANTrainer.step = terminated"
    script = f"import sys\nfrom train import gan\nfrom train.errors import run_command\n{stop}\nrun_command(gan.main)"
    arguments = ["--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache"), "--output", str(tmp_path / "run")]
    command = [sys.executable, "-c", script, *SMALL_GAN, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 128 + 15
    assert "stopped at step 4" in done.stderr and "--resume" in done.stderr and "Traceback" not in done.stderr
    assert torch.load(tmp_path / "run/checkpoint.pt")["position"]["step"] == 4


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit on file sizes")
def test_a_disk_that_takes_no_more_ends_in_a_sentence_and_keeps_the_checkpoint(celeba, tmp_path):
    arguments = [
        *SMALL_GAN,
        "--dataset",
        str(celeba),
        "--cache-dir",
        str(tmp_path / "cache"),
        "--output",
        str(tmp_path / "run"),
    ]
    gan.main([*arguments, "--epochs", "1"])
    before = (tmp_path / "run/checkpoint.pt").read_bytes()
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2},) * 2)"
    script = f"import sys\nfrom train import gan\nfrom train.errors import run_command\n{limit}\nrun_command(gan.main)"
    command = [sys.executable, "-c", script, *arguments, "--epochs", "2", "--resume"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: cannot write" in done.stderr and "File too large" in done.stderr
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before
    gan.main([*arguments, "--epochs", "2", "--resume"])


def test_an_output_that_cannot_be_made_is_named(celeba, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = [*SMALL_GAN, "--dataset", str(celeba), "--cache-dir", str(tmp_path / "cache")]
    with pytest.raises(gan.TrainingError, match="--output"):
        gan.main([*arguments, "--output", str(tmp_path / "file/run")])
