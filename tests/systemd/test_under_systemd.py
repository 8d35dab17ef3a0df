"""Everything that happens to a service in its life, done to the real units on a booted machine."""

import shutil
import subprocess
from pathlib import Path

import pytest

from images import image_bytes, oriented, photo
from installation import BEAT, HOME, SERVICES, USER, WATCHER, WORKERS, Installation, photos
from waiting import wait_until

pytestmark = [pytest.mark.timeout(420), pytest.mark.root]


def wait_for_some(thumbdrop: Installation, names: list[str]) -> None:
    """Wait for the middle of the work: something is done, and not all."""
    wait_until(lambda: thumbdrop.done_so_far(names) > 0, f"work has begun\n{thumbdrop.journal_tail()}", 60, every=0.05)
    assert thumbdrop.done_so_far(names) < len(names), "too late: all is done"


def hidden_thumbnails(thumbdrop: Installation) -> set[Path]:
    """Thumbnails that have not got their names: being written, or left by a killed worker until they are swept."""
    return {file for file in thumbdrop.library.rglob("thumbnails/**/.*") if file.is_file()}


def test_photos_that_are_uploaded_by_sftp_become_thumbnails(thumbdrop: Installation) -> None:
    since = thumbdrop.now()
    name = "Zoë & sons.jpg"
    thumbdrop.upload({name: oriented(photo(), 6), "trip/sea.jpg": image_bytes(width=900)}, "mkdir /inbox/trip")
    thumbdrop.wait_done(name, "trip/sea.jpg")
    thumbdrop.assert_whole()
    found = {entry["THUMBDROP_PATH"]: entry for entry in thumbdrop.events("image.done", since)}
    assert set(found) == {name, "trip/sea.jpg"}
    entry = found["trip/sea.jpg"]
    assert entry["THUMBDROP_INBOX"] == USER
    assert len(entry["THUMBDROP_ARRIVAL_ID"]) == 36
    assert entry["THUMBDROP_DURATION_MS"].isdecimal()
    assert entry["PRIORITY"] == "6"
    assert entry["SYSLOG_IDENTIFIER"] == "thumbdrop"
    assert entry["_SYSTEMD_UNIT"] in WORKERS
    assert entry["MESSAGE"].startswith("image.done inbox=alice path=trip/sea.jpg ")


def test_a_broken_photo_with_a_hostile_name_is_one_safe_line_with_its_reason(thumbdrop: Installation) -> None:
    since = thumbdrop.now()
    name = "evil\x1b[2J\u202egpj.jpg"
    thumbdrop.upload({name: b"GIF or not, this is no image at all" * 100})
    wait_until(lambda: thumbdrop.events("image.quarantined", since), "it is set aside", 30, 0.3)
    (entry,) = thumbdrop.events("image.quarantined", since)
    assert entry["THUMBDROP_PATH"] == r"evil\x1b[2J\u202egpj.jpg"
    assert entry["THUMBDROP_REASON"] == "not_an_image"
    assert entry["PRIORITY"] == "4"
    assert isinstance(entry["MESSAGE"], str)  # journalctl would give bytes that it does not trust as a list of numbers


def test_an_original_of_our_own_is_moved_and_not_copied(thumbdrop: Installation) -> None:
    inbox = thumbdrop.machine.root / "srv/thumbdrop/inbox"
    (thumbdrop.machine.root / "root/own.jpg").write_bytes(image_bytes(width=500))
    thumbdrop.machine.shell("install -o thumbdrop -g thumbdrop -m 640 /root/own.jpg /srv/thumbdrop/inbox/.own.jpg")
    inode = (inbox / ".own.jpg").stat().st_ino
    (inbox / ".own.jpg").rename(inbox / "own.jpg")
    thumbdrop.wait_done("own.jpg")
    assert (thumbdrop.library / "originals/uncategorized/own.jpg").stat().st_ino == inode


def test_directories_of_others_are_emptied_by_the_rights_of_a_default_acl(thumbdrop: Installation) -> None:
    thumbdrop.machine.shell(
        f"""
        install -d -o {USER} -g nogroup -m 700 /{HOME}/inbox/acl
        setfacl -m u:thumbdrop:rwx,d:u:thumbdrop:rwX,d:u:{USER}:rwX /{HOME}/inbox/acl
        """
    )
    thumbdrop.upload({"acl/deep/a.jpg": image_bytes(width=333)}, "mkdir /inbox/acl/deep")
    original = thumbdrop.library / "originals/acl/a.jpg"
    wait_until(lambda: original.exists() and not (thumbdrop.inbox / "acl/deep/a.jpg").exists(), "it is done", 60, 0.2)


def test_every_service_that_is_killed_in_the_middle_of_work_is_back_and_nothing_is_lost(
    thumbdrop: Installation,
) -> None:
    before = {unit: thumbdrop.main_pid(unit) for unit in SERVICES}
    sent = photos("kill", 12)
    thumbdrop.upload(sent)
    wait_for_some(thumbdrop, list(sent))
    for unit in SERVICES:
        thumbdrop.machine.succeed("systemctl", "kill", "--signal=KILL", unit)
    for unit in SERVICES:
        wait_until(lambda one=unit: thumbdrop.main_pid(one) not in (0, before[one]), f"{unit} is back", 30, 0.2)  # type: ignore[misc]
    thumbdrop.wait_running()
    thumbdrop.wait_done(*sent)
    thumbdrop.assert_whole()


def test_a_service_whose_loop_is_stuck_is_ended_by_its_watchdog_and_started_anew(thumbdrop: Installation) -> None:
    since = thumbdrop.now()
    stuck = {unit: thumbdrop.main_pid(unit) for unit in (WATCHER, WORKERS[0])}
    for pid in stuck.values():
        thumbdrop.machine.succeed("kill", "-STOP", str(pid))
    for unit, pid in stuck.items():
        wait_until(lambda one=unit, old=pid: thumbdrop.main_pid(one) not in (0, old), f"{unit} is anew", 60, 0.3)  # type: ignore[misc]
    said = [entry["MESSAGE"] for entry in thumbdrop.journal(since)]
    assert sum("Watchdog timeout" in line for line in said) == 2
    thumbdrop.wait_running()
    thumbdrop.upload({"after-watchdog.jpg": image_bytes(width=410)})
    thumbdrop.wait_done("after-watchdog.jpg")


def test_a_stop_in_the_middle_of_work_leaves_nothing_half_and_a_start_goes_on(thumbdrop: Installation) -> None:
    since, killed = thumbdrop.now(), hidden_thumbnails(thumbdrop)
    sent = photos("stop", 16)
    thumbdrop.upload(sent)
    wait_for_some(thumbdrop, list(sent))
    thumbdrop.stop()
    for unit in SERVICES:
        assert thumbdrop.show(unit, "ActiveState") == "inactive", unit
        assert thumbdrop.show(unit, "Result") == "success", unit
    assert thumbdrop.done_so_far(list(sent)) < len(sent), "too late: all was done"
    thumbdrop.assert_whole()
    # Warm: whatever was at hand was finished, so that no hidden remains lie about but those of workers killed before.
    assert hidden_thumbnails(thumbdrop) <= killed
    thumbdrop.start()
    thumbdrop.wait_done(*sent)
    assert len(thumbdrop.events("image.done", since)) == len(sent), "something was done twice"


def test_a_reload_takes_what_can_change_and_refuses_the_rest(thumbdrop: Installation) -> None:
    pid, since = thumbdrop.main_pid(WATCHER), thumbdrop.now()
    changed = thumbdrop.settings.replace('name = "alice"', 'name = "alice"\nignore = ["draft-*"]')
    try:
        thumbdrop.configure(changed.replace("6379/0", "6379/9"))
        thumbdrop.machine.succeed("systemctl", "reload", WATCHER)
        wait_until(lambda: thumbdrop.events("settings.need_restart", since), "it says what it cannot change", 20, 0.2)
        (refused,) = thumbdrop.events("settings.need_restart", since)
        assert refused["THUMBDROP_UNCHANGED"] == "broker.url"
        (said,) = thumbdrop.events("settings.reloaded", since)
        assert said["THUMBDROP_CHANGED"] == "inbox[1].ignore"
        thumbdrop.upload({"draft-1.jpg": image_bytes(width=420), "final-1.jpg": image_bytes(width=430)})
        thumbdrop.wait_done("final-1.jpg")
        assert (thumbdrop.inbox / "draft-1.jpg").exists()
        thumbdrop.configure(changed + "[nonsense]\n")
        assert thumbdrop.machine.run("systemctl", "reload", WATCHER).returncode != 0
        assert "nonsense" in thumbdrop.journal_tail()
    finally:
        thumbdrop.configure(thumbdrop.settings)
    thumbdrop.machine.succeed("systemctl", "reload", WATCHER)
    thumbdrop.wait_done("draft-1.jpg")
    assert thumbdrop.main_pid(WATCHER) == pid


def test_redis_may_stop_and_come_back(thumbdrop: Installation) -> None:
    pids = {unit: thumbdrop.main_pid(unit) for unit in SERVICES}
    thumbdrop.machine.succeed("systemctl", "stop", "redis-server")
    sent = photos("redis", 4)
    thumbdrop.upload(sent)
    wait_until(lambda: "broker" in thumbdrop.show(WATCHER, "StatusText"), "systemctl status says so", 30, 0.3)
    for unit in WORKERS:
        wait_until(lambda one=unit: "waits for the broker" in thumbdrop.show(one, "StatusText"), unit, 30, 0.3)  # type: ignore[misc]
    assert thumbdrop.done_so_far(list(sent)) == 0
    thumbdrop.machine.succeed("systemctl", "start", "redis-server")
    thumbdrop.wait_done(*sent)
    assert thumbdrop.main_pid(WATCHER) == pids[WATCHER]


def test_redis_may_start_late(thumbdrop: Installation) -> None:
    thumbdrop.stop()
    thumbdrop.machine.succeed("systemctl", "stop", "redis-server")
    thumbdrop.machine.succeed("systemctl", "start", "--no-block", "thumbdrop.target", *WORKERS)
    wait_until(lambda: thumbdrop.show(WATCHER, "ActiveState") == "active", "the watcher is up without it", 60, 0.3)
    assert thumbdrop.show(WORKERS[0], "ActiveState") == "activating"
    thumbdrop.upload({"late.jpg": image_bytes(width=440)})
    thumbdrop.machine.succeed("systemctl", "start", "redis-server")
    thumbdrop.wait_running()
    thumbdrop.wait_done("late.jpg")


def test_wrong_settings_end_a_service_with_their_mistakes_in_the_journal_and_are_not_tried_again(
    thumbdrop: Installation,
) -> None:
    units = (WATCHER, WORKERS[0], BEAT)
    thumbdrop.stop()
    since = thumbdrop.now()
    try:
        thumbdrop.configure(thumbdrop.settings.replace('rescan = "5s"', 'rescan = "5 parsecs"\ncolour = "red"'))
        for unit in units:
            thumbdrop.machine.run("systemctl", "start", unit)
        for unit in units:
            wait_until(lambda one=unit: thumbdrop.show(one, "ActiveState") == "failed", f"{unit} has failed", 30, 0.2)  # type: ignore[misc]
            said = "\n".join(one["MESSAGE"] for one in thumbdrop.journal(since, f"_SYSTEMD_UNIT={unit}"))
            assert "5 parsecs" in said, unit
            assert "watcher.colour" in said, unit
            assert thumbdrop.show(unit, "ExecMainStatus") in ("78", "2"), unit
            assert thumbdrop.show(unit, "NRestarts") == "0", unit
    finally:
        thumbdrop.configure(thumbdrop.settings)
        thumbdrop.start()


def test_an_image_that_takes_all_memory_costs_only_itself(thumbdrop: Installation, bomb: bytes) -> None:
    since = thumbdrop.now()
    with thumbdrop.drop_in("thumbdrop-worker@.service", "[Service]\nMemoryMax=260M\nMemorySwapMax=0\n"):
        thumbdrop.machine.succeed("systemctl", "restart", *WORKERS, seconds=60)
        thumbdrop.wait_running()
        before = {unit: thumbdrop.main_pid(unit) for unit in WORKERS}
        good = {f"beside-{index}.jpg": image_bytes(width=450 + index) for index in range(8)}
        thumbdrop.upload({"bomb.png": bomb} | good)
        thumbdrop.wait_done(*good)
        wait_until(lambda: thumbdrop.events("image.attempt_lost", since), "the kernel ended a child", 60, 0.3)
        lost = thumbdrop.events("image.attempt_lost", since)
        assert {entry["THUMBDROP_PATH"] for entry in lost} == {"bomb.png"}
        assert {unit: thumbdrop.main_pid(unit) for unit in WORKERS} == before, "a whole worker went down"
    thumbdrop.machine.succeed("systemctl", "restart", *WORKERS, seconds=60)
    (thumbdrop.inbox / "bomb.png").unlink()


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A picture of 120 megapixels that is allowed, and takes 360 MB to decode."""
    return image_bytes("png", 12_000, 10_000)


def test_an_upgrade_in_the_middle_of_work_loses_nothing(thumbdrop: Installation, package: Path, tmp_path: Path) -> None:
    newer = newer_version(package, tmp_path)
    sent = photos("upgrade", 16)
    thumbdrop.upload(sent)
    wait_for_some(thumbdrop, list(sent))
    thumbdrop.bring(newer)
    thumbdrop.follow_readme("upgrade: debian")
    assert thumbdrop.machine.succeed("dpkg-query", "-f", "${Version}", "-W", "thumbdrop").endswith("+upgraded")
    thumbdrop.wait_running()
    thumbdrop.wait_done(*sent)
    thumbdrop.assert_whole()


def newer_version(package: Path, folder: Path) -> Path:
    """The same package under a later version: what dpkg does with it is what matters."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text("\n".join(f"{one}+upgraded" if one.startswith("Version:") else one for one in lines) + "\n")
    newer = folder / "thumbdrop_9_amd64.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--build", tree, newer], check=True, capture_output=True)
    shutil.rmtree(tree)
    return newer


def test_a_reboot_with_a_full_inbox_goes_on_by_itself(thumbdrop: Installation) -> None:
    sent = photos("reboot", 16)
    thumbdrop.upload(sent)
    thumbdrop.machine.reboot()
    assert thumbdrop.done_so_far(list(sent)) < len(sent), "too late: all was done"
    thumbdrop.wait_running()
    thumbdrop.wait_done(*sent)
    thumbdrop.assert_whole()


def test_a_library_whose_disk_is_full_pauses_the_work_until_there_is_room(thumbdrop: Installation) -> None:
    machine, since = thumbdrop.machine, thumbdrop.now()
    thumbdrop.stop()
    machine.shell(
        """
        mount -t tmpfs -o size=64m,mode=755,uid=$(id -u thumbdrop),gid=$(id -g thumbdrop) tmpfs /srv/thumbdrop/library
        fallocate -l 50M /srv/thumbdrop/library/.ballast
        """
    )
    thumbdrop.start()
    try:
        thumbdrop.upload({"full.jpg": image_bytes(width=460)})
        wait_until(lambda: thumbdrop.events("image.put_off", since), "it waits", 30, 0.3)
        (entry, *_) = thumbdrop.events("image.put_off", since)
        assert entry["THUMBDROP_REASON"] == "no_space"
        assert (thumbdrop.inbox / "full.jpg").exists()
        machine.succeed("rm", "/srv/thumbdrop/library/.ballast")
        done = "/srv/thumbdrop/library/originals/uncategorized/full.jpg"
        wait_until(
            lambda: machine.run("test", "-e", done).returncode == 0, f"it goes on\n{thumbdrop.journal_tail()}", 90, 0.5
        )
    finally:
        thumbdrop.stop()
        machine.succeed("umount", "/srv/thumbdrop/library")
        thumbdrop.start()
