import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from config.load import Loaded, SettingsError, load
from config.read import SYSTEM_FILE, candidates


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real directory without symbolic links on the way, and the working directory."""
    site = tmp_path.resolve() / "site"
    site.mkdir()
    monkeypatch.chdir(site)
    return site


def loaded(site: Path, text: str, environ: Mapping[str, str] | None = None, **overrides: Any) -> Loaded:
    file = site / "thumbdrop.toml"
    file.write_text(text)
    return load(file, environ or {}, overrides)


def mistakes(site: Path, text: str, environ: Mapping[str, str] | None = None, **overrides: Any) -> dict[str, str]:
    """Key -> line, of what is wrong."""
    with pytest.raises(SettingsError) as refused:
        loaded(site, text, environ, **overrides)
    lines = str(refused.value).splitlines()
    assert len({mistake.key for mistake in refused.value.mistakes}) == len(lines) == len(refused.value.mistakes)
    return {mistake.key: line for mistake, line in zip(refused.value.mistakes, lines, strict=True)}


# -- which file


def test_the_file_that_is_named_goes_before_the_others() -> None:
    named, environ = Path("/a.toml"), {"THUMBDROP_CONFIG": "/b.toml"}
    assert candidates(named, environ) == [(named, "--config")]
    assert candidates(None, environ) == [(Path("/b.toml"), "THUMBDROP_CONFIG")]
    assert candidates(None, {"THUMBDROP_CONFIG": ""}) == [(Path("thumbdrop.toml"), ""), (SYSTEM_FILE, "")]


def test_the_file_in_the_working_directory_is_found(site: Path) -> None:
    (site / "thumbdrop.toml").write_text("[watcher]\nmax_in_flight = 5\n")
    found = load(None, {})
    assert found.settings.watcher.max_in_flight == 5
    assert found.file == site / "thumbdrop.toml"


@pytest.mark.skipif(SYSTEM_FILE.exists(), reason=f"this machine has a {SYSTEM_FILE}")
def test_without_a_file_inbox_and_library_lie_in_the_working_directory(site: Path) -> None:
    found = load(None, {})
    assert found.file is None
    assert found.settings.inbox[0].path == site / "inbox"
    assert found.settings.inbox[0].name == "inbox"
    assert found.settings.library.path == site / "library"
    assert found.settings.state.path == site / "library/.thumbdrop"
    assert set(found.origins.values()) == {"default"}


@pytest.mark.parametrize("named_by", ["--config", "THUMBDROP_CONFIG"])
def test_a_named_file_that_is_not_there_is_an_error(site: Path, named_by: str) -> None:
    missing = site / "missing.toml"
    with pytest.raises(SettingsError, match=f"missing.toml: {named_by} names this file, but it is not there"):
        load(missing) if named_by == "--config" else load(None, {"THUMBDROP_CONFIG": str(missing)})


def test_a_file_that_cannot_be_read_is_an_error_and_not_skipped(site: Path) -> None:
    (site / "thumbdrop.toml").mkdir()
    with pytest.raises(SettingsError, match=r"must be a file that can be read: Is a directory"):
        load(None, {})


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"[inbox]\n\nsettle = \n", 3, "is not TOML: Invalid value"),
        (b'[a]\nb = "x\n', 2, "is not TOML"),
        (b"[library]\n# caf\xe9\n", 2, "must be text in UTF-8"),
        (b"a = [1,\n\n", 1, "is not TOML"),
        (b"\n\nmax = " + b"9" * 5000, 3, "is not TOML"),
        (b"a = " + b"[" * 50_000, 1, "is not TOML"),
    ],
)
def test_a_file_that_is_not_toml_is_told_with_its_line(site: Path, content: bytes, line: int, words: str) -> None:
    file = site / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        load(file, {})
    assert str(refused.value).startswith(f"{file}, line {line}: {words}")


def test_a_mark_at_the_beginning_from_an_editor_on_windows_is_fine(site: Path) -> None:
    (site / "thumbdrop.toml").write_bytes(b"\xef\xbb\xbf[watcher]\r\nmax_in_flight = 5\r\n")
    assert load(None, {}).settings.watcher.max_in_flight == 5


# -- layers and origins


def test_each_value_knows_where_it_came_from(site: Path) -> None:
    found = loaded(
        site,
        '[[inbox]]\npath = "a"\n[broker]\nurl = "redis://file"\n[results]\nurl = "redis://file"\nexpire = "2d"',
        {"THUMBDROP_BROKER_URL": "redis://environment", "STATE_DIRECTORY": "/var/lib/one:/var/lib/two"},
        library={"path": "lib"},
    )
    origins = found.origins
    assert origins["inbox[0].path"] == f"file {site}/thumbdrop.toml"
    assert origins["inbox[0].name"] == "default"
    assert origins["broker.url"] == "environment THUMBDROP_BROKER_URL"
    assert origins["results.url"] == origins["results.expire"] == f"file {site}/thumbdrop.toml"
    assert origins["library.path"] == "command line"
    assert origins["state.path"] == "environment STATE_DIRECTORY"
    assert origins["limits.max_bytes"] == "default"
    assert str(found.settings.state.path) == "/var/lib/one"


def test_credentials_go_before_the_file_and_the_environment_before_credentials(site: Path) -> None:
    credentials = site / "credentials"
    credentials.mkdir()
    (credentials / "broker_url").write_text("redis://credential\n")
    (credentials / "results_url").write_text("redis://credential\n")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), "THUMBDROP_RESULTS_URL": "redis://environment"}
    found = loaded(site, '[broker]\nurl = "redis://file"', environ)
    assert (found.settings.broker.url, found.origins["broker.url"]) == ("redis://credential", "credential")
    assert found.settings.results.url == "redis://environment"


def test_an_empty_variable_counts_as_not_set(site: Path) -> None:
    environ = {"THUMBDROP_BROKER_URL": "", "STATE_DIRECTORY": "", "CREDENTIALS_DIRECTORY": ""}
    found = loaded(site, '[broker]\nurl = "redis://file"', environ)
    assert found.settings.broker.url == "redis://file"


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"\xff", "is not UTF-8")])
def test_a_credential_that_holds_no_address_is_an_error(site: Path, content: bytes, words: str) -> None:
    (site / "broker_url").write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        loaded(site, "", {"CREDENTIALS_DIRECTORY": str(site)})


def test_the_command_line_replaces_whole_lists_and_leaves_what_it_does_not_name(site: Path) -> None:
    text = '[[inbox]]\npath = "a"\nsettle = "5s"\n[[inbox]]\npath = "b"\n[library]\npath = "lib"\ngroup = "www-data"'
    found = loaded(site, text, inbox=[{"path": Path("c")}], library={"path": None})
    assert [(inbox.path, inbox.settle_seconds) for inbox in found.settings.inbox] == [(site / "c", None)]
    assert (found.settings.library.path, found.settings.library.group) == (site / "lib", "www-data")
    assert found.origins["library.path"].startswith("file ")
    assert "inbox[1].path" not in found.origins


def test_a_mistake_from_the_environment_says_so(site: Path) -> None:
    found = mistakes(site, "", {"THUMBDROP_BROKER_URL": "http://me:s3cret@host"})
    assert "(environment THUMBDROP_BROKER_URL)" in found["broker.url"]
    assert "s3cret" not in found["broker.url"]


def test_the_environment_does_not_hide_a_mistake_of_the_file(site: Path) -> None:
    assert list(mistakes(site, 'broker = "redis://host"', {"THUMBDROP_BROKER_URL": "redis://host"})) == ["broker"]


# -- paths


def test_paths_are_relative_to_the_file_and_those_of_the_command_line_to_the_working_directory(site: Path) -> None:
    etc = site / "etc"
    etc.mkdir()
    (etc / "t.toml").write_text('[[inbox]]\npath = "../in"\n[state]\npath = "state"')
    found = load(etc / "t.toml", {}, {"library": {"path": "lib"}}).settings
    assert (found.inbox[0].path, found.state.path, found.library.path) == (site / "in", etc / "state", site / "lib")
    assert load(etc / "t.toml", {}).settings.library.path == etc / "library"


def test_paths_lead_through_symbolic_links_but_the_name_stays_the_links(site: Path) -> None:
    (site / "disk7").mkdir()
    (site / "inbox").symlink_to("disk7")
    inbox = loaded(site, '[[inbox]]\npath = "inbox"').settings.inbox[0]
    assert (inbox.path, inbox.name) == (site / "disk7", "inbox")


def test_a_loop_of_links_is_not_a_crash(site: Path) -> None:
    (site / "loop").symlink_to("loop")
    loaded(site, '[[inbox]]\npath = "loop"')


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "link"), ("a", "link/b"), ("link/b", "a"), ("a", "x/../a")],
)
def test_inboxes_may_not_overlap_also_not_through_links(site: Path, first: str, second: str) -> None:
    (site / "a").mkdir()
    (site / "link").symlink_to("a")
    found = mistakes(site, f'[[inbox]]\npath = "{first}"\nname = "one"\n[[inbox]]\npath = "{second}"\nname = "two"')
    assert list(found) == ["inbox[1].path"]
    assert "neither inside nor around inbox[0].path" in found["inbox[1].path"]


@pytest.mark.parametrize(("inbox", "library"), [("lib", "lib"), ("lib/in", "lib"), ("in", "in/lib"), ("link", "lib")])
def test_an_inbox_and_the_library_may_not_overlap(site: Path, inbox: str, library: str) -> None:
    (site / "lib").mkdir()
    (site / "link").symlink_to("lib")
    found = mistakes(site, f'[[inbox]]\npath = "{inbox}"\n[library]\npath = "{library}"\n[state]\npath = "/var/lib/x"')
    assert list(found) == ["inbox[0].path"]


def test_an_inbox_around_the_library_and_the_state_in_it_is_told_once(site: Path) -> None:
    found = mistakes(site, '[[inbox]]\npath = "."\n[library]\npath = "lib"')
    assert list(found) == ["inbox[0].path"]


@pytest.mark.parametrize(("inbox", "state"), [("in", "in/state"), ("state/in", "state"), ("s", "s")])
def test_an_inbox_and_the_state_directory_may_not_overlap(site: Path, inbox: str, state: str) -> None:
    found = mistakes(site, f'[[inbox]]\npath = "{inbox}"\n[state]\npath = "{state}"')
    assert list(found) == ["state.path"]


@pytest.mark.parametrize("state", ["lib", "lib/state", "."])
def test_the_state_directory_may_lie_in_the_library_only_under_a_hidden_name(site: Path, state: str) -> None:
    text = '[[inbox]]\npath = "/srv/other/in"\n[library]\npath = "lib"\n[state]\npath = "{}"'
    assert list(mistakes(site, text.format(state))) == ["state.path"]
    loaded(site, text.format("lib/.state"))


def test_neighbours_with_a_common_beginning_do_not_overlap(site: Path) -> None:
    loaded(site, '[[inbox]]\npath = "in"\n[[inbox]]\npath = "inbox"\n[library]\npath = "inbox-library"')


@pytest.mark.parametrize("path", ["~/in", "", "a\\u0000b"])
def test_a_path_that_cannot_be_meant_is_refused(site: Path, path: str) -> None:
    assert list(mistakes(site, f'[[inbox]]\npath = "{path}"')) == ["inbox[0].path"]


def test_a_directory_whose_name_is_not_utf8_is_refused(site: Path) -> None:
    found = mistakes(site, "", inbox=[{"path": os.fsdecode(b"caf\xe9")}])
    assert "UTF-8" in found["inbox[0].path"]
    found["inbox[0].path"].encode()


# -- mistakes


def test_five_mistakes_give_five_messages(site: Path) -> None:
    found = mistakes(
        site,
        """
        [[inbox]]
        path = "in"
        settle = 30
        setle = "2s"
        [library]
        path = "in/library"
        [limits]
        max_bytes = "256"
        [thumbnails]
        quality = 500
        """,
    )
    file = f"(file {site}/thumbdrop.toml)"
    assert found == {
        "inbox[0].settle": 'inbox[0].settle = 30: write "auto", or a number with a unit (ms, s, m, h, d), like "30s" '
        + file,
        "inbox[0].setle": f'inbox[0].setle = "2s": there is no such key; did you mean settle? {file}',
        "thumbnails.quality": f"thumbnails.quality = 500: at most 100 {file}",
        "limits.max_bytes": 'limits.max_bytes = "256": write a number with a unit (B, KB, MB, GB, TB, KiB, MiB, GiB, TiB), '
        f'like "256MB" {file}',
        "inbox[0].path": f'inbox[0].path = "{site}/in": a directory neither inside nor around library.path '
        f'("{site}/in/library") {file}',
    }


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('[[inbox]]\nsuffixes = "jpg"', "inbox[0].suffixes", 'inbox[0].suffixes = "jpg": a list in brackets'),
        (
            '[[inbox]]\nignore = ["ok", "*"]',
            "inbox[0].ignore[1]",
            'inbox[0].ignore[1] = "*": a glob that does not match',
        ),
        ('[[inbox]]\nwatch = "fast"', "inbox[0].watch", '= "fast": one of "auto", "inotify" or "poll"'),
        ('[[inbox]]\nrequire_mount = "no"', "inbox[0].require_mount", "true or false"),
        ('[inbox]\npath = "in"', "inbox", "tables that begin with [[inbox]]"),
        ("inbox = 5", "inbox", "inbox = 5: tables that begin with [[inbox]]"),
        ("inbox = [5]", "inbox[0]", "tables that begin with [[inbox]]"),
        ("inbox = []", "inbox", "at least one entry"),
        ("library = 5", "library", "library = 5: a table of keys and values"),
        ("state = 5", "state", "a table of keys and values"),
        ("[library]\npath = 5", "library.path", 'a directory, like "/srv'),
        ("[limits]\nmax_attempts = 0", "limits.max_attempts", "at least 1"),
        ('[limits]\nmax_attempts = "3"', "limits.max_attempts", "a whole number, without quotes"),
        ("[library]\ngroup = 33", "library.group", "text in quotes"),
        ("[thumbnails]\nsizes = []", "thumbnails.sizes", "at least one entry"),
        ('[thumbnails]\nsizes = ["640"]', "thumbnails.sizes[0]", 'thumbnails.sizes[0] = "640": write a box in pixels'),
        ('[thumbnails]\nsizes = ["1x1", 5]', "thumbnails.sizes[1]", "a list of boxes like"),
        (
            '[thumbnails]\nsizes = [{ fit = "cover" }]',
            "thumbnails.sizes[0].size",
            "thumbnails.sizes[0].size: this key must",
        ),
        ('[category.rule]\nname = "x"', "category.rule", "tables that begin with [[category.rule]]"),
        ('[[category.rule]]\ncamera = "x"', "category.rule[0].name", "category.rule[0].name: this key must be there"),
        ('[[category.rule]]\nname = "x"\nmin_megapixels = inf', "category.rule[0].min_megapixels", "not inf or nan"),
        ("limit = 5", "limit", "limit = 5: there is no such key; did you mean limits?"),
        ("[watcher]\nmax_bytes = 5", "watcher.max_bytes", "did you mean limits.max_bytes?"),
        ("[quarantine]\nzzz = 5", "quarantine.zzz", "there is no such key; known here: keep"),
        ("[[inbox]]\nrules.camra = 5", "inbox[0].rules", "there is no such key"),
        ('[broker]\npassword = "s3cret"', "broker.password", "broker.password = ***: there is no such key"),
        (
            '[broker]\nulr = "redis://:s3cret@host"',
            "broker.ulr",
            '"redis://:***@host": there is no such key; did you mean url?',
        ),
        ('[brokr]\npassword = "s3cret"', "brokr", '{ password = "***" }'),
        ('"a\\u001bb" = 5', '"a\\u001bb"', '"a\\u001bb" = 5'),
    ],
)
def test_every_mistake_is_told_with_its_key_its_value_and_what_is_allowed(
    site: Path, text: str, key: str, words: str
) -> None:
    found = mistakes(site, text)
    assert list(found) == [key]
    assert words in found[key]
    assert f"(file {site}/thumbdrop.toml)" in found[key]
    assert "s3cret" not in found[key]


def test_a_mistake_does_not_hide_others_and_brings_no_false_ones(site: Path) -> None:
    found = mistakes(
        site,
        """
        [[inbox]]
        path = 5
        [[inbox]]
        path = 6
        name = "x y"
        [[inbox]]
        name = "X y"
        path = "ok"
        [broker]
        url = "amqp://host"
        [results]
        url = "http://host"
        [thumbnails]
        sizes = ["5", "10x10", "10x10"]
        """,
    )
    assert list(found) == [
        "inbox[0].path",
        "inbox[1].path",
        "inbox[1].name",
        "inbox[2].name",
        "thumbnails.sizes[0]",
        "results.url",
    ]


def test_long_values_are_cut_to_a_line(site: Path) -> None:
    assert len(mistakes(site, f'[thumbnails]\nbackground = "{"x" * 5000}"')["thumbnails.background"]) < 400
