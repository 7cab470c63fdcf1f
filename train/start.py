"""The weights that a training starts from, where they are not random ones."""

from models import FaceModel, load

from .errors import TrainingError
from .settings import Settings


def start(model: FaceModel, settings: Settings) -> FaceModel:
    """A new model with the weights that training is to start from, where the settings say so.

    What is fitted to latents or labels, such as a prior, is fitted anew after the first epoch.

    Raises:
        TrainingError: there are none, or they are another model's.
    """
    if settings.start_from is None:
        return model
    try:
        before = load(settings.start_from)
    except (ValueError, OSError) as error:
        raise TrainingError(f"--start-from: {error}") from error
    fitted = dict(model.named_buffers(recurse=False))
    fitted_before = dict(before.named_buffers(recurse=False))
    weights = {name: tensor for name, tensor in before.state_dict().items() if name not in fitted_before}
    try:
        if type(before) is not type(model) or before.discrete_size != model.discrete_size:
            raise RuntimeError("it is of another class, or has other bits")
        if getattr(before, "has_affine", False):
            model = model.strengthened({})  # type: ignore[operator]
        model.load_state_dict(weights | fitted)
    except RuntimeError as error:
        raise TrainingError(
            f"--start-from {settings.start_from}: it is another model, or of other sizes, than these settings make"
        ) from error
    return model
