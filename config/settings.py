"""The settings as frozen, typed values: what can be set, what each default is and why, and what may not be.

Pure: no file is read here and no environment (that is `config/load.py`), and keys are checked one by one; what must fit
together across keys is in `config/checks.py`. Quantities carry their unit in the attribute's name, while the TOML key is
the contract's (`rescan = "30s"` is `rescan_seconds`).
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from config import names, values
from config.fields import (
    AT_LEAST_ONE,
    AutoDuration,
    Box,
    BrokerUrl,
    Colour,
    Count,
    Day,
    Directory,
    Duration,
    Glob,
    IgnoreGlob,
    ImageFormat,
    InboxName,
    Mode,
    Number,
    OutputFormat,
    Quality,
    ResultsUrl,
    Size,
    Subsampling,
    Suffix,
    Switch,
    Template,
    lasting,
    owner_may,
    weighing,
    written,
)
from config.tree import without_none

# Suffixes that make a file a candidate by default: every image format people drop, RAW and JPEG XL included, because
# a file that cannot be done deserves a reason and not silence.
DEFAULT_SUFFIXES = tuple(
    "jpg jpeg jpe jfif png apng webp gif tif tiff bmp dib avif avifs heic heif hif jxl jp2 j2k jpf jpx ico "
    "dng nef nrw cr2 cr3 crw arw srf sr2 raf rw2 orf pef srw raw rwl 3fr iiq x3f kdc dcr mrw erf mef mos".split()
)


def _each_once(formats: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(formats))


def _default_if_empty(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(suffixes)) or DEFAULT_SUFFIXES


class _Section(BaseModel):
    # validate_default: the defaults below are written as an operator would write them.
    # hide_input_in_errors: a broker's password must not reach a traceback.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, populate_by_name=False, hide_input_in_errors=True
    )


class InboxSettings(_Section):
    """One watched directory tree."""

    path: Directory = Path("inbox")
    name: InboxName = ""  # "": the last part of the path
    watch: Literal["auto", "inotify", "poll"] = "auto"
    # None: 2 s on local file systems (SFTP clients still chmod and utime after the close), 30 s on network ones
    # (attribute caches answer for up to 20 s). Never zero: nothing would then tell a complete file from a growing one.
    settle_seconds: Annotated[AutoDuration, lasting("10ms", "1h")] = Field(written("auto"), alias="settle")
    after: Literal["archive", "delete", "keep"] = "archive"
    ignore: tuple[IgnoreGlob, ...] = ()  # added to the built-in ones
    suffixes: Annotated[tuple[Suffix, ...], AfterValidator(_default_if_empty)] = DEFAULT_SUFFIXES
    require_mount: Switch = False

    @model_validator(mode="before")
    @classmethod
    def _named_after_its_path(cls, table: Any) -> Any:
        path = table.get("path", "inbox") if isinstance(table, dict) else None
        if not isinstance(path, str | Path) or table.get("name", "") != "":
            return table
        return table | {"name": names.inbox_name_from(os.fspath(path))}


class LibrarySettings(_Section):
    """The tree that receives thumbnails, manifests, originals and quarantine."""

    path: Directory = Path("library")
    file_mode: Annotated[Mode, owner_may(6, "read and write")] = written("0644")  # others: a web server
    dir_mode: Annotated[Mode, owner_may(7, "read, write and enter")] = written("0755")
    group: str = ""  # "": the process's own; whether it exists is for `thumbdrop check`
    same_name: Literal["both", "newest"] = "both"
    # Enough for a few hundred images in flight, so that work pauses before a write fails in the middle.
    min_free_bytes: Annotated[Size, weighing("0B", "1000TB")] = Field(written("1GB"), alias="min_free")


class SizeSettings(_Section):
    """One wanted thumbnail; None takes the value of [thumbnails]."""

    box: Box = Field(alias="size")
    fit: Literal["contain", "cover"] = "contain"
    format: OutputFormat | None = None
    quality: Quality | None = None
    subsampling: Subsampling | None = None
    progressive: Switch | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"size": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap", when_used="json")
    def _to_text(self, write: SerializerFunctionWrapHandler) -> Any:
        own = (self.format, self.quality, self.subsampling, self.progressive)
        is_only_a_box = self.fit == "contain" and own == (None,) * len(own)
        return values.format_box(self.box) if is_only_a_box else write(self)


class ThumbnailSettings(_Section):
    """The recipe: which thumbnails are made, and how."""

    sizes: Annotated[tuple[SizeSettings, ...], AT_LEAST_ONE] = written(("1280x1280", "640x640", "200x200"))
    format: OutputFormat = "jpeg"
    quality: Quality = 82  # beyond it files grow faster than anyone sees a difference
    # Colour at half the resolution, as cameras store it: a fifth fewer bytes. Red text on white needs "4:4:4".
    subsampling: Subsampling = "4:2:0"
    progressive: Switch = False  # a few per cent fewer bytes for four times the encoding
    background: Colour = "#ffffff"
    # What thumbnails keep of the original's metadata. Nothing by default: it may tell where somebody lives.
    keep: tuple[Literal["copyright"], ...] = ()


class RuleSettings(_Section):
    """One category rule: all conditions that are set must hold."""

    name: Template
    inbox: Glob | None = None
    path: Glob | None = None
    format: ImageFormat | None = None
    orientation: Literal["landscape", "portrait", "square"] | None = None
    camera: Glob | None = None
    min_width: Count | None = Field(None, ge=1)
    min_height: Count | None = Field(None, ge=1)
    min_megapixels: Number | None = Field(None, gt=0, allow_inf_nan=False)
    taken_after: Day | None = None  # the first day that counts
    taken_before: Day | None = None  # the first day that does not any more, so that neighbouring rules meet


class CategorySettings(_Section):
    """Which folder of the library an image belongs in."""

    default: Template = "{folder}"
    rule: tuple[RuleSettings, ...] = ()


class BrokerSettings(_Section):
    """Where messages travel."""

    # repr=False here and below: the address may hold a password, and somebody will print the settings.
    url: BrokerUrl = Field("embedded", repr=False)


class ResultSettings(_Section):
    """The Redis with results, leases and attempts."""

    # "": the broker, when that is a Redis
    url: ResultsUrl = Field("", repr=False)
    expire_seconds: Annotated[Duration, lasting("1s", "3650d")] = Field(written("1d"), alias="expire")


class WatcherSettings(_Section):
    """How the watcher looks and how much it publishes ahead."""

    max_in_flight: Count = Field(64, ge=1, le=10_000)  # at least 4 for each worker child; more only fills the queue
    rescan_seconds: Annotated[Duration, lasting("10ms", "1d")] = Field(written("30s"), alias="rescan")


class LimitSettings(_Section):
    """What one file may be, and what it may cost."""

    # By content. Whoever expects only photos can close the doors of the others, and their decoders' bugs with them.
    formats: Annotated[tuple[ImageFormat, ...], AT_LEAST_ONE, AfterValidator(_each_once)] = names.IMAGE_FORMATS
    max_bytes: Annotated[Size, weighing("1B", "1TB")] = written("256MB")
    max_pixels: Count = Field(250_000_000, ge=1, le=100_000_000_000)  # today's largest cameras stay below 200 MP
    # What decoding may take beside the program: a phone's 200 MP HEIC fits, a 34-byte WebP of 169 MP does not.
    max_memory_bytes: Annotated[Size, weighing("10MB", "1TB")] = Field(written("1.5GB"), alias="max_memory")
    # Only one frame is decoded, but counting them has a price, and nobody drops such a file as a photo.
    max_frames: Count = Field(10_000, ge=1, le=1_000_000)
    # A progressive JPEG of 30 kB with a thousand scans decodes for seconds; camera and web files have at most 15.
    max_scans: Count = Field(100, ge=1, le=100_000)
    # Texts and colour profile of a PNG, unpacked; large profiles have a few MB. Below what Pillow is told to stop at.
    max_text_bytes: Annotated[Size, weighing("1KB", "64MB")] = Field(written("16MB"), alias="max_text")
    # Ten times what the largest photo took on a slow machine. Unlike `task_time` it does not run while others are busy.
    cpu_time_seconds: Annotated[Duration, lasting("1s", "1d")] = Field(written("30s"), alias="cpu_time")
    # Below RabbitMQ's 30 minutes, after which it takes an unacknowledged message for lost and closes the channel.
    task_time_seconds: Annotated[Duration, lasting("1s", "20m")] = Field(written("60s"), alias="task_time")
    max_attempts: Count = Field(3, ge=1, le=100)
    # A client that lost its connection at night resumes in the morning. "0s": no patience at all, as with empty files.
    truncated_grace_seconds: Annotated[Duration, lasting("0s", "3650d")] = Field(
        written("24h"), alias="truncated_grace"
    )
    empty_grace_seconds: Annotated[Duration, lasting("0s", "3650d")] = Field(written("10m"), alias="empty_grace")

    @property
    def silence_seconds(self) -> float:
        """How long a network file system may say nothing until it counts as away.

        Three silences fit into one task, so that one that hangs is never taken for a slow decoder; and a slow NFS server
        answers well within half a minute.
        """
        return min(30.0, self.task_time_seconds / 3)

    # A picture with a grey or shifted part is no good copy, and whoever sent it may still have one.
    damaged: Literal["quarantine", "accept"] = "quarantine"


class QuarantineSettings(_Section):
    """How long files that cannot become thumbnails are kept."""

    # Never zero: it reads like "for ever" and would delete the only copy at once.
    keep_seconds: Annotated[Duration, lasting("1s", "36500d")] = Field(written("90d"), alias="keep")


class StateSettings(_Section):
    """Where the embedded Redis and the lock files live."""

    path: Directory | None = None  # None: $STATE_DIRECTORY under systemd, else <library>/.thumbdrop


class Settings(_Section):
    """All settings of one installation."""

    inbox: Annotated[tuple[InboxSettings, ...], AT_LEAST_ONE] = Field(default_factory=lambda: (InboxSettings(),))
    library: LibrarySettings = LibrarySettings()
    thumbnails: ThumbnailSettings = ThumbnailSettings()
    category: CategorySettings = CategorySettings()
    broker: BrokerSettings = BrokerSettings()
    results: ResultSettings = ResultSettings()
    watcher: WatcherSettings = WatcherSettings()
    limits: LimitSettings = LimitSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    state: StateSettings = StateSettings()

    def as_written(self) -> dict[str, Any]:
        """The tree of a TOML file that has these settings, every key in it; passwords are not masked."""
        written_tree: dict[str, Any] = without_none(self.model_dump(mode="json", by_alias=True))
        return written_tree

    def inbox_named(self, name: str) -> InboxSettings:
        """The inbox of that name; KeyError when the settings have none."""
        for inbox in self.inbox:
            if inbox.name == name:
                return inbox
        raise KeyError(name)
