"""What the events of an inbox mean: which are worth a hint, and which belong together.

Pure: paths come in as absolute text, time as a number, hints go out to the collector. What a reader would get wrong: names that are
no candidates give no hint, but their events are needed, because a temporary name that vanishes tells of a rename.
"""

import os.path
from collections.abc import Callable

from watcher.collector import HintKind
from watcher.names import Names

_RENAME_SECONDS = 0.5  # between link() and unlink() of one SFTP rename, as we hear of them; a guess
_MAX_CREATED = 64


class Renames:
    """Recognises an SFTP rename (SSH_FXP_RENAME): OpenSSH's server does link() and unlink(), seen as CREATE and DELETE.

    Limits: a file created in place while an unrelated temporary name beside it is deleted within half a second looks the same;
    that costs it the longer quiet where the writer is unknown, and nothing else.
    """

    def __init__(self) -> None:
        self._created: dict[str, float] = {}  # by path, oldest first; monotonic seconds

    def created(self, path: str, now: float) -> None:
        """A candidate name appeared without having been moved in."""
        self._created.pop(path, None)
        self._created[path] = now
        if len(self._created) > _MAX_CREATED:
            del self._created[next(iter(self._created))]

    def closed(self, path: str) -> None:
        """A candidate was closed after writing: so it was no link."""
        self._created.pop(path, None)

    def temporary_deleted(self, path: str, now: float) -> str | None:
        """Tell which candidate a temporary name that just vanished was renamed to: the one whose name it holds, or the newest."""
        directory, name = os.path.split(path)
        beside = [
            created
            for created, at in self._created.items()
            if os.path.dirname(created) == directory and now - at <= _RENAME_SECONDS
        ]
        alike = [created for created in beside if os.path.basename(created) in name]
        if not beside:
            return None
        found = (alike or beside)[-1]
        del self._created[found]
        return found


class Events:
    """Makes hints of the events of one inbox. `hint` receives the path relative to `root` ("" for the root itself) and the kind."""

    def __init__(self, root: str, names: Names, hint: Callable[[str, HintKind], None]) -> None:
        self._root = root
        self._names = names
        self._hint = hint
        self._renames = Renames()

    def created(self, path: str, now: float) -> None:
        """Note a file that appeared under its name: created, or linked."""
        if self._hint_file(path, "touched"):
            self._renames.created(path, now)

    def closed(self, path: str) -> None:
        """Note a file that was closed after writing."""
        self._renames.closed(path)
        self._hint_file(path, "closed")

    def changed_attributes(self, path: str) -> None:
        """Note a chmod, chown or utime."""
        self._hint_file(path, "attributes")

    def deleted(self, path: str, now: float) -> None:
        """Note a file that was deleted; that of a temporary name may have been the end of a rename."""
        if not self._hint_file(path, "gone"):
            renamed = self._renames.temporary_deleted(path, now)
            if renamed:
                self._hint_file(renamed, "renamed")

    def moved_out(self, path: str) -> None:
        """Note a file that went away by rename(2)."""
        self._hint_file(path, "gone")

    def moved_in(self, path: str) -> None:
        """Note a file that came by rename(2), from within the tree or from outside."""
        self._hint_file(path, "moved_in")

    def directory_appeared(self, path: str) -> None:
        """Note a directory that was made, moved in, or whose attributes changed: what is below it may be news."""
        below = self._below(path)
        if not below or not self._names.why_ignored(below, is_dir=True):
            self._hint(below, "directory")

    def _hint_file(self, path: str, kind: HintKind) -> bool:
        below = self._below(path)
        if self._names.why_ignored(below, is_dir=False):
            return False
        self._hint(below, kind)
        return True

    def _below(self, path: str) -> str:
        return path[len(self._root) :].lstrip("/")
