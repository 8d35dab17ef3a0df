"""Read a PNG for its still picture: what is wrong with its animation or its colour profile does not cost the picture.

Pillow refuses a whole PNG because of a frame number out of order, or a profile compressed by a method nobody knows.
Browsers show such files. What an animation adds comes after the picture, so nothing of it is needed here, and none of it is read.
"""

from typing import ClassVar

from PIL import Image, PngImagePlugin

_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_LEAST_FRAME_BYTES = 38 + 13  # one fcTL chunk and an almost empty fdAT
_DAMAGED = (ValueError, SyntaxError, LookupError)
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # from a sample of so many bits to 8


class _StillStream(PngImagePlugin.PngStream):
    """The chunks of a PNG, without its animation's; `announced_frames` is what acTL says, true or not."""

    announced_frames = 1

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        """Read one chunk; the answer is its content, for the checksum."""
        if self.fp is None or cid not in _ANIMATION:
            return super().call(cid, pos, length)
        if cid == b"acTL":
            self.announced_frames = int.from_bytes(self.fp.read(min(length, 4)), "big")
        self.fp.seek(pos + length)
        return b""

    def crc(self, cid: bytes, data: bytes) -> None:
        """Check a chunk's sum, except where the chunk was passed over."""
        if cid in _ANIMATION:
            self.crc_skip(cid, data)
            return
        try:
            super().crc(cid, data)
        except SyntaxError:
            if cid != b"iCCP":
                raise
            self.im_info.pop("icc_profile", None)

    def chunk_iCCP(self, pos: int, length: int) -> bytes:  # noqa: N802  # Pillow finds it by this name
        """Read the colour profile, if it can be read."""
        try:
            return super().chunk_iCCP(pos, length)
        except _DAMAGED:
            if self.fp is None:
                raise
            self.fp.seek(pos)
            return self.fp.read(length)

    def chunk_tRNS(self, pos: int, length: int) -> bytes:  # noqa: N802
        """Read what is transparent: Pillow leaves one colour in the file's bits, while its pixels have 8.

        Of 16 bits the upper eight count, for that is all that the pixels have.
        """
        if self.im_tile and self.fp is not None:  # after the pixels it comes too late (PNG 3, 5.6)
            return self.fp.read(length)
        content = super().chunk_tRNS(pos, length)
        told = self.im_info.get("transparency")
        colours = len(self.im_palette[1]) // 3 if self.im_palette else len(content)
        if isinstance(told, int) and self.im_rawmode in _GREY_STEPS:
            step = _GREY_STEPS[self.im_rawmode]
            self.im_info["transparency"] = (told & (255 // step)) * step
        elif isinstance(told, tuple) and self.im_rawmode == "RGB;16B":
            self.im_info["transparency"] = tuple(sample >> 8 for sample in told)
        elif len(content) > colours:  # more than there are mean nothing, as in libpng
            self.im_info.pop("transparency", None)
        return content


class StillPng(PngImagePlugin.PngImageFile):
    """A PNG that never moves; `n_frames` tells how many pictures its animation has, which are for another decoder."""

    format = "STILLPNG"
    format_description = "Portable network graphics, the still picture"
    _streams: ClassVar = PngImagePlugin.PngStream

    def _open(self) -> None:
        # Pillow's own code makes the stream by this name, and has no other way to be given one.
        PngImagePlugin.PngStream = _StillStream  # type: ignore[misc]
        try:
            super()._open()
        finally:
            PngImagePlugin.PngStream = self._streams  # type: ignore[misc]
        self.n_frames = _believable_frames(self)


def _believable_frames(image: StillPng) -> int:
    """What the animation announces, or 1 when it announces more than the file could hold."""
    stream = image.png
    if image.fp is None or not isinstance(stream, _StillStream):
        return 1
    announced, at = stream.announced_frames, image.fp.tell()
    size_bytes = image.fp.seek(0, 2)
    image.fp.seek(at)
    return announced if 0 < announced * _LEAST_FRAME_BYTES <= size_bytes else 1


Image.register_open(StillPng.format, StillPng, PngImagePlugin._accept)  # noqa: SLF001  # the same magic
