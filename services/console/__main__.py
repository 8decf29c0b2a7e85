"""Builds a console and runs it."""

import asyncio
from importlib.metadata import PackageNotFoundError, version

from services.console.adapters.http_api import application
from services.console.adapters.http_server import listen, serve
from services.console.shell import Console
from shared.runtime import Base, run


async def main(base: Base) -> None:
    """Answer on the socket while hearing the bus; the socket is there before the bus is."""
    path = base.settings.run_directory / "api.sock"
    listener = listen(path)
    console = Console(base, version=_version())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(application(console), listener, base.stopping))
        await console.subscribe()
        base.ready(api=str(path))
        await console.run()


def _version() -> str:
    try:
        return version("equipoise")
    except PackageNotFoundError:  # run from its source
        return "unpackaged"


if __name__ == "__main__":
    run("console", main)
