import os
from pathlib import Path

import pytest

from config.resolve import resolved


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "real/file").touch()
    for name, target in {
        "near": "real",
        "real/up": "../real/deep",
        "far": f"{tmp_path}/near/deep",
        "chain": "far",
        "dangling": "nowhere/else",
        "dots": "./real/../near/.",
        "round": "about",
        "about": "round",
    }.items():
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    "real near near/deep near/../real near/up/.. far chain chain/x/y dangling dangling/z dots real/file/x"
    " nothing/../near //near/ . ".split(),
)
def test_a_path_is_resolved_as_the_system_does(tree: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert resolved(f"{tree}/{path}") == os.path.realpath(f"{tree}/{path}")
    assert resolved(path) == os.path.realpath(path)


def test_links_that_go_round_come_to_an_end(tree: Path) -> None:
    assert resolved(f"{tree}/round/x").endswith("/x")
