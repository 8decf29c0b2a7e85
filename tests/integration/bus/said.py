"""Messages that the tests of the bus say."""

from shared.messages.facts import NodeChanged, NodeState
from shared.messages.health import Heartbeat
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest, Verb
from shared.messages.traffic import Failover, Plan
from shared.rules import Admission, Rule


def beat(sequence: int = 1, *, node: str = "a") -> Heartbeat:
    return Heartbeat(node=node, boot_id="b" * 16, sequence=sequence, configuration="k")


def change(reason: str, *, node: str = "a") -> NodeChanged:
    return NodeChanged(node=node, before=NodeState.UP, after=NodeState.DEAD, reason=reason)


def wish(owner: str = "ann", *, verb: Verb = Verb.PAUSE) -> OperatorRequest:
    return OperatorRequest(verb=verb, node=None, service=None, owner=owner, reason="test")


def answer(text: str) -> OperatorAnswer:
    return OperatorAnswer(answer=Answer.ACCEPTED, text=text)


def command(sequence: int, *, reason: str = "test") -> Failover:
    rules = {"web": {"a": Rule(Admission.SERVING, 100), "b": Rule(Admission.OUT, 0)}}
    return Failover(plan=Plan(epoch=1, sequence=sequence, services=rules, reason=reason))
