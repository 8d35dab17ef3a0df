import os

import pytest

from config.settings import DEFAULT_SUFFIXES
from watcher.names import MAX_DEPTH, Names

PLAIN = Names((), DEFAULT_SUFFIXES)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a.jpg", None),
        ("A.JPG", None),
        ("2024/summer/a.heic", None),
        ("raw/a.NEF", None),
        (".a.jpg.Xy12Ab", "hidden"),  # rsync
        ("._a.jpg", "hidden"),  # macOS
        (".nfs0001.jpg", "hidden"),
        (".in.a.jpg.", "hidden"),  # ProFTPD
        (".pureftpd-upload.5f.jpg", "hidden"),
        (".cache/a.jpg", "hidden"),
        ("a/.git/b/c.jpg", "hidden"),
        ("a.jpg.filepart", "temporary"),
        ("a.jpg.FilePart", "temporary"),
        ("a.jpg.8badf00d.partial", "temporary"),
        ("~syncthing~a.jpg.tmp", "temporary"),
        ("a.jpg.ocTransferId12.part", "temporary"),
        ("~$a.jpg", "temporary"),
        ("a.jpg~", "temporary"),
        ("a.jpg.!sync", "temporary"),
        ("photos.download/a.jpg", "temporary"),
        ("Thumbs.db", "ignored"),
        ("desktop.ini", "ignored"),
        ("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "ignored"),
        ("x/#recycle/a.jpg", "ignored"),
        ("__MACOSX/a.jpg", "ignored"),
        ("a.txt", "suffix"),
        ("a.xmp", "suffix"),
        ("a.jpg.sidecar", "suffix"),
        ("jpg", "suffix"),
        ("a.jpg ", "suffix"),
        ("a.jpg-k3x", "suffix"),  # Cyberduck's temporary name
    ],
)
def test_a_file_is_a_candidate_or_has_a_reason_why_not(path: str, why: str | None) -> None:
    assert PLAIN.why_ignored(path, is_dir=False) == why


@pytest.mark.parametrize(
    ("path", "why"),
    [("a", None), ("a.txt", None), (".a", "hidden"), ("@eaDir", "ignored"), ("a.part", "temporary")],
)
def test_a_directory_needs_no_suffix(path: str, why: str | None) -> None:
    assert PLAIN.why_ignored(path, is_dir=True) == why


def test_names_of_directories_that_are_ignored_do_not_hide_files_of_that_name() -> None:
    assert Names((), ("@eadir",)).why_ignored("x.@eaDir", is_dir=False) is None
    assert Names(("raw/",), ("jpg",)).why_ignored("raw", is_dir=False) == "suffix"
    assert Names(("raw/",), DEFAULT_SUFFIXES).why_ignored("raw/a.jpg", is_dir=False) == "ignored"


@pytest.mark.parametrize(
    ("glob", "path", "ignored"),
    [
        ("*_preview.*", "a/IMG_1_PREVIEW.jpg", True),
        ("*_preview.*", "a_preview.d/IMG.jpg", True),
        ("raw/*", "raw/a.jpg", True),
        ("raw/*", "raw/b/a.jpg", True),  # its directory raw/b is ignored
        ("raw/*.jpg", "raw/b/a.jpg", False),  # * stays within a component
        ("raw/**/*.jpg", "raw/a.jpg", True),
        ("raw/**/*.jpg", "raw/b/c/a.JPG", True),
        ("raw/**/*.jpg", "other/raw/a.jpg", False),
        ("**/raw/*.jpg", "other/raw/a.jpg", True),
        ("/raw", "raw/a.jpg", True),
        ("/raw", "other/raw/a.jpg", False),
        ("a/b/", "a/b/c.jpg", True),
        ("a/b.jpg/", "a/b.jpg", False),  # only a directory of that name
        ("[0-9]*.jpg", "7.jpg", True),
        ("[.jpg", "x.jpg", False),  # an open bracket is a plain character
        ("/", "x.jpg", False),
        ("", "x.jpg", False),
    ],
)
def test_globs_of_the_operator(glob: str, path: str, ignored: bool) -> None:
    assert Names((glob,), DEFAULT_SUFFIXES).why_ignored(path, is_dir=False) == ("ignored" if ignored else None)


def test_suffixes_are_an_allow_list_whatever_their_case() -> None:
    assert Names((), (".PNG",)).why_ignored("a.png", is_dir=False) is None
    assert Names((), ("png",)).why_ignored("a.PNG", is_dir=False) is None
    assert Names((), ("png",)).why_ignored("a.jpg", is_dir=False) == "suffix"


def test_names_that_are_not_utf_8_or_hold_newlines_are_judged_like_any_other() -> None:
    latin1 = os.fsdecode(b"caf\xe9")
    assert PLAIN.why_ignored(f"{latin1}/{latin1}.jpg", is_dir=False) is None
    assert PLAIN.why_ignored(f"{latin1}.tmp", is_dir=False) == "temporary"
    assert Names((f"{latin1}*",), DEFAULT_SUFFIXES).why_ignored(f"{latin1}.jpg", is_dir=False) == "ignored"
    assert PLAIN.why_ignored("a\nb.jpg", is_dir=False) is None
    assert PLAIN.why_ignored("a\nb.tmp", is_dir=False) == "temporary"
    assert PLAIN.why_ignored("a.tmp\n.jpg", is_dir=False) is None


def test_directories_deeper_than_the_limit_are_left_with_all_they_hold() -> None:
    deepest = "/".join(["d"] * MAX_DEPTH)
    assert PLAIN.why_ignored(deepest, is_dir=True) is None
    assert PLAIN.why_ignored(f"{deepest}/a.jpg", is_dir=False) is None
    assert PLAIN.why_ignored(f"{deepest}/d", is_dir=True) == "too_deep"
    assert PLAIN.why_entry_ignored(f"{deepest}/d", is_dir=True) == "too_deep"
    assert PLAIN.why_ignored(f"{deepest}/d/a.jpg", is_dir=False) == "too_deep"
