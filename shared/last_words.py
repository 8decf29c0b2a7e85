"""Why a program ended, for whoever asks how it is: it cannot answer any more itself.

`equipoise-alive` reads them where nobody answers, so a health check shows what the log says.
"""

from contextlib import suppress
from pathlib import Path

SIZE_MAX = 2_000  # characters; an engine keeps 4,096 bytes of what a health check prints


def place_of(run_directory: Path, program: str) -> Path:
    """Return where the last words of a program of this member are."""
    return run_directory / f"{program}.ended"


def leave(run_directory: Path, program: str, text: str) -> None:
    """Leave them if that can be: why it cannot may be the very reason of the end."""
    place = place_of(run_directory, program)
    with suppress(OSError):
        place.write_text(text[:SIZE_MAX] + "\n")


def forget(run_directory: Path, program: str) -> None:
    """Take back those of the run before."""
    with suppress(OSError):
        place_of(run_directory, program).unlink(missing_ok=True)
