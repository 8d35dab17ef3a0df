from pathlib import Path

from config.load import load
from config.settings import Settings
from watcher.daemon import status_line
from watcher.reload import reloaded

BEFORE = """
[[inbox]]
path = "/a"
[[inbox]]
path = "/b"
[library]
path = "/library"
[broker]
url = "redis://localhost/0"
"""


def settings(folder: Path, *changes: tuple[str, str]) -> Settings:
    text = BEFORE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "thumbdrop.toml"
    file.write_text(text)
    return load(file, {}).settings


def test_what_an_inbox_is_looked_at_with_changes_at_once(tmp_path: Path) -> None:
    before = settings(tmp_path)
    after = settings(tmp_path, ('path = "/b"', 'path = "/b"\nsettle = "9s"\nignore = ["x"]\nsuffixes = ["jpg"]'))
    change = reloaded(before, after)
    assert set(change.taken) == {"inbox[1].settle", "inbox[1].ignore", "inbox[1].suffixes"}
    assert change.waiting == ()
    assert change.settings == after
    pairs = list(zip(before.inbox, change.settings.inbox, strict=True))
    assert [change.is_about(old, new) for old, new in pairs] == [False, True]


def test_another_rescan_is_about_every_inbox(tmp_path: Path) -> None:
    before = settings(tmp_path)
    change = reloaded(before, settings(tmp_path, ("[library]", '[watcher]\nrescan = "5s"\n[library]')))
    assert change.taken == ("watcher.rescan",)
    assert change.settings.watcher.rescan_seconds == 5
    assert all(change.is_about(one, one) for one in before.inbox)


def test_what_others_rely_on_waits_for_a_restart_and_is_named(tmp_path: Path) -> None:
    before = settings(tmp_path)
    after = settings(tmp_path, ("localhost/0", "localhost/5"), ('"/library"', '"/elsewhere"'))
    change = reloaded(before, after)
    assert change.taken == ()
    assert {"broker.url", "library.path"} <= set(change.waiting)
    assert change.settings.broker == before.broker
    assert change.settings.library == before.library


def test_another_inbox_waits_for_a_restart_with_all_that_is_said_of_inboxes(tmp_path: Path) -> None:
    before = settings(tmp_path)
    change = reloaded(before, settings(tmp_path, ('path = "/a"', 'path = "/c"\nsettle = "9s"')))
    assert change.taken == ()
    assert set(change.waiting) >= {"inbox[0].path", "inbox[0].settle"}
    assert change.settings.inbox == before.inbox


def test_the_line_for_systemctl_status_says_what_stands_in_the_way() -> None:
    fine = {"online": True, "offline_why": "", "waiting": {"settling": 2, "ready": 1}}
    away = {"online": False, "offline_why": "not there\n", "waiting": {"ready": 0}}
    assert status_line({"a": fine}, {"a"}, 4, "") == "3 waiting, 4 in flight"
    said = status_line({"a": fine, "b": away}, (), 0, "OSError: refused")
    assert said == (
        "3 waiting, 0 in flight; broker: OSError: refused; a is not held yet, or by another watcher; "
        "b is offline: not there\\n"
    )
