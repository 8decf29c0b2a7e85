"""Which Equipoise this is."""

from functools import cache


@cache
def version() -> str:
    """Return the version that is installed."""
    from importlib import metadata  # noqa: PLC0415 - 20 ms that only who is asked pays for

    try:
        return metadata.version("equipoise")
    except metadata.PackageNotFoundError:  # run from its source
        return "unpackaged"
