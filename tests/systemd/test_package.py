"""What the Debian package holds, and what its scripts leave alone; that it runs is told in test_under_systemd.py."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from booted import booted_machine
from installation import Installation
from needs import need

pytestmark = [pytest.mark.timeout(420), pytest.mark.root]

# What control depends on: libc6, libgcc-s1, libstdc++6, zlib1g. Everything else that a library needs comes along.
SYSTEM_LIBRARIES = (
    r"(libc|libm|libmvec|libdl|libpthread|librt|libutil|libgcc_s|libstdc\+\+|libz|ld-linux-x86-64)\.so\.\d+"
)


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def bare(package: Path) -> Iterator[Installation]:
    """A machine on which nothing of Thumbdrop has ever been, with the package in /root."""
    with booted_machine() as machine:
        # No power is cut here, and to sync each of its files makes a package's installation slow.
        (machine.root / "etc/dpkg/dpkg.cfg.d/tests").write_text("force-unsafe-io\n")
        thumbdrop = Installation(machine)
        thumbdrop.bring(package)
        yield thumbdrop


def install(thumbdrop: Installation) -> subprocess.CompletedProcess[bytes]:
    return thumbdrop.machine.run("sh", "-c", "dpkg -i /root/thumbdrop_*.deb", seconds=200)


def nothing_runs(thumbdrop: Installation) -> bool:
    return thumbdrop.machine.succeed("systemctl", "list-units", "--no-legend", "thumbdrop*.service") == ""


def test_its_programs_know_no_place_where_they_were_built(unpacked: Path) -> None:
    programs = [file for file in (unpacked / "opt/thumbdrop/bin").iterdir() if not file.is_symlink()]
    first_lines = {line for file in programs if (line := file.read_bytes().partition(b"\n")[0]).startswith(b"#!")}
    assert first_lines == {b"#!/opt/thumbdrop/bin/python"}
    notes = [unpacked / "opt/thumbdrop/pyvenv.cfg", *unpacked.rglob("*.dist-info/direct_url.json")]
    assert not any("/tmp/" in file.read_text() for file in notes)


def test_its_libraries_need_nothing_that_it_does_not_bring_or_depend_on(unpacked: Path) -> None:
    libraries = [file for file in unpacked.rglob("*.so*") if file.is_file()]
    brought = {file.name for file in libraries}
    programs = [next(unpacked.glob("opt/thumbdrop/bin/redis-server"))]
    told = subprocess.run(
        [need("readelf"), "-d", *libraries, *programs], capture_output=True, text=True, check=True
    ).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", told))
    assert {name for name in needed - brought if not re.fullmatch(SYSTEM_LIBRARIES, name)} == set()


def test_its_settings_are_the_annotated_ones_with_a_redis_that_is_nobodys_child(unpacked: Path) -> None:
    default = next(unpacked.glob("opt/thumbdrop/lib/python3*/site-packages/config/thumbdrop.toml")).read_text()
    shipped = (unpacked / "etc/thumbdrop/thumbdrop.toml").read_text()
    pairs = zip(default.splitlines(), shipped.splitlines(), strict=True)
    assert [new for old, new in pairs if new != old] == [
        'url = "redis://127.0.0.1:6379/0"',
        "[state]",
        'path = "/var/lib/thumbdrop"',
    ]


def test_it_is_refused_where_an_installation_by_hand_would_be_mixed_with_it(bare: Installation) -> None:
    for path in ("/opt/thumbdrop", "/etc/systemd/system/thumbdrop-watcher.service"):
        bare.machine.succeed("mkdir", "-p", path)
        refused = install(bare)
        bare.machine.succeed("rmdir", path)
        assert refused.returncode != 0
        assert f"{path} is there and not from this package" in refused.stderr.decode()


def test_it_starts_nothing_keeps_changed_settings_and_leaves_nothing_but_the_photos_when_purged(
    bare: Installation,
) -> None:
    assert install(bare).returncode == 0
    assert nothing_runs(bare)
    bare.machine.succeed("systemctl", "enable", "thumbdrop.target", "thumbdrop-worker@2")
    bare.toml.write_text(f"{bare.toml.read_text()}# changed\n")
    (bare.library / "photo.jpg").write_bytes(b"x")
    bare.machine.succeed("dpkg", "--remove", "thumbdrop")
    assert bare.toml.exists()
    assert install(bare).returncode == 0
    assert nothing_runs(bare)
    assert bare.machine.succeed("systemctl", "is-enabled", "thumbdrop.target").strip() == "enabled"
    assert bare.toml.read_text().endswith("# changed\n")
    bare.machine.succeed("dpkg", "--purge", "thumbdrop")
    assert bare.machine.succeed("find", "/etc", "/usr", "/var/lib", "/opt", "-name", "*thumbdrop*", codes=(0, 1)) == ""
    assert (bare.library / "photo.jpg").exists()
    assert bare.machine.succeed("stat", "-c", "%U", "/srv/thumbdrop/library").strip() == "thumbdrop"
