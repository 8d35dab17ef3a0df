"""How the integration tests run the engine on content made in code."""

import io

from PIL import Image

from config.settings import LimitSettings
from tasks.header import read_header
from tasks.pixels import Rendered, Rendition, render
from tasks.recipe import Fit, OutputFormat, Recipe, WantedSize

LIMITS = LimitSettings()


def size(width: int, height: int, fit: Fit = "contain", kind: OutputFormat = "png", quality: int = 85) -> WantedSize:
    """A wanted size; PNG, so that colours can be compared exactly."""
    return WantedSize(width, height, fit, kind, quality)


def rendered(content: bytes, *sizes: WantedSize, background: tuple[int, int, int] = (255, 255, 255)) -> Rendered:
    """What the engine makes of a file with that content."""
    file = io.BytesIO(content)
    recipe = Recipe(sizes or (size(100, 100),), background)
    return render(file, read_header(file, len(content), LIMITS), recipe)


def opened(rendition: Rendition) -> Image.Image:
    """The thumbnail, decoded."""
    picture = Image.open(io.BytesIO(rendition.content))
    picture.load()
    return picture


def picture_of(content: bytes, *sizes: WantedSize, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """The first thumbnail of a file with that content, decoded."""
    return opened(rendered(content, *sizes, background=background).renditions[0])
