"""What can go wrong with a drill itself, as against what a drill finds."""

from shared.errors import EquipoiseError


class DrillError(EquipoiseError):
    """A drill cannot be played: the cluster is not fit for it, or does not answer."""
