"""A trained model's folder, and another for the same model with something done to it."""

import json
import os
import re
import shutil
from pathlib import Path

from huggingface_hub import ModelCard
from safetensors import SafetensorError

from models import FaceModel, load
from models.history import TRAINING_FILE, load_history
from models.loading import one_line

from .errors import TrainingError
from .pictures import save_grid
from .record import write_whole
from .run import halved


def open_model(folder: Path, output: Path) -> FaceModel:
    """The model in a folder, once there is another one for what becomes of it: now, not after all work.

    Raises:
        TrainingError: there is no model, or the output cannot be, or holds something already.
    """
    try:
        model = load(folder)
    except (ValueError, OSError) as error:
        raise TrainingError(str(error)) from error
    try:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise TrainingError(f"--output {output} holds something already: name another folder")
    except OSError as error:
        raise TrainingError(f"--output {output}: {error.strerror or error}") from error
    return model


def texts(folder: Path, section: str, note: str) -> dict[str, str]:
    """The card and the history of a model with what is done to it: by file, of those that it has.

    Args:
        section: of the card; what the card says of the model's scores is left out, since they were of the model before.
        note: of the history.

    Raises:
        TrainingError: one of them is damaged.
    """
    result = {}
    try:
        if (folder / TRAINING_FILE).is_file():
            load_history(folder)
            training = json.loads((folder / TRAINING_FILE).read_bytes())
            training["note"] = " ".join(filter(None, (training.get("note"), note)))
            result[TRAINING_FILE] = json.dumps(training) + "\n"
        if (folder / "README.md").is_file():
            card = ModelCard.load(folder / "README.md")
            card.data.eval_results = None
            before, limits, after = card.text.partition("## Use and limits")
            stale = r"## Scores\n.*?(?=## )|Reconstructions of the same faces: [^\n]*\n\n"
            before = re.sub(stale, "", before, flags=re.DOTALL).rstrip()
            card.text = f"{before}\n\n{section}\n{limits}{after}"
            result["README.md"] = str(card)
    except Exception as error:  # Whatever is in the files.
        raise TrainingError(f"{folder}: its card or history is damaged ({one_line(error)})") from error
    return result


def save(model: FaceModel, folder: Path, output: Path, texts: dict[str, str]) -> None:
    """Write a model with all else that is in the folder of the one that it was.

    Args:
        texts: by file, in the place of what is there.

    Raises:
        TrainingError: the output cannot be written; nothing is left of it.
    """
    temporary = output / "model.tmp"
    try:
        temporary.mkdir()
        for file in folder.iterdir():
            if file.is_file():  # The output may be a folder in there.
                shutil.copyfile(file, temporary / file.name)
        halved(model).save_pretrained(temporary)
        save_grid(model.decode(model.sample_latent(64, seed=0)), temporary / "samples.png")
        for name, text in texts.items():
            write_whole(temporary / name, text)
        for file in temporary.iterdir():
            os.replace(file, output / file.name)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"--output {output} cannot be written: {one_line(error)}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
