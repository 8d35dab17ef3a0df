"""The settings as frozen, typed values: what can be set, what each default is and why, and what may not be.

Pure: no file is read here and no environment (that is `config/load.py`). Quantities carry their unit in the attribute's
name, while the TOML key is the contract's (`rescan = "30s"` is `rescan_seconds`).
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

# Suffixes that make a file a candidate by default: every image format people drop, RAW and JPEG XL included, because
# a file that cannot be done deserves a reason and not silence.
DEFAULT_SUFFIXES = tuple(
    "jpg jpeg jpe jfif png apng webp gif tif tiff bmp dib avif avifs heic heif hif jxl jp2 j2k jpf jpx ico "
    "dng nef nrw cr2 cr3 crw arw srf sr2 raf rw2 orf pef srw raw rwl 3fr iiq x3f kdc dcr mrw erf mef mos".split()
)

_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BOX = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


def parse_duration(value: Any) -> float:
    """Seconds from text like "30s", "1.5h" or "90d"; a number without a unit is refused."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if not match:
        raise ValueError('write a number with a unit (ms, s, m, h, d), like "30s"')
    return float(match[1]) * _DURATION_UNITS[match[2]]


def parse_size(value: Any) -> int:
    """Bytes from text like "256MB" or "1GiB"; a number without a unit is refused."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|[KMGT]i?B)", value) if isinstance(value, str) else None
    if not match:
        raise ValueError('write a number with a unit (B, KB, MB, GB, TB, KiB, MiB, GiB, TiB), like "256MB"')
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def parse_mode(value: Any) -> int:
    """Permission bits from octal text like "0644"."""
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError('write the octal mode as text, like "0644"')
    return int(value, 8)


def parse_auto_duration(value: Any) -> float | None:
    """Seconds, or None for "auto"."""
    return None if value == "auto" else parse_duration(value)


def parse_box(value: Any) -> tuple[int, int]:
    """(width, height) in pixels from text like "640x640"."""
    match = _BOX.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError('write a box in pixels, like "640x640" (each side from 1 to 99999)')
    return int(match[1]), int(match[2])


Duration = Annotated[float, BeforeValidator(parse_duration)]
AutoDuration = Annotated[float | None, BeforeValidator(parse_auto_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Mode = Annotated[int, BeforeValidator(parse_mode)]
Box = Annotated[tuple[int, int], BeforeValidator(parse_box)]
OutputFormat = Literal["jpeg", "webp", "avif", "png"]
Quality = Annotated[int, Field(ge=1, le=100)]


class _Section(BaseModel):
    # validate_default: the defaults below are written as an operator would write them.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, populate_by_name=False)


class InboxSettings(_Section):
    """One watched directory tree."""

    path: Path = Path("inbox")
    name: str = Field("", pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,63})?$")  # "": the last part of the path
    watch: Literal["auto", "inotify", "poll"] = "auto"
    settle_seconds: AutoDuration = Field("auto", alias="settle")  # None: 2 s on local file systems, 30 s on network ones
    after: Literal["archive", "delete", "keep"] = "archive"
    ignore: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = DEFAULT_SUFFIXES
    require_mount: bool = False


class LibrarySettings(_Section):
    """The tree that receives thumbnails, manifests, originals and quarantine."""

    path: Path = Path("library")
    file_mode: Mode = Field("0644")  # so that a web server can read them
    dir_mode: Mode = Field("0755")
    group: str = ""  # "": the process's own
    same_name: Literal["both", "newest"] = "both"
    min_free_bytes: Size = Field("1GB", alias="min_free")


class SizeSettings(_Section):
    """One wanted thumbnail; None takes the value of [thumbnails]."""

    box: Box = Field(alias="size")
    fit: Literal["contain", "cover"] = "contain"
    format: OutputFormat | None = None
    quality: Quality | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"size": value} if isinstance(value, str) else value


class ThumbnailSettings(_Section):
    """The recipe: which thumbnails are made, and how."""

    sizes: tuple[SizeSettings, ...] = Field(("1280x1280", "640x640", "200x200"), min_length=1)
    format: OutputFormat = "jpeg"
    quality: Quality = 82
    background: str = Field("#ffffff", pattern=r"^#[0-9a-fA-F]{6}$")


class RuleSettings(_Section):
    """One category rule: all conditions that are set must hold."""

    name: str = Field(min_length=1)
    inbox: str | None = None
    path: str | None = None
    format: str | None = None
    orientation: Literal["landscape", "portrait", "square"] | None = None
    camera: str | None = None
    min_width: int | None = Field(None, ge=1)
    min_height: int | None = Field(None, ge=1)
    min_megapixels: float | None = Field(None, gt=0)
    taken_after: str | None = Field(None, pattern=r"^\d{4}-\d{2}-\d{2}$")
    taken_before: str | None = Field(None, pattern=r"^\d{4}-\d{2}-\d{2}$")


class CategorySettings(_Section):
    """Which folder of the library an image belongs in."""

    default: str = Field("{folder}", min_length=1)
    rule: tuple[RuleSettings, ...] = ()


class BrokerSettings(_Section):
    """Where messages travel."""

    url: str = "embedded"


class ResultSettings(_Section):
    """The Redis with results, leases and attempts."""

    url: str = ""  # "": the broker, when that is a Redis
    expire_seconds: Duration = Field("1d", alias="expire")


class WatcherSettings(_Section):
    """How the watcher looks and how much it publishes ahead."""

    max_in_flight: int = Field(64, ge=1, le=10_000)
    rescan_seconds: Duration = Field("30s", alias="rescan")


class LimitSettings(_Section):
    """What one file may cost."""

    max_bytes: Size = Field("256MB")
    max_pixels: int = Field(250_000_000, ge=1)
    task_time_seconds: Duration = Field("60s", alias="task_time")
    max_attempts: int = Field(3, ge=1, le=100)
    truncated_grace_seconds: Duration = Field("24h", alias="truncated_grace")
    empty_grace_seconds: Duration = Field("10m", alias="empty_grace")


class QuarantineSettings(_Section):
    """How long files that cannot become thumbnails are kept."""

    keep_seconds: Duration = Field("90d", alias="keep")


class StateSettings(_Section):
    """Where the embedded Redis and the lock files live."""

    path: Path | None = None  # None: $STATE_DIRECTORY under systemd, else <library>/.thumbdrop


class Settings(_Section):
    """All settings of one installation, checked against each other."""

    inbox: tuple[InboxSettings, ...] = Field((InboxSettings.model_construct(),), min_length=1)
    library: LibrarySettings = LibrarySettings()
    thumbnails: ThumbnailSettings = ThumbnailSettings()
    category: CategorySettings = CategorySettings()
    broker: BrokerSettings = BrokerSettings()
    results: ResultSettings = ResultSettings()
    watcher: WatcherSettings = WatcherSettings()
    limits: LimitSettings = LimitSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    state: StateSettings = StateSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        return self

    def inbox_named(self, name: str) -> InboxSettings:
        """The inbox of that name; KeyError when the settings have none."""
        for inbox in self.inbox:
            if inbox.name == name:
                return inbox
        raise KeyError(name)
