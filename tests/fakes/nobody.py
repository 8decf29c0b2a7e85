"""An audience of drills that is not there."""

from services.sandbox.audit import Summary
from services.sandbox.drills.catalogue.drill import Injected
from shared.api import IncidentView


class Nobody:
    """Hears nothing."""

    def injected(self, words: str, injected: Injected) -> None:
        pass

    def handled(self, incident: IncidentView, felt: Summary) -> None:
        pass

    def healed(self, words: str) -> None:
        pass

    def waits(self, text: str) -> None:
        pass
