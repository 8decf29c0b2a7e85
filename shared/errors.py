"""What can go wrong in the world. What goes wrong in us is an assertion.

    EquipoiseError          never raised itself; carries the exit code of a program it ends
      ConfigError           the person who wrote the configuration can mend it        exit 2
      MessageError          the sender of a message broke the format: counted, dropped
      BusError              the bus did not answer or refused                         exit 5
      SwitchError           the load balancer or the kernel refused or did not answer
      StateError            what was persisted cannot be read
      MachineError          this machine lacks something that we need                 exit 69

Texts begin in lower case and have no full stop: what is, what must be, where, how to mend.
"""


class EquipoiseError(Exception):
    """The root: catch it to catch all that we raise on purpose."""

    exit_code = 1

    def __init__(self, text: str) -> None:
        assert type(self) is not EquipoiseError
        super().__init__(text)


class ConfigError(EquipoiseError):
    """The configuration is wrong; the text names file, line, column and the mend."""

    exit_code = 2

    def __init__(self, text: str, line: str = "") -> None:
        super().__init__(text)
        self.line = line or text  # the same for a log, where a line is a line


class MessageError(EquipoiseError):
    """A message cannot be read, or does not belong to this cluster."""


class BusError(EquipoiseError):
    """The bus did not answer in time, is not there, or refused."""

    exit_code = 5


class SwitchError(EquipoiseError):
    """The load balancer did not answer, answered nonsense, or refused a change."""


class StateError(EquipoiseError):
    """A persisted file is torn, corrupt, or cannot be written."""


class MachineError(EquipoiseError):
    """A capability, library, program or port that we need is missing."""

    exit_code = 69
