"""Slots: which name in the library belongs to which content, agreed between workers on any number of hosts.

A committed manifest owns its slot for good; until then a claim does, a hidden file that holds the content's sha256.
The file system's exclusive creation is the only judge, so a library that ignores case or normalises names is safe
too. The one thing a reader would get wrong: a claim counts only together with the manifest looked at *after* it was
made, because between a look and a claim another worker may have committed and dropped its own.
"""

import errno
import os
import time
from contextlib import suppress
from secrets import token_hex

from config.logs import get_logger
from tasks.durable import create_whole, discard
from tasks.errors import TransientError
from tasks.library_names import plain_stem, slot_stems
from tasks.library_tree import Tree, split_last
from tasks.manifest import Manifest, from_bytes
from tasks.records import RecordError, from_json, get, to_json, utc

log = get_logger(__name__)

MANIFESTS = "manifests"
# What file systems answer to a name that they cannot store (SMB, FAT: ":" or not UTF-8; eCryptfs: 143 bytes).
_REFUSED_NAMES = (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG)
# Without hard links a claim is empty for a moment; one that stays unreadable was left by a power cut. And nobody needs a minute
# between a commit and the end of its claim.
_UNREADABLE_TRIES, _UNREADABLE_WAIT_SECONDS, _ABANDONED_SECONDS = 20, 0.05, 60.0
_LOOKS_AT_A_CLAIM = 3


def manifest_path(slot: str) -> str:
    """Where the slot's manifest stands."""
    return f"{MANIFESTS}/{slot}.json"


def claim_path(slot: str) -> str:
    """Where the slot's claim stands."""
    category, stem = split_last(slot)
    return f"{MANIFESTS}/{category}/.{stem}.claim"


class Slots:
    """The claims and manifests of one library."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._made: tuple[str, bytes] | None = None  # the last claim that was made here, and its content

    def manifest(self, slot: str) -> Manifest | None:
        """The slot's manifest; None when there is none, or (with a line in the log) a damaged one."""
        path = manifest_path(slot)
        try:
            content = self._tree.read(path)
            return None if content is None else from_bytes(content)
        except (RecordError, IsADirectoryError) as error:
            log.warning("manifest.damaged", path=path, error=str(error))
            return None

    def claim(self, category: str, stem: str, sha256: str, replaces: str | None) -> str:
        """Reserve a slot for this content and return it: `replaces` if that may be had, else the best free name.

        The same content finds the slot it has, or is about to have; another content takes the name with its hash.
        """
        if replaces is not None and self.take(replaces, sha256, replaces=True):
            return replaces
        try:
            return self._first_free(category, stem, sha256)
        except OSError as error:
            if error.errno not in _REFUSED_NAMES:
                raise
            return self._first_free(category, plain_stem(stem), sha256)

    def take(self, slot: str, sha256: str, *, replaces: bool = False) -> bool:
        """Reserve this very slot; False when it belongs to another content (unless that may be replaced).

        True without a claim when its manifest is of this content already: a commit needs no reservation.
        """
        if self._is_ours(slot, sha256, replaces) is False:
            return False
        for _ in range(_UNREADABLE_TRIES):
            if self._create(slot, sha256):
                return self._settle(slot, sha256, replaces)
            standing = self._claimed_by(slot)
            if standing == sha256:
                self._refresh(slot)
                return self._is_ours(slot, sha256, replaces) is not False
            # A worker that died between its commit and this has left its claim: the manifest speaks for that content by itself.
            if standing is not None and not (_is_of(self.manifest(slot), standing) and self._discard_abandoned(slot)):
                return False
            time.sleep(_UNREADABLE_WAIT_SECONDS)
        return False

    def require(self, slot: str, sha256: str) -> Manifest | None:
        """The slot's manifest; TransientError unless it, or the claim, still reserves the slot for this content.

        A claim can go while its image waits for days (a full disk) and housekeeping sweeps.
        """
        for _ in range(_LOOKS_AT_A_CLAIM):
            manifest = self.manifest(slot)
            if _is_of(manifest, sha256) or self._claimed_by(slot) == sha256:
                return manifest
            # Another worker with the same content may have committed and dropped the claim between the two, or be writing
            # its manifest over it at this moment.
            time.sleep(_UNREADABLE_WAIT_SECONDS)
        raise TransientError(f"the claim on {slot} is gone; the next try claims again")

    def open_own(self, slot: str) -> int | None:
        """The slot's claim, open for writing, if it is the last one that was made here; else None.

        Its file can become the manifest. One file less is made and deleted for each image then: ext4 passes over each
        deleted inode, for minutes, whenever it makes a file nearby.
        """
        if self._made is None or self._made[0] != slot:
            return None
        folder, name = split_last(claim_path(slot))
        with suppress(OSError), self._tree.directory(folder) as dir_fd:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
            try:
                if os.pread(fd, len(self._made[1]) + 1, 0) == self._made[1]:
                    return os.dup(fd)
            finally:
                os.close(fd)
        return None

    def drop(self, slot: str) -> None:
        """Give up the slot's claim, if there is one."""
        self._tree.unlink(claim_path(slot))

    def _first_free(self, category: str, stem: str, sha256: str) -> str:
        for candidate in slot_stems(stem, sha256):
            slot = f"{category}/{candidate}"
            if self.take(slot, sha256):
                return slot
        # Only a damaged manifest, or a directory, under a name that has the whole hash in it.
        raise TransientError(f"no free name for {stem} in {category}: look at {manifest_path(slot)}")

    def _is_ours(self, slot: str, sha256: str, replaces: bool) -> bool | None:
        """True: its manifest is of this content; None: free, as far as manifests go; False: another's."""
        if not self._tree.holds(manifest_path(slot)):
            return None
        manifest = self.manifest(slot)
        if manifest is None:
            return False  # damaged: whose it was is not known, so nobody else gets it
        return True if manifest.sha256 == sha256 else (None if replaces else False)

    def _settle(self, slot: str, sha256: str, replaces: bool) -> bool:
        ours = self._is_ours(slot, sha256, replaces)
        if ours is not None:
            self.drop(slot)
        return ours is not False

    def _create(self, slot: str, sha256: str) -> bool:
        folder, name = split_last(claim_path(slot))
        content = to_json({"sha256": sha256, "claimed_at": utc(time.time()), "by": token_hex(8)})
        with self._tree.directory(folder, make=True) as dir_fd:
            try:
                # Not synced: after a power cut an unreadable claim is an abandoned one.
                create_whole(dir_fd, name, content, self._tree.rights, sync=False)
            except FileExistsError:
                return False
        self._made = slot, content
        return True

    def _claimed_by(self, slot: str) -> str | None:
        """The sha256 in the slot's claim, None when there is none or it cannot be read (yet)."""
        content = self._tree.read(claim_path(slot))
        if content is None:
            return None
        with suppress(RecordError):
            return get(from_json(content), "sha256", str)
        self._discard_abandoned(slot)
        return None

    def _discard_abandoned(self, slot: str) -> bool:
        folder, name = split_last(claim_path(slot))
        with suppress(OSError), self._tree.directory(folder) as dir_fd:
            if os.stat(name, dir_fd=dir_fd).st_ctime < time.time() - _ABANDONED_SECONDS:
                discard(dir_fd, name)
                return True
        return False

    def _refresh(self, slot: str) -> None:
        folder, name = split_last(claim_path(slot))
        with suppress(OSError), self._tree.directory(folder) as dir_fd:
            os.utime(name, dir_fd=dir_fd)


def _is_of(manifest: Manifest | None, sha256: str) -> bool:
    return manifest is not None and manifest.sha256 == sha256
