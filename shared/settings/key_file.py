"""The cluster's key, out of its file: never printed, never in the configuration itself."""

import os
import stat
from pathlib import Path

from shared.settings.validation import KEY_COMMAND

KEY_MIN = 16  # bytes; the tag of a beat is 16 bytes long, a shorter key would be the weaker part
KEY_MAX = 4096  # bytes; more is a wrong file
OPEN_TO_EVERYONE = stat.S_IROTH | stat.S_IWOTH
IS_DIRECTORY = (
    "Docker makes one where the file that is to be mounted is not there:"
    " remove the directory, and put the file in its place"
)


class KeyFileProblem(Exception):  # noqa: N818 - caught next door, never shown as an error
    """Why a key cannot be used; `unseen` when only its reader lacks the right to judge it."""

    def __init__(self, text: str, mend: str, *, unseen: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.mend = mend
        self.unseen = unseen


def readable(path: Path) -> str:
    """Return the commands that let the group of this process read a file, and nobody else."""
    return f"chgrp {os.getegid()} {path} && chmod 640 {path}"


def read_key(path: Path) -> bytes:
    """Return the key; the line break at its end is not part of it."""
    make = f"make one with: {KEY_COMMAND.format(path=path)}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(KEY_MAX + 1)
    except FileNotFoundError:
        raise KeyFileProblem(f"there is no file {path}", make, unseen=True) from None
    except PermissionError:
        mend = f"give it to those that the programs run as: {readable(path)}"
        raise KeyFileProblem(f"{path} may not be read by this user", mend, unseen=True) from None
    except IsADirectoryError:
        text = f"{path} is a directory, where a file is needed"
        raise KeyFileProblem(text, IS_DIRECTORY) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise KeyFileProblem(f"{path} cannot be read: {reason}", make) from None
    if mode & OPEN_TO_EVERYONE:
        text = f"{path} is open to every user of this machine"
        raise KeyFileProblem(text, f"close it with: chmod o-rwx {path}")
    key = content.rstrip(b"\r\n")
    if not KEY_MIN <= len(key) <= KEY_MAX:
        what = f"{len(key)} bytes" if len(key) <= KEY_MAX else f"more than {KEY_MAX} bytes"
        text = f"{path} holds {what}; a key has {KEY_MIN} to {KEY_MAX}"
        raise KeyFileProblem(text, make)
    return key
