"""What the kernel keeps a worker's child from: each in a process of its own, for such limits do not go away."""

import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

import images
from tasks.codecs import decoder_failures_named
from tasks.errors import InputError, Reason

PREPARED = """
import ctypes, io, mmap, os, resource, shutil, sys
import images
from PIL import Image
from rendering import rendered, size
from tasks.child_limits import harden_child, one_images_limits
from config.settings import LimitSettings
from tasks.errors import InputError
from tasks.header import read_header
# mallopt(3): what is freed goes back to the kernel at once, so that nothing kept makes up for memory that is refused.
ctypes.CDLL(None).mallopt(-1, 0)
ctypes.CDLL(None).mallopt(-3, 65536)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter; what it printed and how it ended."""
    return subprocess.run(
        [sys.executable, "-c", PREPARED + textwrap.dedent(code)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def said(code: str) -> list[str]:
    found = run(code)
    assert found.returncode == 0, found.stderr
    return found.stdout.split("\n")[:-1]


def test_an_image_gets_the_memory_that_it_is_allowed_and_not_much_more() -> None:
    assert (
        said(
            """
        def get(size_bytes):
            mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ).close()

        for _ in range(2):  # the second image gets as much as the first
            with one_images_limits(1_000_000_000, 30):
                get(1_000_000_000)
                print("got it")
                try:
                    get(3_000_000_000)
                except OSError as error:
                    print(error.strerror)
        get(3_000_000_000)
        """
        )
        == ["got it", "Cannot allocate memory"] * 2
    )


def test_an_image_gets_its_processor_time_whatever_others_took_before_it() -> None:
    found = run(
        """
        def compute(seconds):
            began_at = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            while resource.getrusage(resource.RUSAGE_SELF).ru_utime - began_at < seconds:
                sum(range(10_000))

        compute(1.1)
        with one_images_limits(1_000_000_000, 1):
            compute(0.5)
        compute(1.5)  # what is not decoding takes what it takes
        print("so far", flush=True)
        with one_images_limits(1_000_000_000, 1):
            sum(range(10**15))
        """
    )
    assert (found.stdout, found.returncode) == ("so far\n", -signal.SIGXCPU)


def test_limits_that_the_operator_set_for_the_process_are_kept() -> None:
    assert (
        said(
            """
        resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 3_000_000_000))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 40))
        with one_images_limits(10_000_000_000, 30):
            print(resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CPU))
        print(resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CPU))
        """
        )
        == ["(2000000000, 3000000000) (20, 40)"] * 2
    )


def test_a_hardened_child_finds_no_program_gains_no_rights_and_leaves_no_core() -> None:
    assert said(
        """
        print(bool(shutil.which("sh", path=os.defpath)))
        harden_child()
        print(shutil.which("sh"), os.get_exec_path())
        print(resource.getrlimit(resource.RLIMIT_CORE))
        print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")])
        """
    ) == ["True", "None ['/nonexistent']", "(0, 0)", "1"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("Memory allocation error: Unspecified: Allocating 48000015 bytes failed"),  # libheif
        RuntimeError("Pixel allocation failed: Out of memory"),  # libavif
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_whatever_a_decoder_calls_a_lack_of_memory_it_is_named_and_tells_what_helps(error: Exception) -> None:
    with pytest.raises(InputError) as raised, decoder_failures_named(io.BytesIO(b"a picture"), "heic", 9):
        raise error
    assert raised.value.reason == Reason.TOO_MUCH_MEMORY
    assert "limits.max_memory" in raised.value.message
    assert "limits.max_memory" in raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "HEIF opening failed. Memory allocation error: Security limit exceeded: Number of extents in iloc box (4097) ...",
        "Memory allocation error: Invalid image size: zero width or height",
    ],
)
def test_a_limit_of_the_decoders_own_is_damage_and_no_lack_of_memory(text: str) -> None:
    """Found by fuzzing: the hint would have said to raise a limit that had nothing to do with it."""
    content = images.image_bytes("heic")
    with pytest.raises(InputError) as raised, decoder_failures_named(io.BytesIO(content), "heic", len(content)):
        raise RuntimeError(text)
    assert raised.value.reason == Reason.CORRUPT


# The decoder's own objection is all that tells for WebP ("could not create decoder object") and for AVIF in some places
# ("decoding of color planes failed"): that may be damage as well, and counts as that.
@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "png", "gif", "tiff", "bmp"])
def test_a_decoder_that_is_refused_memory_is_not_taken_for_a_damaged_file(kind: str) -> None:
    options = "progressive=True" if kind == "progressive jpeg" else ""
    name = kind.removeprefix("progressive ")
    assert name in images.FORMATS
    assert said(
        f"""
        content = images.encoded(Image.new("RGB", (1500, 1500), (9, 99, 199)), "{name}", {options})
        rendered(images.image_bytes("{name}", {options}))  # so that everything is loaded
        rendered(images.image_bytes("jpeg", 1500, 1500), size(1500, 1500))  # and a JPEG's pixels have their room
        in_use = int(open("/proc/self/statm").read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (in_use + 3_000_000, resource.RLIM_INFINITY))
        try:
            rendered(content, size(1500, 1500))
        except InputError as error:
            print(error.reason)
        """
    ) == ["too_much_memory"]


@pytest.mark.parametrize(
    ("kind", "options", "bytes_per_pixel"),
    [
        ("jpeg", {}, 4),
        ("jpeg", {"progressive": True}, 10),
        ("jpeg", {"progressive": True, "subsampling": "4:4:4"}, 10),
        ("png", {}, 4),
        ("webp", {}, 16),
        ("gif", {}, 5),
        ("tiff", {}, 4),
        ("bmp", {}, 4),
        ("avif", {"speed": 10}, 14),
        ("heic", {}, 7),
    ],
)
def test_every_decoder_manages_with_the_memory_that_its_header_asks_for(
    kind: str, options: dict[str, Any], bytes_per_pixel: int
) -> None:
    """A header whose estimate is too low would let good pictures fail: here next to nothing is to spare beside it."""
    width = 1700 if kind == "heic" else 2500  # whose encoder is slow
    assert said(
        f"""
        from tasks import child_limits
        child_limits.SPARE_BYTES = 20_000_000  # the thumbnail, and what the allocator rounds up
        content = images.image_bytes("{kind}", {width}, {width}, **{options})
        rendered(images.image_bytes("{kind}", **{options}))
        print("prepared", flush=True)
        asked = 10_000_000
        while True:
            try:
                limits = LimitSettings.model_validate(dict(max_memory=f"{{asked}}B"))
                read_header(io.BytesIO(content), len(content), limits)
                break
            except InputError as error:
                asked = int(error.message.split()[2])
        with one_images_limits(asked, 30):
            print(len(rendered(content).renditions), asked // {width * width})
        """
    ) == ["prepared", f"1 {bytes_per_pixel}"]
