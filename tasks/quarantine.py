"""Quarantine: where files go that cannot become thumbnails, each with its reason beside it.

    quarantine/<inbox>/<path below the inbox>                  the file, unless it stays in the inbox (keep mode)
    quarantine/<inbox>/<path below the inbox>.reason.json      why

A file comes after its reason and leaves before it, so no file is ever here without a word. The one thing a reader would
get wrong: names here are hostile and may be taken, so what an entry is about stands in its reason, not in its name.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from config.settings import Settings
from tasks.archive import transfer
from tasks.durable import (
    DIRECTORY,
    Rights,
    create_whole,
    discard,
    exists,
    hash_of,
    open_below,
    opened,
    place,
    write_whole,
)
from tasks.errors import IngestError, TransientError
from tasks.library_names import split_name, split_path
from tasks.library_tree import Tree, split_last
from tasks.messages import Arrival
from tasks.quarantine_entries import (
    QUARANTINE,
    REASON_SUFFIX,
    Entry,
    entries_in,
    is_about,
    places_for,
    read_finding,
    source_of,
)
from tasks.reason import Finding, to_bytes
from tasks.records import utc
from tasks.source import Source, open_source
from tasks.walk import MAX_DEPTH, Visited, walk

__all__ = ["QUARANTINE", "REASON_SUFFIX", "Entry", "Quarantine", "RetryRefusedError"]

# A longer file is moved without being read: hashing it could take longer than a task may.
_HASH_MAX_BYTES = 1 << 30


class RetryRefusedError(Exception):
    """A file could not go back to its inbox; the text says why."""


class Quarantine:
    """The quarantine of one library."""

    def __init__(self, settings: Settings) -> None:
        self._tree = Tree(settings.library)

    # -- in

    def put(
        self,
        arrival: Arrival,
        source: Source | None,
        why: IngestError,
        *,
        attempts: int,
        first_seen_at: float | None,
        keep: bool,
    ) -> Entry | None:
        """Write the reason, then move the file in; None when it was changed, replaced or gone, and nothing is left here.

        With `keep`, or without a source, only the reason is written and the file stays where it is. `first_seen_at` is
        in seconds since 1970, None for now. The same bytes once more join the entry that is there.
        """
        now = time.time()
        is_read = source is not None and source.stat.st_size <= _HASH_MAX_BYTES
        finding = Finding(
            reason=why.reason.value,
            message=why.message,
            hint=why.hint,
            attempts=attempts,
            sha256=source.sha256() if source is not None and is_read else None,
            source=arrival,
            first_seen_at=utc(first_seen_at or now),
            quarantined_at=utc(now),
        )
        with self._tree.trouble("quarantine", arrival.path):
            return self._put_somewhere(finding, None if keep else source)

    def _put_somewhere(self, finding: Finding, source: Source | None) -> Entry | None:
        for path in places_for(finding.source):
            folder, name = split_last(path)
            with suppress(NotADirectoryError, FileExistsError):  # a quarantined file stands in the way: try elsewhere
                with self._tree.directory(folder, make=True) as dir_fd:
                    if source is not None and self._holds_same(dir_fd, name, finding) and source.remove():
                        return Entry(path, finding, has_file=True)
                    if not self._write_reason(dir_fd, name, finding):
                        continue
                    if source is None or self._bring(source, dir_fd, name):
                        return Entry(path, finding, has_file=source is not None)
                self._prune(folder)
                return None
        raise FileExistsError(f"every name in quarantine is taken for {finding.source.path}")

    def _holds_same(self, dir_fd: int, name: str, finding: Finding) -> bool:
        standing = read_finding(dir_fd, name)
        if standing is None or standing.sha256 is None or standing.sha256 != finding.sha256:
            return False
        with suppress(OSError), opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd) as fd:
            return hash_of(fd, finding.source.size_bytes + 1) == finding.sha256
        return False

    def _write_reason(self, dir_fd: int, name: str, finding: Finding) -> bool:
        """Reserve the name with its reason; False when it is taken, unless by a mere reason about the same source."""
        if exists(dir_fd, name):
            return False
        content, reason_name = to_bytes(finding), name + REASON_SUFFIX
        try:
            create_whole(dir_fd, reason_name, content, self._tree.rights)
            os.fsync(dir_fd)
        except FileExistsError:
            standing = read_finding(dir_fd, name)
            if standing is None or source_of(standing.source) != source_of(finding.source) or exists(dir_fd, name):
                return False
            write_whole(dir_fd, reason_name, content, self._tree.rights)
        return True

    def _bring(self, source: Source, dir_fd: int, name: str) -> bool:
        # Renamed whoever owns it: what is in quarantine is hostile anyway, and it may be too long to be copied.
        try:
            came = transfer(
                source, dir_fd, self._tree.rights, may_rename=True, to=lambda fd, copy: _take(source, fd, name, copy)
            )
        except FileExistsError:
            raise  # the reason may be that file's by now
        except BaseException:
            if not exists(dir_fd, name):
                discard(dir_fd, name + REASON_SUFFIX)
            raise
        if not came:
            discard(dir_fd, name + REASON_SUFFIX)
        return came

    # -- look

    def entries(self) -> Iterator[Entry]:
        """Every entry, one after the other as the tree is walked; damaged reasons are logged and passed over."""
        nothing_yet = suppress(FileNotFoundError)
        with self._tree.trouble("look through", QUARANTINE), nothing_yet, self._tree.directory(QUARANTINE) as root_fd:
            for here in walk(root_fd, depth=MAX_DEPTH + 1):
                yield from entries_in(here)

    def find(self, inbox: str, path: str) -> Entry | None:
        """The newest entry about that path of that inbox."""
        folders = dict.fromkeys(split_last(place)[0] for place in places_for(Arrival(inbox, path, 0, 0)))
        stem = split_name(split_last(path)[1])[0][:20]
        found: list[Entry] = []
        with self._tree.trouble("look through", QUARANTINE):
            for folder in folders:
                with suppress(FileNotFoundError, NotADirectoryError), self._tree.directory(folder) as dir_fd:
                    here = Visited(dir_fd, -1, tuple(folder.split("/")[1:]))
                    found += (one for one in entries_in(here, stem) if source_of(one.finding.source) == (inbox, path))
        return max(found, key=lambda entry: entry.finding.quarantined_at, default=None)

    def reason_for(self, arrival: Arrival) -> Finding | None:
        """What was found about this very file (equal size and mtime) before: in keep mode it is then left alone."""
        with self._tree.trouble("look through", QUARANTINE):
            for place_ in list(places_for(arrival))[:2]:
                folder, name = split_last(place_)
                with suppress(FileNotFoundError, NotADirectoryError), self._tree.directory(folder) as dir_fd:
                    finding = read_finding(dir_fd, name)
                    if finding is not None and is_about(finding, arrival):
                        return finding
        return None

    # -- out

    def retry(self, entry: Entry, inbox_root: Path) -> None:
        """Put the file back into its inbox under its own name, then drop the reason; the watcher takes it as new.

        An entry without its file only loses the reason. Raises RetryRefusedError when that name is taken in the
        inbox, or the inbox cannot be written; nothing is changed then.
        """
        if entry.has_file:
            self._return(entry, inbox_root)
        self._remove(entry, with_file=False)

    def drop(self, entry: Entry) -> None:
        """Delete the file, then its reason."""
        self._remove(entry, with_file=True)

    def _return(self, entry: Entry, inbox_root: Path) -> None:
        path = entry.finding.source.path
        # The real path, because the operator may have put the quarantine elsewhere by a link.
        quarantine = Path(os.path.realpath(self._tree.root / QUARANTINE))
        try:
            with (
                open_source(quarantine, entry.path.removeprefix(f"{QUARANTINE}/")) as source,
                opened(os.fspath(inbox_root), DIRECTORY | os.O_NOFOLLOW) as root_fd,
            ):
                came = _return_below(root_fd, path, source)
        except FileExistsError as error:
            raise RetryRefusedError(f"{path} stands in the inbox already; move that one away first") from error
        except (OSError, ValueError) as error:
            raise RetryRefusedError(f"could not put {path} back into {inbox_root}: {error}") from error
        except IngestError as error:
            raise RetryRefusedError(error.message) from error
        if not came:
            raise RetryRefusedError(f"{entry.path} was changed or taken away meanwhile")

    def _remove(self, entry: Entry, *, with_file: bool) -> None:
        folder, name = split_last(entry.path)
        with self._tree.trouble("remove from quarantine", entry.path), suppress(FileNotFoundError):
            with self._tree.directory(folder) as dir_fd:
                for one in (name, name + REASON_SUFFIX) if with_file else (name + REASON_SUFFIX,):
                    with suppress(FileNotFoundError):
                        os.unlink(one, dir_fd=dir_fd)
            self._prune(folder)

    def _prune(self, folder: str) -> None:
        """Remove a folder and those above it for as long as they are empty; the quarantine itself stays."""
        while folder != QUARANTINE:
            above, name = split_last(folder)
            try:
                with self._tree.directory(above) as dir_fd:
                    os.rmdir(name, dir_fd=dir_fd)
            except OSError:
                return
            folder = above


def _take(source: Source, dir_fd: int, name: str, copy: str | None) -> bool:
    if copy is None:
        if not source.move_into(dir_fd, name):
            return False
        os.fsync(dir_fd)
        return True
    place(dir_fd, copy, dir_fd, name)
    try:
        os.fsync(dir_fd)
        if source.remove():
            return True
    except TransientError:
        raise  # nobody knows whether it was removed, so the copy stays; the next try joins this entry
    except BaseException:
        discard(dir_fd, name)
        raise
    discard(dir_fd, name)
    return False


def _return_below(root_fd: int, path: str, source: Source) -> bool:
    *folders, name = split_path(path)
    # Folders that have gone since are made like the root, so that uploaders may go on using them.
    rights = Rights(file_mode=stat.S_IMODE(source.stat.st_mode) & 0o777, dir_mode=os.fstat(root_fd).st_mode & 0o777)
    dir_fd = open_below(root_fd, tuple(folders), rights, os.O_NOFOLLOW)
    try:
        return transfer(source, dir_fd, rights, may_rename=True, to=lambda fd, copy: _take(source, fd, name, copy))
    finally:
        os.close(dir_fd)
