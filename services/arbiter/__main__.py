"""Builds an arbiter and runs it."""

from services.arbiter.shell import Arbiter
from shared.runtime import Base, run


async def main(base: Base) -> None:
    """Decide until told to stop."""
    await Arbiter(base).run()


if __name__ == "__main__":
    run("arbiter", main, urgent=True)
