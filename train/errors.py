"""What a person reads on the terminal: of a problem that they can mend one clear sentence, never a traceback."""

import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class TrainingError(Exception):
    """Something is wrong with what was asked for; the message says what, and what to do."""


class Interrupted(Exception):
    """A signal asked the run to stop, and it has saved its state.

    Attributes:
        exit_code: 128 + the signal's number, as shells report it.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


def run_command(command: Callable[[list[str]], None]) -> NoReturn:
    """Run a command's `main` with the words of the command line, turn what can go wrong into a sentence, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Names that the terminal's encoding does not have.
    _find_a_home()
    _ask_this_machine_directly()
    try:
        command(sys.argv[1:])
    except TrainingError as error:
        sys.exit(f"error: {printable(str(error))}")
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def printable(text: str) -> str:
    """A name as any file and terminal takes it: on Linux it may be bytes of any kind, and hold a terminal's commands."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _find_a_home() -> None:
    """A user that the system does not know, as in a container, may have no folder for caches: then it is a temporary one."""
    home = os.path.expanduser("~")
    if os.name == "posix" and not (os.access(home, os.W_OK | os.X_OK) or os.path.isdir(os.path.join(home, ".cache"))):
        folder = Path(tempfile.gettempdir(), f"latent-faces-{os.getuid()}")
        folder.mkdir(exist_ok=True)
        os.environ["HOME"] = str(folder)
        print(f"There is no home folder that can be written: what is kept for later runs goes to {folder}.")


def _ask_this_machine_directly() -> None:
    """Whatever proxy there is, addresses of this machine are not asked by way of it."""
    for name in ("no_proxy", "NO_PROXY"):
        if (hosts := os.environ.get(name, "")) != "*":
            os.environ[name] = ",".join(filter(None, (hosts, "localhost", "127.0.0.1", "::1")))
