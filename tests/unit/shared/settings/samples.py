"""A valid file to make mistakes in, and the key that it names."""

from pathlib import Path

from shared.settings.load import Report, examine_text

NAME = "equipoise.yaml"
KEY = b"0123456789abcdef0123456789abcdef"

VALID = """\
version: 1
cluster: shop
key: cluster.key
nodes:
  node-a:
    address: 10.0.0.11
    capacity: 100
  node-b:
    address: 10.0.0.12
witness:
  address: 10.0.0.13
bus:
  servers: [nats://10.0.0.13:4222]
services:
  shop:
    mode: balance
    listen: 80
    port: 8080
    limit: 600/s
    probe:
      http: /healthz
      expect: 200-299
      every: 100ms
    identity:
      http: /version
      header: X-Version
  orders:
    mode: mirror
    home: node-b
    protocol: tcp
    listen: 5432
    port: 15432
heartbeat:
  every: 50ms
policy:
  ramp: 10s
  moves: 6 per 10m
telemetry:
  otlp: http://127.0.0.1:4318
  log: {format: auto, level: info}
vips:
  web:
    address: 10.0.0.100/24
    home: "node-a"
"""


def changed(old: str, new: str) -> str:
    """Return the valid file with one thing changed, which must be there exactly once."""
    assert VALID.count(old) == 1, old
    return VALID.replace(old, new)


def key_in(directory: Path) -> Path:
    """Make a key as the help says, and return the directory."""
    key = directory / "cluster.key"
    key.write_bytes(KEY + b"\n")
    key.chmod(0o600)
    return directory


def examined(text: str, directory: Path, **environ: str) -> Report:
    """Return the report on a text, with a good key beside it."""
    return examine_text(text, NAME, environ, directory=key_in(directory))
