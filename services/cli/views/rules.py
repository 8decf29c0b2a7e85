"""`equipoise rules`: what is wanted, installed and verified in every load balancer."""

from services.cli.lengths import length
from services.cli.look import Look, wrapped
from services.cli.tables import table
from services.cli.views.words import plural, truth_text
from shared.api import RuleRow, Rules, VipRow


def rules_lines(rules: Rules, look: Look, *, only_differences: bool) -> list[str]:
    """Return a line for each instance in each load balancer."""
    lines = []
    if rules["knowledge"]["text"]:
        text = f"? {rules['knowledge']['text']}"
        lines += [look.amber(line) for line in wrapped(text, look.width, indent="  ")]
    rows = [row for row in rules["rules"] if row["differs"] or not only_differences]
    vips = [row for row in rules["vips"] if row["differs"] or not only_differences]
    if not rows and not vips:
        what = "every node has" if rules["vips"] else "every load balancer has"
        return [*lines, f"{what} what the plan wants", *_away(rules)]
    head = ("NODE", "TARGET", "WANTED", "INSTALLED", "VERIFIED", "BY")
    shown = [*(_vip(row, look) for row in vips), *(_row(row, look) for row in rows)]
    return [*lines, *table([head, *shown], look), *_away(rules)]


def _vip(row: VipRow, look: Look) -> tuple[str, ...]:
    wanted = row["wanted"] or look.dim("?")
    if row["wanted"] == "here" and row["node"] != row["home"]:
        wanted = f"{wanted} *"
    installed = row["installed"] or look.dim("?")
    if row["differs"] and row["installed"] is not None:
        installed = look.amber(f"✗ {installed}")
    ago = "" if row["verified_us"] is None else f"{length(row['verified_us'])} ago"
    return (
        row["node"],
        f"VIP {row['vip']}",
        wanted,
        installed,
        truth_text(row["verified"], ago, look, no="failed"),
        row["by"] or look.dim("?"),
    )


def _row(row: RuleRow, look: Look) -> tuple[str, ...]:
    wanted = row["wanted"] or look.dim("?")
    if row["wanted"] is not None and row["wanted"] != row["original"]:
        wanted = f"{wanted} *"
    installed = row["installed"] or look.dim("?")
    if row["differs"] and row["installed"] is not None:
        installed = look.amber(f"✗ {installed}")
    ago = "" if row["verified_us"] is None else f"{length(row['verified_us'])} ago"
    return (
        row["node"],
        f"{row['service']}/{row['target']}",
        wanted,
        installed,
        truth_text(row["verified"], ago, look, no="failed"),
        row["by"] or look.dim("?"),
    )


def _away(rules: Rules) -> list[str]:
    if not rules["away"]:
        return []
    verb = "is" if rules["away"] == 1 else "are"
    return [f"* {plural(rules['away'], 'rule')} {verb} away from the original settings"]
