"""Pictures as files that a browser shows at a size that can be seen."""

from __future__ import annotations

import io

from PIL import Image

_LEAST_SIDE = 160


def png(picture: Image.Image) -> bytes:
    """A PNG, blown up by a whole number where it is small."""
    factor = -(-_LEAST_SIDE // picture.height)
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()
