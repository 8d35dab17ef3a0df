"""README.md does not lie: its commands run, its settings load, the commands and keys that it names exist."""

import re
import shlex
from pathlib import Path

import pytest

from config.load import load
from config.settings import Settings
from config.tree import leaves
from config.values import parse_duration
from images import image_bytes
from needs import ROOT
from running import MakeThumbdrop, Thumbdrop
from servers import RABBITMQ_SETUP
from tasks.errors import Reason

README = (ROOT / "README.md").read_text()

# Below <!-- install: debian --> and the like: they change a whole system, and tests/systemd follows them on a booted one.
ON_A_BOOTED_SYSTEM = re.compile(
    r"^<!-- (install|upgrade|remove|purge|sftp): [a-z ]+ -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
MAKE = ("make run", "make test")
FIRST_STEPS = (
    "cp ~/Pictures/*.jpg inbox/",
    ".venv/bin/thumbdrop status",
    ".venv/bin/thumbdrop why inbox/IMG_0001.jpg",
    "ls -R library/thumbnails",
)
SETTING_UP = ("thumbdrop config init /etc/thumbdrop/thumbdrop.toml", "thumbdrop check")  # "by hand"
RABBITMQ = tuple(command.format(password="PASSWORD") for command in RABBITMQ_SETUP)


# Each answer to "what happens when", by the words of its question, with the tests that show it.
SHOWN_BY = {
    "a file is still being copied": (
        "test_a_file_still_being_written_is_not_ready_until_it_is_closed",
        "test_a_photo_is_done_once_and_whole_and_its_client_sees_no_error",
        "test_any_change_of_a_network_file_starts_its_wait_again",
    ),
    "a client stalls, reserves the full size first, or preserves old times": (
        "test_a_writer_that_stalls_for_longer_than_settle_is_waited_for",
        "test_a_writer_that_sets_the_full_size_first_and_fills_it_in_later_is_waited_for",
        "test_a_preserved_or_future_mtime_changes_nothing",
    ),
    "an upload was cut off": (
        "test_a_photo_that_was_cut_off_waits_under_its_own_name_until_its_client_resumes",
        "test_a_cut_off_upload_that_nobody_resumes_is_quarantined_when_its_grace_ends_and_not_while_it_is_written",
    ),
    "a JPEG is damaged in its middle": (
        "test_a_jpeg_damaged_in_the_middle_is_found",
        "test_a_photo_damaged_in_its_middle_is_told_as_the_policy_has_it",
    ),
    "the same name comes twice": (
        "test_the_same_name_again_tells_of_both_files_and_of_a_duplicate_once",
        "test_with_newest_a_changed_image_replaces_thumbnails_and_manifest_but_no_original",
    ),
    "other files want the same name": (
        "test_each_of_the_names_that_collide_has_a_story_of_its_own",
        "test_a_category_from_exif_never_leaves_its_place",
    ),
    "a file is no image, broken, or too large": (
        "test_a_text_file_named_jpg_is_quarantined",
        "test_a_bomb_is_quarantined_with_its_pixels_and_the_limit",
        "test_retry_puts_a_file_back_under_its_own_name_to_be_tried_again",
    ),
    "a file is over a limit": (
        "test_a_limit_names_the_figure_what_is_allowed_and_its_key",
        "test_a_bomb_is_quarantined_with_its_pixels_and_the_limit",
    ),
    "a file crashes or hangs its decoder": (
        "test_a_file_that_crashes_its_decoder_is_set_aside_after_as_many_attempts_as_it_is_given",
        "test_a_file_that_never_ends_is_set_aside_and_holds_the_others_up_for_no_longer_than_one_task_may_take",
        "test_of_a_batch_whose_child_crashes_only_the_one_that_was_decoded_is_to_blame",
        "test_an_image_that_never_ends_holds_its_batch_up_for_one_task_time_and_is_alone_to_blame",
    ),
    "a file needs more memory than there is": (
        "test_a_file_that_takes_more_memory_than_there_is_leaves_its_worker_alive",
    ),
    "thousands of files come at once": (
        "test_a_backlog_costs_no_memory_begins_at_once_and_lets_fresh_files_pass",
        "test_a_burst_costs_no_memory_and_nothing_of_it_is_lost_or_published_twice",
        "test_an_endless_stream_of_fresh_ones_does_not_hold_the_backlog_up_for_ever",
    ),
    "thousands of bad files stand in the inbox": (
        "test_two_thousand_bad_files_do_not_slow_the_good_ones",
        "test_as_many_files_that_may_not_be_read_do_not_slow_the_good_ones",
    ),
    "an empty file appears": ("test_an_empty_file_is_quarantined_after_its_grace",),
    "Redis or RabbitMQ is down": (
        "test_everything_is_done_although_rabbitmq_is_killed_in_mid_work_and_away_for_a_while",
        "test_killing_any_part_in_the_middle_of_work_leaves_every_photo_complete",
    ),
    "Redis loses everything that it knew": (
        "test_what_a_wipe_of_redis_took_is_made_good_within_two_rescans",
        "test_everything_is_done_although_the_embedded_redis_loses_its_files_in_mid_work",
        "test_a_kept_file_stays_and_after_a_wipe_of_redis_is_recognised_without_decoding",
    ),
    "the state directory is full": (
        "test_a_full_state_directory_is_named_and_work_goes_on_when_there_is_room",
    ),
    "the library's disk is full": ("test_without_room_in_the_library_all_wait_and_go_on_by_themselves",),
    "a share is unmounted": (
        "test_a_network_inbox_is_polled_goes_offline_with_its_server_and_goes_on_when_it_is_back",
        "test_an_inbox_that_is_unmounted_is_offline_and_whole_again_after_it_is_mounted",
    ),
    "an inbox's folder is deleted, moved away or replaced": (
        "test_a_root_that_goes_away_is_offline_and_what_stands_there_later_is_found",
        "test_a_replaced_root_is_watched_anew",
    ),
    "the library is to lie where names are not safe": ("test_an_rclone_mount_is_refused_as_a_library",),
    "the watcher missed events": (
        "test_ten_thousand_files_that_land_while_the_watcher_is_stopped_overflow_its_queue_and_are_all_found",
        "test_an_observer_that_is_alive_and_deaf_is_replaced",
    ),
    "there are not enough inotify watches": (
        "test_out_of_watches_at_the_start_the_inbox_is_polled_until_the_limit_is_raised",
        "test_out_of_watches_at_run_time_new_directories_are_polled_and_one_warning_says_what_it_takes",
    ),
    "a share hangs": ("test_a_network_inbox_that_hangs_holds_up_no_other_inbox_no_worker_and_no_command",),
    "a file may not be read or moved": (
        "test_what_may_not_be_read_or_moved_is_named_with_mode_and_owner_and_goes_on_after_chmod",
    ),
    "a worker, the watcher or the machine dies": (
        "test_killing_any_part_in_the_middle_of_work_leaves_every_photo_complete",
        "test_what_a_killed_worker_had_begun_and_what_was_lost_on_the_way_is_done_within_a_task_time_and_a_rescan",
        "test_a_child_killed_at_any_rename_link_or_unlink_of_an_ingest_leaves_it_whole_and_to_another",
    ),
    "workers are deployed or killed again and again": (
        "test_a_dozen_deploys_in_mid_work_do_not_quarantine_a_slow_image",
        "test_a_good_file_whose_children_are_killed_from_outside_is_done_in_the_end",
    ),
    "two watchers look at one inbox": (
        "test_a_second_watcher_stands_by_and_takes_over_when_the_first_is_killed",
    ),
    "two workers get the same file": (
        "test_two_workers_on_one_arrival_at_the_same_moment_leave_what_one_would",
        "test_two_hosts_that_see_other_inodes_and_times_finish_every_file_between_them",
    ),
    "a name holds newlines or is not UTF-8": ("test_a_photo_is_done_whatever_it_is_called",),
    "a symlink, FIFO or device stands in the inbox": (
        "test_a_link_to_a_file_outside_is_left_alone_and_its_target_untouched",
        "test_a_fifo_blocks_nobody",
    ),
}  # fmt: skip


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, without the indent of the list that they may stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)) for indent, text in found]


def table(heading: str) -> str:
    """The rows of the first table below a heading."""
    below = README.partition(f"## {heading}\n")[2]
    assert below, heading
    return "\n".join(line for line in below.partition("\n## ")[0].splitlines() if line.startswith("|"))


def test_every_command_in_a_block_is_run_or_says_why_not() -> None:
    elsewhere = [block for _, block in ON_A_BOOTED_SYSTEM.findall(README)]
    assert len(elsewhere) >= 8
    lines = [line for block in blocks("sh") if block not in elsewhere for line in block.splitlines()]
    assert sorted(lines) == sorted([*MAKE, *FIRST_STEPS, *RABBITMQ])
    assert set(SETTING_UP) <= {line for block in elsewhere for line in block.splitlines()}


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_its_targets(command: str, make_thumbdrop: MakeThumbdrop) -> None:
    said = make_thumbdrop().run("make", "-n", "-C", str(ROOT), *command.split()[1:])
    assert said.code == 0, said
    assert {"make run": "bin/thumbdrop up", "make test": "bin/python -m pytest"}[command] in said.text


@pytest.fixture
def first_run(make_thumbdrop: MakeThumbdrop) -> Thumbdrop:
    """What `make run` leaves to the second terminal: no settings, `up` in the foreground, .venv, photos at home."""
    thumbdrop = make_thumbdrop(None)
    (thumbdrop.folder / ".venv").mkdir()
    (thumbdrop.folder / ".venv" / "bin").symlink_to(thumbdrop.program.parent)
    (thumbdrop.folder / "Pictures").mkdir()
    (thumbdrop.folder / "Pictures" / "IMG_0001.jpg").write_bytes(image_bytes())
    thumbdrop.environ["HOME"] = str(thumbdrop.folder)
    thumbdrop.start("up", "--workers", "1")
    return thumbdrop


def test_the_first_steps_show_what_they_promise(first_run: Thumbdrop) -> None:
    copy, status, why, look = FIRST_STEPS
    assert run_line(first_run, copy) == ""
    assert "inbox" in run_line(first_run, status)
    first_run.wait_done(1)
    assert "done at" in run_line(first_run, why)
    assert "IMG_0001_640x640.jpg" in run_line(first_run, look)


def run_line(thumbdrop: Thumbdrop, line: str) -> str:
    said = thumbdrop.run("sh", "-c", line)
    assert said.code == 0, said
    return said.text


def test_the_annotated_settings_can_be_written_and_pass_the_check(make_thumbdrop: MakeThumbdrop) -> None:
    init, check = (shlex.split(line.replace("/etc/thumbdrop/", "")) for line in SETTING_UP)
    thumbdrop = make_thumbdrop(None)
    thumbdrop.library.mkdir()
    assert thumbdrop.command(*init[1:]).code == 0
    written = (thumbdrop.folder / "thumbdrop.toml").read_text()
    assert "/srv/thumbdrop/" in written
    thumbdrop.configure(written.replace("/srv/thumbdrop", str(thumbdrop.folder)))  # which thumbdrop.tmpfiles makes
    said = thumbdrop.command(*check[1:])
    assert said.code == 0, said


@pytest.mark.parametrize("block", blocks("toml"))
def test_a_block_of_settings_has_no_mistake(block: str, tmp_path: Path) -> None:
    file = tmp_path / "thumbdrop.toml"
    file.write_text(block)
    loaded = load(file, {})
    assert any(origin.startswith("file ") for origin in loaded.origins.values())


@pytest.mark.parametrize(
    "command", [row.partition("`")[2].partition("`")[0] for row in table("Daily commands").splitlines()[2:]]
)
def test_a_command_of_the_table_exists_with_its_options(command: str, make_thumbdrop: MakeThumbdrop) -> None:
    words = [word for word in command.split()[1:] if not word.isupper()]
    options = {word for word in words if word.startswith("--")}
    said = make_thumbdrop().command(*[word for word in words if word not in options], "--help")
    assert said.code == 0, said
    assert {"--config", *options} <= set(re.findall(r"--[a-z-]+", said.text))


def test_the_table_of_commands_names_them_all(make_thumbdrop: MakeThumbdrop) -> None:
    listed = make_thumbdrop().command("--help").text.partition("Commands:")[2]
    commands = set(re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE))
    assert commands
    assert commands == set(re.findall(r"`thumbdrop ([a-z]+)", table("Daily commands")))


def test_other_commands_in_the_text_exist(make_thumbdrop: MakeThumbdrop) -> None:
    mentioned = set(re.findall(r"thumbdrop (quarantine [a-z]+|config [a-z]+)", README)) | {
        f"{group} {name}"
        for group, row in (("quarantine", "thumbdrop quarantine list"), ("config", "thumbdrop config show"))
        for name in re.findall(r"`(retry|drop|config init|init)\b", row_of(row))
    }
    thumbdrop = make_thumbdrop()
    for words in {one.replace("config config", "config") for one in mentioned}:
        assert thumbdrop.command(*words.split(), "--help").code == 0, words


def row_of(command: str) -> str:
    return next(row for row in table("Daily commands").splitlines() if f"`{command}" in row)


def test_every_answer_to_what_happens_when_is_shown_by_tests_that_exist() -> None:
    asked = [row.split(" | ")[0].removeprefix("| ") for row in table("What happens when").splitlines()[2:]]
    assert sorted(asked) == sorted(SHOWN_BY)
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for names in SHOWN_BY.values() for name in names if f"def {name}(" not in tests] == []


def test_settings_and_reasons_that_the_table_of_what_happens_names_exist() -> None:
    keys = {key.rpartition(".")[2] for key, _ in leaves(Settings().as_written())}
    words = re.findall(r"`([^`]+)`", table("What happens when"))
    # What is written `key = value`, or of words with underscores between them, can be nothing else.
    named = {word.partition(" = ")[0] for word in words if re.fullmatch(r"[a-z]+ = .*|[a-z]+(_[a-z]+)+( = .*)?", word)}
    assert {"truncated_grace", "same_name", "crashed_worker"} <= named
    assert named <= keys | set(Reason)


def test_the_defaults_that_the_table_of_what_happens_names_are_the_defaults() -> None:
    defaults = {key.rpartition(".")[2]: value for key, value in leaves(Settings().as_written())}
    named = re.findall(r"`(\w+)` \((\d+)(?: (s|h|min|GB))?\)", table("What happens when"))
    units = {"min": "m"}
    told = {key: f"{number}{units.get(unit, unit)}" for key, number, unit in named}
    assert len(told) >= 6
    assert told.pop("settle") == "2s"  # of "auto", on a local file system
    assert {key: in_seconds(value) for key, value in told.items()} == {
        key: in_seconds(str(defaults[key])) for key in told
    }


def in_seconds(value: str) -> float | str:
    """A duration in seconds, so that 24h is 1d; everything else as it is."""
    return parse_duration(value) if value[-1] in "smhd" else value
