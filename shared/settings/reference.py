"""The reference of the configuration, made from the schema: `docs/configuration.md`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.settings import environment, load
from shared.settings.findings import Code, report as findings_report
from shared.settings.json_schema import json_schema
from shared.settings.schema import MODELINE, MODELINE_JETBRAINS

MINIMAL = """\
version: 1
cluster: shop
key: cluster.key

nodes:
  node-a: {address: 10.0.0.11}
  node-b: {address: 10.0.0.12}
witness: {address: 10.0.0.13}

services:
  shop:
    listen: 80
    port: 8080
    probe: {http: /healthz}
"""

VIPS = """\
vips:
  web: {address: 10.0.0.100/24, home: node-a}
  api: {address: 10.0.0.101/24, home: node-b}
"""

MISTAKEN = """\
version: 1
cluster: shop
key: cluster.key
nodes:
  node-a: {address: 10.0.0.11, wieght: 50}
  node-b: {address: 10.0.0.312}
witness: {address: 10.0.0.13}
services:
  shop:
    mode: mirror
    home: nodea
    listen: 80
    port: 8080
    probe: {http: /healthz, every: 100, timeout: 1 sec}
"""

INTRODUCTION = f"""\
# Configuration

<!-- Made by `python -m shared.settings` from the schema; edit that, not this. -->

One YAML file, `equipoise.yaml`, the same on every member of the cluster. This is all it needs:

```yaml
{MINIMAL}```

`deploy/equipoise.yaml` has every key with its default and a comment. Before a file is used:

```
equipoise config check equipoise.yaml     every problem at once: where, what, how to mend
equipoise config show --origin            what is in force, with all defaults, and where from
equipoise config schema                   the JSON Schema, for editors
```

With the schema beside the file, editors complete and check it while you type, led by one of these
first lines (the second is for JetBrains):

```yaml
{MODELINE}
{MODELINE_JETBRAINS}
```

Values are read as they are written: `on` is a word, `12:30` is no number, `010` is not eight.
A key that appears twice is an error, as is one that is not known. Anchors (`&`) and aliases (`*`)
work for whole values; merge keys (`<<`) do not.

* **Durations** are a whole number and a unit: `200ms`, `2s`, `5m`, `1h`.
* **Names** are a-z, 0-9 and single '-', begin with a letter, and have at most 32 characters. They
  are seen in commands, events, metrics and in the load balancer. A node cannot be called `witness`.
* **Addresses** are IPv4 or IPv6, one family for all members, never names: during a failure there
  may be nobody to look them up.

## Virtual IPs

Clients use addresses that are no machine's own, and that move. Each is held by one node at a time,
never by two; each node holds one when all is well, so that all of them work:

```yaml
{VIPS}```

Every service is reached through all of them, unless it lists its own. A holder has a *lease*, which
the arbiter grants and the kernel enforces: how that is safe, and what is dark for how long when
something is lost, is in `docs/vip-safety.md`. A VIP cannot have the name of a node or a service,
since commands name all three.

## The key

Beats are signed with a key that all members share and nobody else has. The file may not be
readable by everyone; what is in it is never printed, hashed or sent. This makes one:

```
(umask 077; head -c 32 /dev/urandom | base64 > cluster.key)
```

## Is it the same everywhere?

Every beat carries a hash of what the file *means*: comments, order (but that of the nodes, which
decides ties), ways of writing, logs, traces and the key's place do not change it. Members that
differ are reported.

## Keys

"Required" keys have no default. Sections can be left out when all their keys can.
"""

VARIABLES = """\
## Variables

Variables win over the file, on the member where they are set. `EQUIPOISE_` and a key's path make
one: parts are joined by two underscores, `-` becomes one, letters are upper case.

```
policy.ramp                       EQUIPOISE_POLICY__RAMP=5s
policy.after.service              EQUIPOISE_POLICY__AFTER__SERVICE=1s
nodes.node-a.capacity             EQUIPOISE_NODES__NODE_A__CAPACITY=50
bus.servers                       EQUIPOISE_BUS__SERVERS=nats://10.0.0.13:4222,nats://10.0.0.14:4222
vips.web.address                  EQUIPOISE_VIPS__WEB__ADDRESS=10.0.0.100/24
services.shop.vips                EQUIPOISE_SERVICES__SHOP__VIPS=web,api
services.shop.probe               EQUIPOISE_SERVICES__SHOP__PROBE='{http: /healthz, every: 1s}'
```

Nodes, VIPs and services are named in the file; variables change what is there. `version` and `key`
are not set this way. An empty variable is one that is not set. A variable that is nearly a setting,
or has two underscores in a row, is an error; any other that begins with `EQUIPOISE_` is a warning.

These have names of their own, which win over the general ones:

| variable | key |
|---|---|
"""

OUTSIDE = """
These are not in the file, because they differ between members or people:

| variable | meaning |
|---|---|
"""

ERRORS = """\
## Errors and warnings

All problems are told at once. With an error nothing is changed, and programs end with exit code 2;
warnings do not stop them. The mistakes in this file

```yaml
{mistaken}```

are reported as

```
{report}
```

`-o json` gives the same as an array for editors and CI. What a code means, it will always mean:

| code | meaning |
|---|---|
"""


def reference() -> str:
    """Return the whole page."""
    schema = json_schema()
    return "".join(
        [
            INTRODUCTION,
            *_section(schema, schema["definitions"], ""),
            "\n",
            VARIABLES,
            *(
                f"| `{name}` | `{'.'.join(map(str, path))}` |\n"
                for name, path in environment.SHORT.items()
            ),
            OUTSIDE,
            *(f"| `{name}` | {text} |\n" for name, text in environment.OUTSIDE.items()),
            "\n",
            ERRORS.format(mistaken=MISTAKEN, report=_report()),
            *(
                f'| <a id="{code.lower()}"></a>`{code}` | {code.summary} |\n'
                for code in sorted(Code)
            ),
        ]
    )


def _report() -> str:
    """Return what is really said of the mistaken file, but for the key, which is nowhere here."""
    report = load.examine_text(MISTAKEN, "equipoise.yaml", {}, directory=Path("nowhere"))
    findings = [finding for finding in report.findings if finding.code is not Code.KEY_UNSEEN]
    return findings_report(findings, report.name)


def _section(section: dict[str, Any], known: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the table of one section, then those of the sections within."""
    if path:
        yield f"\n### `{path}`\n\n{section['description']}\n"
    yield "\n| key | meaning | default |\n|---|---|---|\n"
    required = section.get("required", ())
    inner: list[tuple[dict[str, Any], str]] = []
    for key, value in section["properties"].items():
        here = f"{path}.{key}" if path else key
        default = "required" if key in required else _default(value)
        sections = [(known[below], name) for below, name in _references(value, here)]
        yield f"| `{key}` | {_meaning(value, sections)} | {default} |\n"
        inner += sections
    for definition, name in inner:
        yield from _section(definition, known, name)


def _meaning(value: dict[str, Any], sections: list[tuple[dict[str, Any], str]]) -> str:
    """Return a key's description, which is its section's where pydantic found them equal."""
    meaning = str(value.get("description") or sections[0][0]["description"]).replace("|", "\\|")
    example = _example(value)
    return f"{meaning} Example: {example}" if example else meaning


def _default(value: dict[str, Any]) -> str:
    return f"`{value['default']}`" if "default" in value else ""


def _example(value: dict[str, Any]) -> str:
    """Return the example of a single value; those of sections are in the samples."""
    examples = value.get("examples", [])
    if not examples or isinstance(examples[0], dict):
        return ""
    example = examples[0]
    shown = f"[{', '.join(example)}]" if isinstance(example, list) else example
    return f"`{'true' if shown is True else shown}`"


def _references(value: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Yield the definitions that a key's value follows, with the path they are shown under."""
    for choice in (value, *value.get("allOf", ())):
        if "$ref" in choice:
            yield choice["$ref"].removeprefix("#/definitions/"), path
    named = value.get("additionalProperties")
    if isinstance(named, dict):
        yield from _references(named, f"{path}.NAME")
