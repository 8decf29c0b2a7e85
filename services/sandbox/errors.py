"""What can go wrong in a sandbox that this machine can run, and with drills in it."""

from shared.errors import EquipoiseError


class SandboxError(EquipoiseError):
    """A program of the sandbox does not do what it must in time."""


class DrillError(EquipoiseError):
    """A drill cannot be played: the cluster is not fit for it, or does not answer."""
