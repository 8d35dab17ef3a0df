"""Where settings are read from: the TOML file, systemd credentials, the environment. Finds and parses, checks nothing.

Raises SettingsError for a file that cannot be read or is not TOML. What a reader would get wrong: a file that merely
may exist is skipped only when it is not there; one that we may not read is an error, or a command typed by another user
would silently work with other settings.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from config.mistakes import Mistake, SettingsError

SYSTEM_FILE = Path("/etc/thumbdrop/thumbdrop.toml")

# section whose url it is: (systemd credential, environment variable)
_SECRETS = {
    "broker": ("broker_url", "THUMBDROP_BROKER_URL"),
    "results": ("results_url", "THUMBDROP_RESULTS_URL"),
}


def candidates(file: Path | None, environ: Mapping[str, str]) -> list[tuple[Path, str]]:
    """The files to try in turn, each with who named it; "" for one that need not be there."""
    if file is not None:
        return [(file, "--config")]
    if environ.get("THUMBDROP_CONFIG"):
        return [(Path(environ["THUMBDROP_CONFIG"]), "THUMBDROP_CONFIG")]
    return [(Path("thumbdrop.toml"), ""), (SYSTEM_FILE, "")]


def read_first(files: list[tuple[Path, str]]) -> tuple[Path | None, dict[str, Any]]:
    """The first of these files that is there, absolute, and its tree; (None, {}) when none is."""
    for path, named_by in files:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            if named_by:
                raise _refused(str(path), f"{named_by} names this file, but it is not there") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise _refused(str(path), f"must be a file that can be read: {_why(error)}") from None
        else:
            return path.absolute(), parse(text, path.absolute())
    return None, {}


def parse(text: bytes, file: Path) -> dict[str, Any]:
    """The tree of a TOML file; `file` is for messages only."""
    try:
        return tomllib.loads(text.decode("utf-8-sig"))  # -sig: editors on Windows leave a mark at the beginning
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise _refused(f"{file}, line {line}", "must be text in UTF-8") from None
    except (ValueError, RecursionError) as error:
        what, _, place = str(error).partition(" (at ")
        at = re.match(r"line (\d+)", place)  # else it says "end of document"
        line = int(at[1]) if at else text.rstrip(b"\n").count(b"\n") + 1
        raise _refused(f"{file}, line {line}", f"is not TOML: {what}") from None


def secrets(environ: Mapping[str, str]) -> Iterator[tuple[dict[str, Any], str]]:
    """The trees that credentials and then the environment put over the file, each with its origin.

    An empty variable counts as not set, an empty credential as a mistake.
    """
    for section, (credential, variable) in _SECRETS.items():
        directory = environ.get("CREDENTIALS_DIRECTORY")
        url = _credential(Path(directory, credential)) if directory else None
        if url is not None:
            yield {section: {"url": url}}, "credential"
        if environ.get(variable):
            yield {section: {"url": environ[variable]}}, f"environment {variable}"


def _credential(file: Path) -> str | None:
    try:
        url = file.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _refused(str(file), f"must be a credential that can be read: {_why(error)}") from None
    if not url:
        raise _refused(str(file), "must hold an address, but is empty")
    return url


def _refused(where: str, why: str) -> SettingsError:
    return SettingsError((Mistake(where, "", why),))


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or ("it is not UTF-8" if isinstance(error, UnicodeError) else str(error))
