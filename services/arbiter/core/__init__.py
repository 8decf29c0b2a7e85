r"""The arbiter's decisions: state and event in, state and actions out.

Rule 1: everything that changes what the arbiter believes or wants is in this package.
Rule 2: nothing here waits, reads a clock, logs, draws lots or sends: a recorded list of
        (event, now) replays to the same decisions for ever.
Rule 3: conclusive evidence is decided on the event, and touches only the instance it is about;
        all other events change only what is known, and are judged at the next tick.
Rule 4: a plan is never made smaller than one serving instance per service, and what a person
        took out is never put back by us.

An instance's way (`InstanceState`):

    HOME <-> SUSPECT          bad evidence, too little to move on
      |  \--> HELD            bad, yet left serving: nothing else would serve, or moves are bounded
      |
      +--conclusive, or suspicious by enough observers--> OUT
      +--a person asks--> DRAINING --empty or too long--> OUT
    OUT --healthy--> OBSERVED --for long enough--> MATCHED --same identity--> RAMPING --> HOME
     ^                                                                          |
     +------------------------- any failure on the way: a relapse --------------+
"""

from services.arbiter.core.begin import Past, start
from services.arbiter.core.deciding import decide
from services.arbiter.core.vips import wakes_at

__all__ = ["Past", "decide", "start", "wakes_at"]
