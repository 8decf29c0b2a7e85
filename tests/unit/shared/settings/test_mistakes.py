"""Each mistake is found where it stands, with its path, its code and its mend.

«» mark the culprit: positions are counted here, not by the code under test.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.settings.findings import Code, Severity
from tests.unit.shared.settings.samples import NAME, VALID, changed, examined


@dataclass(frozen=True)
class Mistake:
    """A change of the valid file, and what is to be said of it."""

    old: str
    new: str
    path: str
    code: Code
    text: str
    help: str = ""
    also: tuple[tuple[str, str], ...] = ()  # further changes that make it so
    severity: Severity = Severity.ERROR


NODE_B = "  node-b:\n    address: 10.0.0.12\n"
VIPS = 'vips:\n  web:\n    address: 10.0.0.100/24\n    home: "node-a"\n'
HOME = '    home: "node-a"\n'
PROBE = "    probe:\n      http: /healthz\n      expect: 200-299\n      every: 100ms\n"

MISTAKES = [
    # keys
    Mistake(
        "capacity: 100",
        "«capacty»: 100",
        "nodes.node-a.capacty",
        Code.UNKNOWN_KEY,
        "unknown key 'capacty'",
        "did you mean 'capacity'? keys allowed here: address, capacity",
    ),
    Mistake(
        "capacity: 100",
        "«wieght»: 100",
        "nodes.node-a.wieght",
        Code.UNKNOWN_KEY,
        "unknown key 'wieght'",
        "did you mean 'capacity'?",
    ),
    Mistake(
        "heartbeat:\n",
        "«ramp»: 1s\nheartbeat:\n",
        "ramp",
        Code.UNKNOWN_KEY,
        "unknown key 'ramp'",
        "it belongs under 'policy'",
    ),
    Mistake(
        "heartbeat:\n",
        "«zones»: {}\nheartbeat:\n",
        "zones",
        Code.UNKNOWN_KEY,
        "unknown key 'zones'",
        "keys allowed here: bus, cluster",
    ),
    Mistake(
        "    address: 10.0.0.12\n",
        "    «adress»: 10.0.0.12\n",
        "nodes.node-b.adress",
        Code.UNKNOWN_KEY,
        "unknown key 'adress'",
        "did you mean 'address'?",
    ),
    Mistake(
        NODE_B,
        "  «node-b»:\n    capacity: 50\n",
        "nodes.node-b.address",
        Code.MISSING,
        "required key 'address' is missing",
        "add 'address: 10.0.0.11' under 'node-b:'",
    ),
    Mistake(
        "key: cluster.key\n",
        "",
        "key",
        Code.MISSING,
        "required key 'key' is missing",
        "head -c 32 /dev/urandom | base64 > cluster.key",
    ),
    Mistake(
        "    port: 8080\n",
        "    port: 8080\n    «port»: 8081\n",
        "services.shop.port",
        Code.DUPLICATE,
        "key 'port' appears twice",
        "first in line 18",
    ),
    Mistake(
        "  orders:\n",
        "  «shop»:\n",
        "services.shop",
        Code.DUPLICATE,
        "key 'shop' appears twice",
        "first in line 15",
    ),
    Mistake(
        "  ramp: 10s\n",
        "  «<<»: {ramp: 10s}\n",
        "policy.<<",
        Code.UNKNOWN_KEY,
        "unknown key '<<'",
        "keys allowed here",
    ),
    # shapes
    Mistake(
        "  ramp: 10s\n",
        "  ramp: «[10s]»\n",
        "policy.ramp",
        Code.SHAPE,
        "must be a duration from 0s to 1h, got a list",
    ),
    Mistake(
        NODE_B,
        "  node-b: «10.0.0.12»\n",
        "nodes.node-b",
        Code.SHAPE,
        "must be a mapping, got '10.0.0.12'",
        "keys allowed here: address, capacity",
    ),
    Mistake(
        "[nats://10.0.0.13:4222]",
        "«nats://10.0.0.13:4222»",
        "bus.servers",
        Code.SHAPE,
        "must be a list, such as [a, b], got 'nats://10.0.0.13:4222'",
    ),
    Mistake(
        "  ramp: 10s\n",
        "  ramp:«»\n",
        "policy.ramp",
        Code.EMPTY,
        "has no value; it must be a duration from 0s to 1h",
        "remove the line for the default, 10s",
    ),
    Mistake(
        "version: 1",
        "version: «2»",
        "version",
        Code.VERSION,
        "this is a file of version 2",
        "this program reads version 1",
    ),
    Mistake(
        "version: 1", "version: «one»", "version", Code.NUMBER, "must be a whole number from 1 to 1"
    ),
    # numbers
    Mistake(
        "port: 8080",
        'port: «"8080"»',
        "services.shop.port",
        Code.NUMBER,
        "got the text '8080'",
        "remove the quotation marks",
    ),
    Mistake(
        "port: 8080",
        "port: «08080»",
        "services.shop.port",
        Code.NUMBER,
        "must be a port from 1 to 65535, got '08080'",
        "write 8080",
    ),
    Mistake(
        "port: 8080",
        "port: «12:30»",
        "services.shop.port",
        Code.NUMBER,
        "must be a port from 1 to 65535, got '12:30'",
    ),
    Mistake(
        "port: 8080",
        "port: «65536»",
        "services.shop.port",
        Code.NUMBER,
        "must be a port from 1 to 65535, got '65536'",
    ),
    Mistake(
        "port: 8080",
        "port: «0x50»",
        "services.shop.port",
        Code.NUMBER,
        "must be a port from 1 to 65535, got '0x50'",
    ),
    Mistake(
        "port: 8080",
        "port: «8_080»",
        "services.shop.port",
        Code.NUMBER,
        "must be a port from 1 to 65535, got '8_080'",
        "write 8080",
    ),
    Mistake(
        "capacity: 100",
        "capacity: «100.0»",
        "nodes.node-a.capacity",
        Code.NUMBER,
        "must be a whole number from 1 to 10000, got '100.0'",
        "write 100",
    ),
    Mistake(
        "capacity: 100",
        "capacity: «0»",
        "nodes.node-a.capacity",
        Code.NUMBER,
        "must be a whole number from 1 to 10000, got '0'",
    ),
    # words
    Mistake(
        "mode: mirror",
        "mode: «miror»",
        "services.orders.mode",
        Code.CHOICE,
        "must be 'balance' or 'mirror', got 'miror'",
        "did you mean 'mirror'?",
    ),
    Mistake(
        "protocol: tcp",
        "protocol: «TCP»",
        "services.orders.protocol",
        Code.CHOICE,
        "must be 'http' or 'tcp', got 'TCP'",
        "did you mean 'tcp'?",
    ),
    Mistake(
        "  ramp: 10s\n",
        "  failback: «off»\n",
        "policy.failback",
        Code.CHOICE,
        "must be 'automatic' or 'manual', got 'off'",
    ),
    Mistake(
        "    protocol: tcp\n",
        "    protocol: tcp\n    probe: {tcp: «yes»}\n",
        "services.orders.probe.tcp",
        Code.CHOICE,
        "must be true, got 'yes'",
        "write true, or remove the line",
    ),
    Mistake(
        "level: info",
        "level: «warn»",
        "telemetry.log.level",
        Code.CHOICE,
        "must be 'debug', 'info', 'warning' or 'error', got 'warn'",
        "did you mean 'warning'?",
    ),
    # durations, rates, moves
    Mistake(
        "  ramp: 10s",
        "  ramp: «10»",
        "policy.ramp",
        Code.DURATION,
        "must be a duration from 0s to 1h, got '10'",
        "write its unit: 10ms, 10s, 10m or 10h",
    ),
    Mistake(
        "  ramp: 10s",
        "  ramp: «1.5s»",
        "policy.ramp",
        Code.DURATION,
        "got '1.5s'",
        "write 1500ms",
    ),
    Mistake(
        "  ramp: 10s",
        "  ramp: «10 sec»",
        "policy.ramp",
        Code.DURATION,
        "got '10 sec'",
        "write 10s",
    ),
    Mistake(
        "  ramp: 10s",
        "  ramp: «1d»",
        "policy.ramp",
        Code.DURATION,
        "got '1d'",
        "write 24h",
    ),
    Mistake(
        "  every: 50ms",
        "  every: «11s»",
        "heartbeat.every",
        Code.DURATION,
        "must be a duration from 10ms to 10s, got '11s'",
    ),
    Mistake(
        "      every: 100ms\n",
        "      timeout: «automatic»\n",
        "services.shop.probe.timeout",
        Code.DURATION,
        "must be 'auto' or a duration from 10ms to 1m, got 'automatic'",
    ),
    Mistake(
        "limit: 600/s",
        "limit: «600»",
        "services.shop.limit",
        Code.RATE,
        "must be a rate from 1/s to 1000000/s, got '600'",
        "write 600/s",
    ),
    Mistake(
        "moves: 6 per 10m",
        "moves: «6 in 10m»",
        "policy.moves",
        Code.MOVES,
        "such as '6 per 10m', got '6 in 10m'",
    ),
    Mistake(
        "moves: 6 per 10m",
        "moves: «6 per 10s»",
        "policy.moves",
        Code.DURATION,
        "must be a duration from 1m to 24h, got '10s'",
    ),
    # names, addresses, URLs, HTTP
    Mistake(
        "cluster: shop",
        "cluster: «Web Shop_1»",
        "cluster",
        Code.NAME,
        "names are a-z, 0-9 and single '-'",
        "for instance 'web-shop-1'",
    ),
    Mistake(
        "  node-b:\n",
        "  «node_b»:\n",
        "nodes.node_b",
        Code.NAME,
        "got 'node_b'",
        "for instance 'node-b'",
        also=(("home: node-b", "home: node-a"),),
    ),
    Mistake(
        "  node-a:\n",
        "  «witness»:\n",
        "nodes.witness",
        Code.NAME,
        "a node cannot be called 'witness'",
        "choose another name",
        also=((VIPS, ""),),
    ),
    Mistake(
        "10.0.0.12",
        "«10.0.0.312»",
        "nodes.node-b.address",
        Code.ADDRESS,
        "must be an IPv4 or IPv6 address, got '10.0.0.312'",
        "four numbers from 0 to 255",
    ),
    Mistake(
        "10.0.0.12",
        "«b.example.com»",
        "nodes.node-b.address",
        Code.ADDRESS,
        "got 'b.example.com'",
        "names are not looked up",
    ),
    Mistake(
        "10.0.0.12",
        "«10.0.0.12/24»",
        "nodes.node-b.address",
        Code.ADDRESS,
        "got '10.0.0.12/24'",
        "without '/'",
    ),
    Mistake(
        "10.0.0.12",
        "«10.0.0.12:80»",
        "nodes.node-b.address",
        Code.ADDRESS,
        "got '10.0.0.12:80'",
        "without brackets and port",
    ),
    Mistake(
        "10.0.0.12",
        "«0.0.0.0»",
        "nodes.node-b.address",
        Code.ADDRESS,
        "0.0.0.0 is not the address of one machine",
    ),
    Mistake(
        "10.0.0.12",
        "«::ffff:10.0.0.12»",
        "nodes.node-b.address",
        Code.ADDRESS,
        "is an IPv4 address in IPv6 clothing",
        "write 10.0.0.12",
    ),
    Mistake(
        "10.0.0.12",
        "«fe80::1»",
        "nodes.node-b.address",
        Code.ADDRESS,
        "only with the name of an interface",
        "fd00::/8",
    ),
    Mistake(
        "[nats://10.0.0.13:4222]",
        "[nats://10.0.0.13:4222, «tcp://10.0.0.13:4222»]",
        "bus.servers[1]",
        Code.URL,
        "must be a URL such as nats://10.0.0.13:4222, got 'tcp://10.0.0.13:4222'",
        "it begins with nats://, then host and port",
    ),
    Mistake(
        "otlp: http://127.0.0.1:4318",
        "otlp: «127.0.0.1:4318»",
        "telemetry.otlp",
        Code.URL,
        "got '127.0.0.1:4318'",
        "it begins with http:// or https://",
    ),
    Mistake(
        "otlp: http://127.0.0.1:4318",
        "trace-ui: «http://127.0.0.1:16686/trace»",
        "telemetry.trace-ui",
        Code.URL,
        "that holds {trace_id}",
    ),
    Mistake(
        "http: /healthz",
        "http: «healthz»",
        "services.shop.probe.http",
        Code.HTTP_PATH,
        "must be a path such as /healthz, got 'healthz'",
        "write '/healthz'",
    ),
    Mistake(
        "http: /healthz",
        "http: «http://10.0.0.11/healthz»",
        "services.shop.probe.http",
        Code.HTTP_PATH,
        "got 'http://10.0.0.11/healthz'",
        "without host and port",
    ),
    Mistake(
        "expect: 200-299",
        "expect: «2xx»",
        "services.shop.probe.expect",
        Code.STATUSES,
        "must be status codes or ranges of them such as 200-299,304, got '2xx'",
    ),
    Mistake(
        "expect: 200-299",
        "expect: «299-200»",
        "services.shop.probe.expect",
        Code.STATUSES,
        "the range 299-200 is empty",
        "write 200-299",
    ),
    Mistake(
        "header: X-Version",
        "header: «X Version»",
        "services.shop.identity.header",
        Code.HEADER,
        "got 'X Version'",
    ),
    Mistake(
        "      http: /version\n      header: X-Version\n",
        "      http: /version\n    docker:\n      container: «shop {node}»\n",
        "services.shop.docker.container",
        Code.CONTAINER,
        "must be the name of a container, such as shop or shop-{node}",
        also=(("heartbeat:\n", "docker: {socket: /run/docker.sock}\nheartbeat:\n"),),
    ),
    Mistake(
        "heartbeat:\n",
        "docker: {socket: «unix:///run/docker.sock»}\nheartbeat:\n",
        "docker.socket",
        Code.TEXT,
        "must be the absolute path of a Unix socket",
        "write /run/docker.sock",
    ),
    # relations
    Mistake(
        "      http: /version\n      header: X-Version\n",
        "      http: /version\n    «docker»: {container: shop}\n",
        "services.shop.docker",
        Code.ENGINE,
        "no engine can be asked about the container: 'docker.socket' is not set",
        "add 'docker: {socket: ",
    ),
    Mistake(
        "      header: X-Version\n",
        "      «image»: true\n",
        "services.shop.identity.image",
        Code.ENGINE,
        "the image of which container?",
        "add 'docker: {container: shop}'",
    ),
    Mistake(
        "    identity:\n      http: /version\n      header: X-Version\n",
        "    «identity»: {header: X-Version}\n",
        "services.shop.identity",
        Code.MISSING,
        "the identity does not say what to ask",
        "add 'http: /version' (or your path), or 'image: true'",
    ),
    Mistake(
        "      http: /version\n      header: X-Version\n",
        "      image: true\n      «header»: X-Version\n    docker: {container: shop}\n",
        "services.shop.identity.header",
        Code.NO_EFFECT,
        "'header' has no effect without 'http'",
        severity=Severity.WARNING,
        also=(("heartbeat:\n", "docker: {socket: /run/docker.sock}\nheartbeat:\n"),),
    ),
    Mistake(
        "heartbeat:\n",
        "docker: {«socket»: /run/docker.sock}\nheartbeat:\n",
        "docker.socket",
        Code.NO_EFFECT,
        "no service names a container, so no engine is asked",
        severity=Severity.WARNING,
    ),
    Mistake(
        "home: node-b",
        "home: «nodeb»",
        "services.orders.home",
        Code.HOME,
        "there is no node named 'nodeb'",
        "did you mean 'node-b'? nodes in this file: node-a, node-b",
    ),
    Mistake(
        "10.0.0.12",
        "«10.0.0.11»",
        "nodes.node-b.address",
        Code.SAME_ADDRESS,
        "node-a has the address 10.0.0.11 too",
    ),
    Mistake(
        "10.0.0.12",
        "«fd00::12»",
        "nodes.node-b.address",
        Code.FAMILIES,
        "some members have IPv4 addresses and some IPv6",
        "reaches one family",
    ),
    Mistake(
        "listen: 5432",
        "listen: «80»",
        "services.orders.listen",
        Code.PORTS,
        "shop listens on port 80 too",
    ),
    Mistake(
        "port: 15432",
        "port: «80»",
        "services.orders.port",
        Code.PORTS,
        "the load balancer listens on port 80 for shop",
        "one address on each node",
    ),
    Mistake(
        "port: 15432",
        "port: «5432»",
        "services.orders.port",
        Code.PORTS,
        "the load balancer listens on port 5432 for orders",
    ),
    Mistake(
        "    listen: 80\n",
        "    listen: «4222»\n",
        "services.shop.listen",
        Code.PORTS,
        "the bus server of node-a listens on port 4222",
        also=(("[nats://10.0.0.13:4222]", "[nats://10.0.0.11:4222]"),),
    ),
    Mistake(
        PROBE,
        "",
        "services.shop.probe",
        Code.MISSING,
        "required key 'probe' is missing",
        "add 'probe: {http: /healthz}' under 'shop:'",
        also=(("  shop:\n", "  «shop»:\n"),),
    ),
    Mistake(
        "      http: /healthz\n      expect: 200-299\n",
        "",
        "services.shop.probe",
        Code.PROBE,
        "the probe does not say what to ask",
        "add 'http: /healthz'",
        also=(("    probe:\n", "    «probe»:\n"),),
    ),
    Mistake(
        "      expect: 200-299\n",
        "      «tcp»: true\n",
        "services.shop.probe.tcp",
        Code.PROBE,
        "'http' or 'tcp', not both",
        "remove 'tcp'",
    ),
    Mistake(
        NODE_B,
        "",
        "nodes",
        Code.COUNT,
        "there must be 2 to 100 nodes, got 1",
        "nobody to take over",
        also=(
            ("home: node-b", "home: node-a"),
            ("nodes:\n", "«nodes»:\n"),
        ),
    ),
    Mistake(
        "[nats://10.0.0.13:4222]",
        "[nats://10.0.0.13:4222, «nats://10.0.0.13:4222»]",
        "bus.servers[1]",
        Code.LIST,
        "is listed twice",
        "remove one",
    ),
    # VIPs and leases
    *(
        Mistake("10.0.0.100/24", f"«{value}»", "vips.web.address", Code.VIP_ADDRESS, text, mend)
        for value, text, mend in (
            ("10.0.0.100", "must be an address with its network's prefix", "10.0.0.100/24"),
            ("fd00::100", "such as 10.0.0.100/24, got 'fd00::100'", "fd00::100/64"),
            ("10.0.0.100/33", "got '10.0.0.100/33'", "the prefix is a number from 0 to 32"),
            ("10.0.0.100/255.255.255.0", "got '10.0.0.100/255", "write '10.0.0.100/24'"),
            ("10.0.0.300/24", "got '10.0.0.300/24'", "four numbers from 0 to 255"),
            ("shop.example/24", "got 'shop.example/24'", "names are not looked up"),
            ("10.0.0.0/24", "10.0.0.0 is the address of the network 10.0.0.0/24 itself", "free"),
            ("10.0.0.255/24", "10.0.0.255 is the broadcast address of the network", "free"),
            ("127.0.0.5/8", "127.0.0.5 is not an address that clients", "clients' network"),
            ("fe80::1/64", "only with the name of an interface", "fd00::/8"),
            ("10.0.0.100/32", "a prefix of 32 is this address alone", "or add 'interface:'"),
        )
    ),
    Mistake(
        "10.0.0.100/24",
        "«10.0.0.12/24»",
        "vips.web.address",
        Code.SAME_ADDRESS,
        "10.0.0.12 is node-b's own address",
        "take a free address",
    ),
    Mistake(
        HOME,
        HOME + "  api: {address: «10.0.0.100/24», home: node-b}\n",
        "vips.api.address",
        Code.SAME_ADDRESS,
        "the VIP web has the address 10.0.0.100 too",
        "an address has one holder",
    ),
    Mistake(
        HOME,
        "    home: «nodea»\n",
        "vips.web.home",
        Code.HOME,
        "there is no node named 'nodea'",
        "did you mean 'node-a'? nodes in this file: node-a, node-b",
    ),
    Mistake(
        HOME,
        HOME + "    interface: «eth 0»\n",
        "vips.web.interface",
        Code.INTERFACE,
        "must be the name of an interface such as eth0, 15 characters at most, got 'eth 0'",
        "remove the line",
    ),
    Mistake(
        '  web:\n    address: 10.0.0.100/24\n    home: "node-a"\n',
        "  «web»:\n    home: node-a\n",
        "vips.web.address",
        Code.MISSING,
        "required key 'address' is missing",
        "add 'address: 10.0.0.100/24' under 'web:'",
    ),
    *(
        Mistake("  web:\n", f"  «{name}»:\n", f"vips.{name}", Code.TAKEN_NAME, text, "another name")
        for name, text in (
            ("shop", "there is a service named 'shop' too"),
            ("node-b", "there is a node named 'node-b' too"),
            ("witness", "a VIP cannot be called 'witness'"),
        )
    ),
    Mistake(
        "limit: 600/s",
        "vips: [web, «wbe»]",
        "services.shop.vips[1]",
        Code.VIP,
        "there is no VIP named 'wbe'",
        "did you mean 'web'? VIPs in this file: web",
    ),
    Mistake(
        "limit: 600/s",
        "vips: [web, «web»]",
        "services.shop.vips[1]",
        Code.LIST,
        "web is listed twice",
        "remove one",
    ),
    Mistake(
        "[nats://10.0.0.13:4222]",
        "[«nats://10.0.0.100:4222»]",
        "bus.servers[0]",
        Code.BUS_ON_VIP,
        "the bus cannot be reached through the VIP web: its lease is granted over it",
        "the machine that the server runs on",
    ),
    Mistake(
        "every: 50ms",
        "every: 50ms\n  lease: «100ms»",
        "heartbeat.lease",
        Code.LEASE,
        "lease (100ms) must be at least 4 x heartbeat.every (50ms)",
        "write 'every: 25ms' or less, 'lease: 200ms' or more, or 'lease: auto'",
    ),
    Mistake(
        "every: 50ms",
        "profile: fast\n  every: «100ms»",
        "heartbeat.every",
        Code.LEASE,
        "lease (120ms) must be at least 4 x heartbeat.every (100ms)",
        "write 'every: 30ms' or less",
    ),
    Mistake(
        "every: 50ms",
        "every: «300ms»",
        "heartbeat.every",
        Code.LEASE,
        "4 x every (300ms) is more than the longest lease, 1s",
        "write 'every: 250ms' or less",
    ),
    Mistake(
        "every: 50ms",
        "every: 50ms\n  lease: «2s»",
        "heartbeat.lease",
        Code.DURATION,
        "must be a duration from 100ms to 1s, got '2s'",
        "stay dark for so long",
    ),
    Mistake(
        "every: 50ms",
        "profile: «quick»",
        "heartbeat.profile",
        Code.CHOICE,
        "must be 'default' or 'fast', got 'quick'",
    ),
    # warnings
    Mistake(
        "every: 50ms",
        "profile: «fast»",
        "heartbeat.profile",
        Code.FAST_HEARTBEAT,
        "beats every 20ms need quiet machines",
        "false alarms",
        severity=Severity.WARNING,
    ),
    Mistake(
        "witness:\n  address: 10.0.0.13\n",
        "",
        "vips",
        Code.NO_WITNESS,
        "VIPs without a witness",
        "every VIP goes dark: add 'witness:'",
        severity=Severity.WARNING,
        also=(("vips:\n", "«vips»:\n"),),
    ),
    Mistake(
        HOME,
        HOME + "  api: {address: 10.0.0.101/24, home: node-a}\n",
        "vips",
        Code.ONE_HOME,
        "all 2 VIPs are at home on node-a: the other nodes get no clients",
        "give each node one",
        severity=Severity.WARNING,
        also=(("vips:\n", "«vips»:\n"),),
    ),
    Mistake(
        HOME,
        HOME + "  api: {address: «10.0.1.101/16», home: node-b}\n",
        "vips.api.address",
        Code.PREFIXES,
        "10.0.0.0/16 and the network of web, 10.0.0.0/24, overlap",
        severity=Severity.WARNING,
    ),
    Mistake(
        "  web:\n",
        "  «web»:\n",
        "vips.web",
        Code.UNUSED_VIP,
        "no service is reached through this VIP",
        severity=Severity.WARNING,
        also=(
            ("limit: 600/s", "vips: []"),
            ("listen: 5432", "listen: 5432\n    vips: []"),
        ),
    ),
    Mistake(
        "      every: 100ms\n",
        "      every: 100ms\n      timeout: «100ms»\n",
        "services.shop.probe.timeout",
        Code.PROBE_TIMEOUT,
        "the time-out (100ms) is not shorter than 'every' (100ms)",
        "noticed later",
        severity=Severity.WARNING,
    ),
    Mistake(
        "every: 50ms",
        "every: «20ms»",
        "heartbeat.every",
        Code.FAST_HEARTBEAT,
        "beats every 20ms need quiet machines",
        "false alarms",
        severity=Severity.WARNING,
    ),
    Mistake(
        "    mode: balance\n",
        "    mode: balance\n    «home»: node-a\n",
        "services.shop.home",
        Code.NO_EFFECT,
        "'home' has no effect with 'mode: balance'",
        "mode: mirror",
        severity=Severity.WARNING,
    ),
    Mistake(
        "    protocol: tcp\n",
        "    protocol: tcp\n    probe: {«expect»: 200}\n",
        "services.orders.probe.expect",
        Code.NO_EFFECT,
        "'expect' has no effect without 'http'",
        "remove it",
        severity=Severity.WARNING,
    ),
    Mistake(
        "port: 15432",
        "port: «8080»",
        "services.orders.port",
        Code.SHARED_PORT,
        "shop has its instances on port 8080 too",
        severity=Severity.WARNING,
    ),
    Mistake(
        "    protocol: tcp\n",
        "    protocol: tcp\n    «identity»: {http: /version}\n",
        "services.orders.identity",
        Code.IDENTITY,
        "the identity is asked over HTTP",
        severity=Severity.WARNING,
    ),
    Mistake(
        "capacity: 100",
        "capacity: «1»",
        "nodes.node-a.capacity",
        Code.CAPACITIES,
        "1 is less than a hundredth of the largest capacity, 1000",
        severity=Severity.WARNING,
        also=(("    address: 10.0.0.12\n", "    address: 10.0.0.12\n    capacity: 1000\n"),),
    ),
    Mistake(
        "listen: 5432",
        "listen: «8643»",
        "services.orders.listen",
        Code.NEAR_PORT,
        "port 8643 is the heartbeat's too (UDP)",
        severity=Severity.WARNING,
    ),
    Mistake(
        "witness:\n  address: 10.0.0.13\n",
        "",
        "nodes",
        Code.NO_WITNESS,
        "two nodes without a witness",
        "add 'witness:'",
        severity=Severity.WARNING,
        also=(("nodes:\n", "«nodes»:\n"), (VIPS, "")),
    ),
]


def marked(text: str) -> tuple[str, int, int, int]:
    """Return a text without marks, and the line, column and length of what they enclose."""
    before, opening, rest = text.partition("«")
    if not opening:
        return text, 1, 1, 0
    culprit, _, after = rest.partition("»")
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return before + culprit + after, line, column, max(len(culprit), 1)


def made(mistake: Mistake) -> str:
    text = changed(mistake.old, mistake.new)
    for old, new in mistake.also:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.code.name}-{m.new.strip()[:30]}")
def test_a_mistake_is_found_where_it_stands_with_its_mend(mistake: Mistake, tmp_path: Path) -> None:
    text, line, column, length = marked(made(mistake))
    report = examined(text, tmp_path)
    (finding,) = report.findings
    place = finding.place
    assert (place.file, place.line, place.column, place.length) == (NAME, line, column, length)
    assert (finding.path, finding.code) == (mistake.path, mistake.code)
    assert finding.severity is mistake.severity
    assert mistake.text in finding.text
    assert mistake.help in finding.help
    assert report.valid == (mistake.severity is Severity.WARNING)


def test_the_valid_file_has_no_findings(tmp_path: Path) -> None:
    assert examined(VALID, tmp_path).findings == ()


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = (
        VALID.replace("capacity: 100", "capacty: 100")
        .replace("10.0.0.12", "10.0.0.312")
        .replace("home: node-b", "home: nodeb")
        .replace("listen: 5432", "listen: 80")
        .replace("ramp: 10s", "ramp: 10")
    )
    paths = [finding.path for finding in examined(text, tmp_path).findings]
    assert paths == [
        "nodes.node-a.capacty",
        "nodes.node-b.address",
        "services.orders.home",
        "services.orders.listen",
        "policy.ramp",
    ]


def test_nothing_is_said_of_a_value_that_stands_in_for_a_broken_one(tmp_path: Path) -> None:
    """The stand-in of a broken address is the example 10.0.0.11, which node-a really has."""
    for broken in ("    address: x\n", "    adress: 10.0.0.12\n", "    capacity: 5\n"):
        findings = examined(changed("    address: 10.0.0.12\n", broken), tmp_path).findings
        assert Code.SAME_ADDRESS not in [finding.code for finding in findings]


def test_every_code_is_tested_here_or_where_its_cause_is() -> None:
    elsewhere = {
        Code.FILE,
        Code.SYNTAX,
        Code.SIZE,
        Code.TEXT,
        Code.KEY_FILE,
        Code.MEMBER,
        Code.TCP_PLACE,
        Code.VARIABLE,
        Code.SECRET,
        Code.FOREIGN_VARIABLE,
        Code.KEY_UNSEEN,
    }
    assert {mistake.code for mistake in MISTAKES} | elsewhere == set(Code)
