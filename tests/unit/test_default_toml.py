import re
import tomllib
from pathlib import Path

from config.load import load
from config.settings import RuleSettings, Settings
from config.show import annotated_default
from config.tree import leaves


def every_key_active() -> str:
    """The annotated file with its commented tables as if somebody had taken the marks away."""
    return re.sub(r"^# (\[|[a-z_]+ = )", r"\1", annotated_default(), flags=re.MULTILINE)


def load_text(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "thumbdrop.toml"
    file.write_text(text)
    return load(file, {}).settings


def test_it_is_where_a_service_keeps_things_and_else_says_the_defaults(tmp_path: Path) -> None:
    shown = load_text(tmp_path, annotated_default())
    moved = '[[inbox]]\npath = "/srv/thumbdrop/inbox"\n[library]\npath = "/srv/thumbdrop/library"'
    assert shown == load_text(tmp_path, moved)


def test_it_shows_every_key(tmp_path: Path) -> None:
    tree = tomllib.loads(every_key_active())
    known = {key for key, _ in leaves(Settings().as_written())}
    known |= {f"category.rule[0].{key}" for key in RuleSettings.model_fields} | {"state.path"}
    known.remove("category.rule")
    assert {key for key, _ in leaves(tree)} == known
    load_text(tmp_path, every_key_active())


def test_no_line_is_too_long_for_a_terminal() -> None:
    assert max(map(len, annotated_default().splitlines())) <= 125
