"""What a change would do, what it did, and how to undo it."""

from collections.abc import Iterator, Mapping

from services.cli.look import Look, wrapped
from services.cli.tables import table
from services.cli.views.words import rule_text
from shared.api import Change, RuleView, WishAnswer

Rules = Mapping[str, Mapping[str, RuleView]]


def plan_lines(answer: WishAnswer, look: Look) -> list[str]:
    """Return a table of what would change, and what it would mean."""
    plan = answer["plan"]
    number = f"Plan {plan['epoch']}.{plan['sequence']}"
    rows = [(number, "NOW", "AFTER")]
    rows += [
        (f"  {service}/{node}", rule_text(before), rule_text(after))
        for service, node, before, after in changes(answer["before"], answer["after"])
    ]
    rows += [
        (f"  VIP {vip}", before, after)
        for vip, before, after in moved(answer["vips_before"], answer["vips_after"])
    ]
    lines = table(rows, look) if len(rows) > 1 else [f"{number} changes no rule"]
    if answer["text"]:
        lines += wrapped(answer["text"], look.width, indent="  ")
    for text in [*answer["warnings"], *losses(answer["before"], answer["after"])]:
        lines += wrapped(text, look.width, indent="  ", first=look.amber("▲") + " ")
    return lines


def changes(before: Rules, after: Rules) -> Iterator[tuple[str, str, RuleView, RuleView]]:
    """Yield the rules that differ."""
    for service, of_service in after.items():
        for node, rule in of_service.items():
            old = before.get(service, {}).get(node)
            if old is not None and old != rule:
                yield service, node, old, rule


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the VIPs that get another holder."""
    for vip, holder in after.items():
        if before.get(vip) != holder:
            yield vip, before.get(vip, "nobody"), holder


def losses(before: Rules, after: Rules) -> list[str]:
    """Return a sentence for each service that would be left without a spare."""
    return [
        f"{next(iter(_able(after[service])), 'nothing')} alone would serve {service}, with no spare"
        for service in after
        if len(_able(after[service])) <= 1 < len(_able(before.get(service, {})))
    ]


def _able(rules: Mapping[str, RuleView]) -> list[str]:
    """Return the nodes that serve a service or stand by for it."""
    return [node for node, rule in rules.items() if rule["admission"] in ("serving", "standby")]


def done_lines(change: Change, look: Look) -> list[str]:
    """Return how a change ended, its incident, and its undo."""
    words = {"yes": "verified", "no": "not verified in time", "unknown": "not waited for"}
    ending = words.get(change["verified"], "done")
    symbol = look.good("✓") if change["verified"] in ("yes", "none") else look.amber("▲")
    lines = wrapped(f"{change['text']} ({ending})", look.width, indent="  ", first=f"{symbol} ")
    if change["verified"] == "yes":
        lines += [
            f"  {vip}: {before} → {after}, answered there"
            for vip, before, after in moved(change["vips_before"], change["vips_after"])
        ]
    tail = []
    if change["incident"]:
        tail.append(f"Incident {change['incident']} (planned).")
    if change["undo"]:
        reason = "" if "--reason" in change["undo"] else ' --reason "…"'
        tail.append(f"Undo: {change['undo']}{reason}")
    return [*lines, "   ".join(tail)] if tail else lines
