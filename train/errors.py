"""Problems that a person can mend: one clear sentence on the terminal, never a traceback."""

import sys
from collections.abc import Callable
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


def run_command(command: Callable[[], None]) -> NoReturn:
    """Run a command line's `main`, turn what can go wrong into a sentence, and exit."""
    try:
        command()
    except TrainingError as error:
        sys.exit(f"error: {error}")
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
