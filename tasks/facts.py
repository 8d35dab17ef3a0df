"""What is known about one image once it has been decoded: plain data for the manifest and for the category rules."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of one image.

    `format` is one of "jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic" (by content, never by name);
    `width` and `height` are pixels of the upright picture. `orientation` is the EXIF orientation (1 to 8) that was
    applied to the stored pixels; always 1 for TIFF and HEIC, whose decoders turn the picture themselves. `taken` is
    local time as the camera wrote it ("2024-05-06T07:08:09"), None when it wrote none. `camera` is "Make Model"
    with the make said once and no control characters, at most 100 characters. `frames` counts animation frames;
    it is 1 for JPEG and TIFF, whose further pictures are not counted. `damaged` means that the decoder found damage in the picture and
    made of it what it could.
    """

    format: str
    width: int
    height: int
    orientation: int
    taken: str | None
    camera: str | None
    frames: int
    damaged: bool = False
