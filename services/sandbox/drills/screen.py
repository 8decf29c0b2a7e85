"""Where people read: lines, and on a terminal one line of progress that comes and goes."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

CLEAR = "\r\x1b[K"


class Screen:
    """A stream of lines."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._progress = ""
        self.colour = self._live and "NO_COLOR" not in environ and environ.get("TERM") != "dumb"

    @property
    def width(self) -> int | None:
        """How many columns there are; None where lines may be as long as they are."""
        return shutil.get_terminal_size().columns if self._live else None

    def line(self, text: str = "") -> None:
        """Say something."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def lines(self, texts: Sequence[str]) -> None:
        """Say several things."""
        for text in texts:
            self.line(text)

    def progress(self, text: str) -> None:
        """Show what is being waited for, until the next line; only on a terminal."""
        if self._live and text != self._progress:
            print(f"{CLEAR}{text}", end="", file=self._stream, flush=True)
            self._progress = text

    def _clear(self) -> None:
        if self._progress:
            print(CLEAR, end="", file=self._stream, flush=True)
            self._progress = ""

    async def carry(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Let another program speak here, as long as it does."""
        self._clear()
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=self._stream, env=dict(environ)
        )
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
