"""The endpoints as tools of language models: an answer's faces come as a picture, and no address of a file."""

import base64
import json
from typing import Any

import gradio.mcp
import numpy as np
from mcp.types import ImageContent, TextContent
from PIL import Image

from . import pictures

# How many faces a row of the picture has, and how much each pixel is enlarged.
COLUMNS, SCALE = 8, 2


class Pictures(gradio.mcp.GradioMCPServer):
    def postprocess_output_data(self, data: Any, root_url: str) -> list[TextContent | ImageContent]:
        """What an endpoint returned: the numbers as JSON and captions, then a PNG of each list of faces."""
        words, faces = list[TextContent](), list[ImageContent]()
        outputs = data[0] if len(data) == 1 and isinstance(data[0], tuple) else data  # As gradio's client gives them.
        for output in outputs:
            match output:
                case [{"image": {"path": _}}, *_]:
                    content = base64.b64encode(_side_by_side(output)).decode()
                    faces.append(ImageContent(type="image", data=content, mimeType="image/png"))
                    if captions := [item["caption"] for item in output if item.get("caption")]:
                        words.append(TextContent(type="text", text="; ".join(captions)))
                case {"path": _}:  # A walk, in another form than its faces.
                    continue
                case _:
                    words.append(TextContent(type="text", text=json.dumps(output)))
        return [*words, *faces]


def _side_by_side(gallery: list[dict[str, Any]]) -> bytes:
    faces = [pictures.pixels_of(Image.open(item["image"]["path"])) for item in gallery]
    blank = [np.full_like(faces[0], 255)] * (-len(faces) % min(COLUMNS, len(faces)))
    rows = np.stack([*faces, *blank]).reshape(-1, min(COLUMNS, len(faces)), *faces[0].shape)
    sheet = np.concatenate([np.hstack(row) for row in rows])
    return pictures.png(sheet.repeat(SCALE, 0).repeat(SCALE, 1))


def install() -> None:
    """Have gradio make its tools of this kind, for which it has no setting."""
    gradio.mcp.GradioMCPServer = Pictures  # type: ignore[misc]
