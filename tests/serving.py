"""The page in a process of its own, as whoever types `python app.py` has it."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class Served:
    """A page that answers.

    Attributes:
        url: its address.
        process: the server's.
        seconds: from its start to its first answer.
    """

    url: str
    process: subprocess.Popen
    seconds: float

    @property
    def megabytes(self) -> float:
        """Its resident memory, as Linux counts it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def processor_seconds(self) -> float:
        """What it has spent of all cores."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def serving(environment: Mapping[str, str] | None = None, folder: Path = REPOSITORY) -> Iterator[Served]:
    """Run `python app.py` in a folder, with more variables in its environment, until the end of the context."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory() as temporary, httpx.Client(trust_env=False) as client:
        variables = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": temporary, **(environment or {})}
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=variables, stdout=subprocess.DEVNULL)
        try:
            is_there = False
            while not is_there:
                if process.poll() is not None:
                    raise RuntimeError(f"python app.py ended with status {process.returncode}")
                time.sleep(0.05)
                with suppress(httpx.TransportError):
                    is_there = client.get(url).status_code == 200
            yield Served(url, process, time.monotonic() - began)
        finally:
            process.terminate()
            process.wait()
