"""`equipoise why`: a sentence, and everything that speaks for or against it."""

from services.cli.lengths import length
from services.cli.look import Look, wrapped
from services.cli.tables import table
from services.cli.views.status import override_text
from services.cli.views.words import instance_text, level_of, level_symbol
from shared.api_why import Fact, Why, WhyInstance


def why_lines(why: Why, look: Look) -> list[str]:
    """Return why something is in its state."""
    lines = wrapped(why["sentence"], look.width, indent="  ", first="")
    if why["knowledge"]["text"]:
        text = f"? {why['knowledge']['text']}"
        lines += [look.amber(line) for line in wrapped(text, look.width, indent="  ")]
    lines += _facts(why["facts"], look)
    if why["kind"] == "vip":
        waits = [vip["waiting_for"] for vip in why["vips"] if vip["waiting_for"]]
        lines += _section("Waits for", waits, look)
    else:
        lines += _section("VIPs", [vip["sentence"] for vip in why["vips"]], look)
    for instance in why["instances"]:
        lines += _instance(instance, look, alone=why["kind"] == "instance")
    lines += _section("Readiness", why["readiness"], look)
    lines += _section("Overrides", [override_text(item) for item in why["overrides"]], look)
    told = [f"{item['id']} {item['state']}: {item['sentence']}" for item in why["incidents"]]
    return [*lines, *_section("Incidents", told, look)]


def _section(title: str, texts: list[str], look: Look) -> list[str]:
    if not texts:
        return []
    lines = ["", title]
    for text in texts:
        lines += wrapped(text, look.width, indent="    ", first="  ")
    return lines


def _facts(facts: list[Fact], look: Look) -> list[str]:
    if not facts:
        return []
    rows = [("", "WHAT", "VALUE", "HELD AGAINST", "SAID BY", "AGE")]
    rows += [
        (
            level_symbol(level_of(fact["level"]), look),
            fact["what"],
            fact["value"],
            fact["threshold"] or "-",
            fact["source"],
            "?" if fact["age_us"] is None else length(fact["age_us"]),
        )
        for fact in facts
    ]
    return ["", *table(rows, look)]


def _instance(instance: WhyInstance, look: Look, *, alone: bool) -> list[str]:
    lines = []
    if not alone:
        text = instance_text(instance["state"], instance["sentence"], look)
        lines = ["", *wrapped(text, look.width, indent="  ", first="")]
    installed = ", ".join(f"{rule} on {node}" for node, rule in instance["installed"].items())
    wanted = instance["wanted"] or "?"
    if wanted != instance["original"]:
        wanted = f"{wanted} (originally {instance['original']})"
    lines += wrapped(f"wanted {wanted}; installed {installed}", look.width, indent="  ", first="  ")
    if instance["waiting_for"]:
        text = f"waits for: {instance['waiting_for']}"
        lines += wrapped(text, look.width, indent="  ", first="  ")
    return [*lines, *_facts(instance["facts"], look)]
