"""What is missing on a machine is never passed over in silence."""

import sys
from pathlib import Path

import pytest

from needs import corpus_folder, need


def test_a_missing_server_skips_on_a_developers_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not installed"):
        need("no-such-server")


def test_a_missing_server_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is not installed"):
        need("no-such-server")


def test_missing_test_images_fail_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("THUMBDROP_CORPUS", "/nowhere")
    with pytest.raises(pytest.fail.Exception, match="no test images at /nowhere"):
        corpus_folder()


def test_a_program_is_also_looked_for_in_the_places_that_are_named() -> None:
    python = Path(sys.executable)
    assert need(python.name, places=str(python.parent)) == str(python)
