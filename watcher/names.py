"""Which names are never candidates: hidden ones, temporaries of upload clients, system litter, what the operator ignores.

Pure: decides over relative paths and looks at no file. The same rules keep watches away from ignored directories, prune the
walk and answer `why`. What a reader would get wrong: a rule that matches a directory covers everything below it.
"""

import fnmatch
import re
from collections.abc import Iterable
from typing import Literal

WhyIgnored = Literal["hidden", "temporary", "ignored", "suffix", "too_deep"]

MAX_DEPTH = 64  # directories below the root; keeps the walk's stack and its open descriptors small

# Names under which clients write what they rename when it is whole. Those with a leading dot (rsync, GIO, Syncthing,
# ProFTPD's .in.*, pure-ftpd's .pureftpd-upload.*, .nfsXXXX) are hidden already.
_TEMPORARY = (
    "*.filepart",  # WinSCP
    "*.part",  # Firefox, KIO, Nextcloud
    "*.partial",  # rclone
    "*.crdownload",  # Chrome
    "*.download",  # Safari: a directory
    "*.tmp",  # many, and Syncthing's ~syncthing~*.tmp
    "*.writing",  # Spring Integration
    "*.lftp",
    "*.aria2",
    "*.tacitpart",  # FolderSync
    "*.!sync",
    "*.!ut",
    "*.camellock",  # Apache Camel
    "*.processing",  # Kafka Connect SpoolDir
    "*~",
    "~$*",  # Office
)
# What file managers and NAS boxes leave behind; `@eaDir` holds thumbnails of their own with image suffixes.
_LITTER = ("thumbs.db", "desktop.ini", "ehthumbs.db", "*@synoeastream")
_LITTER_DIRS = ("@eadir", "#recycle", "#snapshot", "__macosx")

_Segments = tuple[re.Pattern[str] | None, ...]  # None stands for "**"


class Names:
    """The rules of one inbox. `ignore` are globs, added to the built-in ones; `suffixes` those of all candidates, without dots.

    A glob without `/` matches any one component, one that ends in `/` only directories; one with a `/` elsewhere matches the
    path below the root, where `*` stays within a component and `**` spans several. Case never matters.
    """

    def __init__(self, ignore: tuple[str, ...], suffixes: tuple[str, ...]) -> None:
        self.ignore = tuple(ignore)
        self.suffixes = tuple(suffixes)
        self._suffixes = frozenset(suffix.lower().lstrip(".") for suffix in self.suffixes)
        globs = [glob for glob in self.ignore if glob.strip("/")]
        names = [glob for glob in globs if "/" not in glob]
        directories = [glob.rstrip("/") for glob in globs if _is_directory_name(glob)]
        paths = [glob for glob in globs if "/" in glob and not _is_directory_name(glob)]
        self._temporary = _any_of(_TEMPORARY)
        self._ignored = _any_of((*_LITTER, *names))
        self._ignored_dirs = _any_of((*_LITTER_DIRS, *directories))
        self._paths = [(_segments(glob), glob.endswith("/")) for glob in paths]

    def why_ignored(self, path: str, is_dir: bool) -> WhyIgnored | None:
        """Tell why `path` (relative, `/` between parts, surrogates allowed) is no candidate; None when it is one.

        The first component that is ignored gives the reason, so a file in `.cache/` is "hidden" like the directory.
        """
        parts = path.split("/")
        if len(parts) - (not is_dir) > MAX_DEPTH:
            return "too_deep"
        for end in range(1, len(parts)):
            why = self.why_entry_ignored("/".join(parts[:end]), is_dir=True)
            if why:
                return why
        return self.why_entry_ignored(path, is_dir)

    def why_entry_ignored(self, path: str, is_dir: bool) -> WhyIgnored | None:
        """Answer like `why_ignored`, for a path whose parents are known to be fine: only its last component is looked at."""
        name = path.rpartition("/")[2]
        if name.startswith("."):
            return "hidden"
        if self._temporary.match(name):
            return "temporary"
        if self._is_ignored(path, name, is_dir=is_dir):
            return "ignored"
        if is_dir:
            return "too_deep" if path.count("/") >= MAX_DEPTH else None
        _, dot, suffix = name.rpartition(".")
        return None if dot and suffix.lower() in self._suffixes else "suffix"

    def _is_ignored(self, path: str, name: str, *, is_dir: bool) -> bool:
        if self._ignored.match(name) or (is_dir and self._ignored_dirs.match(name)):
            return True
        parts = path.split("/") if self._paths else []
        return any(_matches(segments, parts) for segments, only_dirs in self._paths if is_dir or not only_dirs)


def _is_directory_name(glob: str) -> bool:
    return glob.endswith("/") and "/" not in glob.rstrip("/")


def _any_of(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs), re.IGNORECASE)


def _segments(glob: str) -> _Segments:
    return tuple(None if segment == "**" else _any_of([segment]) for segment in glob.strip("/").split("/"))


def _matches(segments: _Segments, parts: list[str]) -> bool:
    if not segments:
        return not parts
    first, rest = segments[0], segments[1:]
    if first is None:
        return any(_matches(rest, parts[skipped:]) for skipped in range(len(parts) + 1))
    return bool(parts) and bool(first.match(parts[0])) and _matches(rest, parts[1:])
