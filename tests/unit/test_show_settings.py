import json
import tomllib
from pathlib import Path

import pytest

from config.load import Loaded, load
from config.show import as_json, rows, to_toml

FILE = """
[[inbox]]
path = "in"
settle = "5s"
ignore = ["*.bak"]
[thumbnails]
sizes = ["640x480", { size = "200x200", fit = "cover" }]
[[category.rule]]
name = "phones/{year}"
taken_after = 2024-01-01
[broker]
url = "amqp://me:s3cret@host/v"
[results]
url = "redis://:s3cret@host/0"
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    file = tmp_path / "t.toml"
    file.write_text(FILE)
    return load(file, {})


def test_rows_show_effective_values_in_the_operators_notation_with_their_origin(loaded: Loaded) -> None:
    shown = {row.key: (row.text, row.origin) for row in rows(loaded)}
    file = f"file {loaded.file}"
    assert shown["inbox[0].settle"] == ('"5s"', file)
    assert shown["inbox[0].ignore"] == ('["*.bak"]', file)
    assert shown["inbox[0].require_mount"] == ("false", "default")
    assert shown["library.file_mode"] == ('"0644"', "default")
    assert shown["limits.max_bytes"] == ('"256MB"', "default")
    assert shown["watcher.rescan"] == ('"30s"', "default")
    assert shown["category.rule[0].taken_after"] == ('"2024-01-01"', file)
    assert shown["thumbnails.sizes"][0].startswith('["640x480", { size = "200x200", fit = "cover"')
    assert "category.rule[0].camera" not in shown


def test_rows_and_json_hide_passwords(loaded: Loaded) -> None:
    text = json.dumps(as_json(loaded)) + "".join(row.text for row in rows(loaded))
    assert "s3cret" not in text
    assert "amqp://me:***@host/v" in text


def test_json_has_the_file_the_tree_and_the_origins(loaded: Loaded) -> None:
    shown = json.loads(json.dumps(as_json(loaded)))
    assert shown["file"] == str(loaded.file)
    assert shown["settings"]["limits"]["max_bytes"] == "256MB"
    assert shown["origins"]["limits.max_bytes"] == "default"


def test_every_row_has_an_origin_and_every_origin_a_row(loaded: Loaded) -> None:
    assert [row.key for row in rows(loaded)] == list(loaded.origins)


def test_the_toml_file_reads_back_to_equal_settings(loaded: Loaded, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "for-children.toml"
    file.parent.mkdir()
    file.write_text(to_toml(loaded.settings))
    assert load(file, {}).settings == loaded.settings
    assert tomllib.loads(file.read_text())["broker"]["url"] == "amqp://me:s3cret@host/v"
