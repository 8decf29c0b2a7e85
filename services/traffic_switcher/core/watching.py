"""Whether the load balancer serves: judged from how it answers, and how soon, to what is asked.

    asked with every beat, or every 80 ms, over one connection that stays open

    ANSWERED ---- closed, and then refused or absent -------------------------> DEAD
        |    ---- closed again and again without an answer -------------------> DEAD
        |    ---- silent for two time-outs in a row --------------------------> HUNG
        ^                                                                         |
        +------------------- three answers in a row ------------------------------+

1.  The time-out is a multiple of what was normal lately, between 50 and 200 ms: on a starved
    machine everybody is slow, and answers that come late raise it.
2.  A silence that we may have slept through ourselves is not counted (our timer was late), nor one
    in which programs waited for a processor nearly all the time: we are run before others where
    that is allowed, so that our own timer says nothing of theirs. A second is counted always.
3.  A connection that ends is no death: HAProxy closes it at a reload. The next one tells.
4.  The first answer of all is enough: whoever starts beside a working HAProxy finds it working.
    Before it nobody is dead: HAProxy is refused until it has started.
5.  What is normal is known after 16 answers. Until then, as in the bustle of a start, only a
    silence of a second counts.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from shared.instant import MILLISECOND, SECOND, Duration, milliseconds

ASK_EVERY_US: Duration = 80 * MILLISECOND  # at the latest
ASK_AGAIN_US: Duration = (
    40 * MILLISECOND
)  # after an answer, at the soonest: beats may be more often
ASK_DEAD_EVERY_US: Duration = 10 * MILLISECOND  # refused at once, which costs nothing
TIMEOUT_SHORTEST_US: Duration = 50 * MILLISECOND
TIMEOUT_LONGEST_US: Duration = 200 * MILLISECOND
NORMAL_TIMES = 5  # a time-out is so many times what is normal
NORMAL_MAX_US: Duration = TIMEOUT_LONGEST_US // NORMAL_TIMES  # more has no effect but to last
NORMAL_FORGETS = 32  # answers, until a slow one is two thirds forgotten
SILENCES = 2
LATE_US: Duration = 20 * MILLISECOND  # of our own timer
# Of a silence, in per cent, in which some program waited for a processor: where there was hardly
# a moment without, the load balancer may have been the one that waited.
STARVED_PERCENT = 90
SILENT_MAX_US: Duration = SECOND  # no starving lasts longer without an answer
KNOWN = 16
CLOSES = 3
ANSWERS = 3


@dataclass(frozen=True, slots=True)
class Answered:
    """It answered."""

    took_us: Duration


@dataclass(frozen=True, slots=True)
class Silent:
    """It did not answer within the time-out; it was asked once, and is listened to further."""

    silent_us: Duration  # since it was asked
    late_us: Duration  # how late we were to notice
    starved_us: Duration = 0  # for how much of it some program waited for a processor


@dataclass(frozen=True, slots=True)
class Closed:
    """It closed the connection."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody is there to connect to."""

    why: str


Finding: TypeAlias = Answered | Silent | Closed | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is believed of the load balancer, and what that rests on."""

    fault: str | None = None  # "" it serves; None: nothing is known yet
    normal_us: Duration = 0  # how long an answer takes at most, lately
    silences: int = 0
    closes: int = 0
    answers: int = 0  # in a row
    known: int = 0  # answers that say what is normal, since it was refused
    has_answered: bool = False  # ever, to this process

    @property
    def timeout_us(self) -> Duration:
        """How long an answer may take now."""
        usual_us = NORMAL_TIMES * self.normal_us
        return min(max(usual_us, TIMEOUT_SHORTEST_US), TIMEOUT_LONGEST_US)

    @property
    def pause_us(self) -> Duration:
        """When to ask again."""
        return ASK_EVERY_US if self.answers else ASK_DEAD_EVERY_US

    @property
    def is_hopeless(self) -> bool:
        """Whether this connection will not be answered any more: another one may be."""
        return self.silences >= SILENCES


def judged(watch: Watch, finding: Finding) -> Watch:
    """Return what is believed after a finding."""
    match finding:
        case Answered():
            return _answered(watch, finding)
        case Silent():
            return _silent(watch, finding)
        case Closed():
            closes = watch.closes + 1
            fault = watch.fault
            if closes >= CLOSES and not fault:
                fault = "dead: haproxy closes every connection without an answer"
            return replace(watch, fault=fault, closes=closes, silences=0, answers=0)
        case Refused():
            fault = f"{'dead' if watch.has_answered else 'not started'}: {finding.why}"
            return replace(watch, fault=fault, closes=0, silences=0, answers=0, known=0)
        case _:
            assert_never(finding)


def _answered(watch: Watch, answered: Answered) -> Watch:
    fading_us = watch.normal_us - watch.normal_us // NORMAL_FORGETS
    answers = watch.answers + 1
    serves = watch.fault is None or answers >= ANSWERS
    return replace(
        watch,
        fault="" if serves else watch.fault,
        normal_us=max(min(answered.took_us, NORMAL_MAX_US), fading_us),
        silences=0,
        closes=0,
        answers=answers,
        known=min(watch.known + 1, KNOWN),
        has_answered=True,
    )


def _silent(watch: Watch, silent: Silent) -> Watch:
    was_starved = silent.starved_us * 100 > silent.silent_us * STARVED_PERCENT
    is_new = watch.has_answered and watch.known < KNOWN
    is_doubtful = silent.late_us > LATE_US or was_starved or is_new
    if is_doubtful and silent.silent_us < SILENT_MAX_US:
        return watch
    silences = watch.silences + 1
    fault = watch.fault
    if silences >= SILENCES and not fault:
        fault = f"hung: haproxy has not answered for {milliseconds(silent.silent_us):.0f} ms"
    return replace(watch, fault=fault, silences=silences, answers=0)
