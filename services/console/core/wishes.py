"""What people ask for, from JSON to a request, and the answer back to JSON."""

from collections.abc import Mapping
from typing import Any

from services.console.core.words import number, rules_view, short
from shared.api import RuleView, WishAnswer
from shared.errors import MessageError
from shared.messages.codec import from_plain
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest, Verb
from shared.rules import Rules

REASON_MAX = 200  # characters, as the arbiter wants it: it is shown in one line
_FIELDS = {
    "node",
    "service",
    "owner",
    "reason",
    "for_us",
    "dry_run",
    "force",
    "expects",
    "vip",
    "to",
}
_EXIT = {
    Answer.ACCEPTED: 0,
    Answer.WRONG: 2,
    Answer.NOT_LEADING: 5,
    Answer.CHANGED: 6,
    Answer.UNSAFE: 7,
}


def wish_of(verb: str, body: Any) -> OperatorRequest:  # noqa: ANN401 - JSON is anything
    """Return the request that a body means, or raise `MessageError` saying what is wrong."""
    if verb not in {known.value for known in Verb}:
        raise MessageError(f"there is no verb '{short(verb)}'; known: {', '.join(Verb)}")
    if not isinstance(body, Mapping):
        raise MessageError("the body must be an object")
    unknown = sorted(str(key) for key in body.keys() - _FIELDS)
    if unknown:
        known = ", ".join(sorted(_FIELDS))
        raise MessageError(f"unknown field '{short(unknown[0])}'; known: {known}")
    plain = {"node": None, "service": None, **body, "verb": verb}
    request = from_plain(OperatorRequest, plain, "wish")
    for name, text in (("owner", request.owner), ("reason", request.reason)):
        if not text.strip() or len(text) > REASON_MAX or not text.isprintable():
            raise MessageError(f"{name} must be a line of 1 to {REASON_MAX} characters")
    if request.to is not None and request.vip is None:
        raise MessageError("'to' says where a VIP goes: name the VIP in 'vip'")
    if request.for_us is not None and request.for_us <= 0:
        raise MessageError("for_us must be more than 0")
    return request


def answered(answer: OperatorAnswer) -> WishAnswer:
    """Return the arbiter's answer as JSON, with the exit code that says it."""
    return WishAnswer(
        answer=answer.answer.value,
        text=short(answer.text),
        exit_code=_EXIT[answer.answer],
        incident=answer.incident,
        plan=number(answer.epoch, answer.sequence),
        before=_rules(answer.before),
        after=_rules(answer.after),
        warnings=[short(text) for text in answer.warnings],
        undo=short(answer.undo),
        vips_before=_holders(answer.vips_before),
        vips_after=_holders(answer.vips_after),
    )


def _holders(vips: Mapping[str, str]) -> dict[str, str]:
    return {short(vip): short(node) for vip, node in sorted(vips.items())}


def _rules(rules: Rules) -> dict[str, dict[str, RuleView]]:
    return {service: rules_view(of_service) for service, of_service in sorted(rules.items())}
