"""Files of the corpus that may differ from libvips's picture of them, or that are refused though Pillow reads them; each with why.

Patterns as of fnmatch, over the path below the corpus. A pattern that no file needs any more fails the test: the list must
not outlive its reasons.
"""

NO_RANGE = (
    "16 and 32 bits of grey without a word about their range: stretched here to what they use, cut off by libvips"
)
NO_PROFILE = (
    "CMYK without a profile: by the plain formula here, as in browsers; libvips assumes a press profile of its own"
)
BLANK_START = "an animation whose first frame is blank: a later one here, the first in libvips"
XMP_ONLY = "an orientation that only XMP tells: applied here, not by libvips"

COLOURS = {
    "pillow/Tests/images/16bit.*.tif": NO_RANGE,
    "pillow/Tests/images/16_bit_noise.tif": NO_RANGE,
    "pillow/Tests/images/16_bit_binary_pgm.tiff": NO_RANGE,
    "pillow/Tests/images/uint16_1_4660.tif": NO_RANGE,
    "pillow/Tests/images/ifd_tag_type.tiff": NO_RANGE,
    "sharp/test/fixtures/Channel_digital_image_CMYK_color_no_profile.jpg": NO_PROFILE,
    "pillow/Tests/images/*_cmyk*jpeg.tif": NO_PROFILE,
    "pillow/Tests/images/pil_sample_cmyk.jpg": NO_PROFILE,
    "image-rs/tests/images/tiff/testsuite/cmyk_u8_trunc_case.tif": NO_PROFILE,
    "pillow/Tests/images/apng/blend_op_over_near_transparent.png": BLANK_START,
    "pillow/Tests/images/apng/dispose_op_previous_*.png": BLANK_START,
    "image-rs/tests/images/png/apng/wpt/dispose-*-blend-source.png": BLANK_START,
    "pillow/Tests/images/xmp_tags_orientation*.png": XMP_ONLY,
    "pillow/Tests/images/avif/xmp_tags_orientation.avif": XMP_ONLY,
    "pillow/Tests/images/exif_imagemagick_orientation.png": "an orientation in ImageMagick's text form of EXIF: applied here",
    "image-rs/tests/images/gif/anim/border_touching_layers.gif": "what the first GIF frame leaves free is transparent here, as in browsers",
    "pillow/Tests/images/8bit.s.tif": "signed bytes, whose sign nobody means; libvips takes them at their word",
    "pillow/Tests/images/separate_planar_extra_samples.tiff": "signed bytes, as before",
    "pillow/Tests/images/hopper_lzma.tif": "libvips's wheel cannot unpack LZMA and gives black",
    "image-rs/tests/images/tiff/testsuite/ycbcr_lzw_*.tif": "YCbCr without JPEG: libvips takes the numbers for RGB",
}
SIZES = {
    "pillow/Tests/images/child_ifd.tiff": "libvips's thumbnail takes a smaller copy inside the file for the picture",
}
REFUSED = {
    "sharp/test/fixtures/testimgl.jpg": "lossless JPEG: simplejpeg writes beyond its memory when it scales one",
    "pillow_heif/tests/images/heif_truncated/truncated.heic": "cut off; libheif shows the part that is there",
}
