"""What the kernel's listings mean; the samples are libnftables' own (1.0.6)."""

import pytest

from services.traffic_switcher.core.connected import interface_of, networks
from services.traffic_switcher.core.nft_listing import comment, structure, tables

TABLE = """table inet equipoise {{
	comment "guards the virtual IPs of cluster shop"
	set managed4 {{
		type ipv4_addr
		elements = {{ {managed} }}
	}}

	set lease4 {{
		type ipv4_addr
		timeout 1s{leased}
	}}

	chain leaving {{
		type filter hook output priority raw; policy accept;
		{rule}
	}}
}}
"""
ROUTE = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	01004D0A	0003	0	0	0	00000000	0	0	0
eth0	00004D0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth1	00004E0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth2	40004E0A	00000000	0001	0	0	0	C0FFFFFF	0	0	0
"""
ZERO = "0" * 32
IPV6_ROUTE = f"""fd{"0" * 30} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001       eth1
{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo
fd{"0" * 29}1 80 {ZERO} 00 {ZERO} 00000000 00000002 00000000 80200001       eth1
{ZERO} 00 {ZERO} 00 fd{"0" * 29}f 00000400 00000001 00000000 00000003     eth0
"""


def table(*, managed: str = "10.0.0.1, 10.0.0.2", leased: str = "", rule: str = "drop") -> str:
    return TABLE.format(managed=managed, leased=leased, rule=rule)


def test_leases_come_and_go_and_the_structure_stays() -> None:
    leased = (
        "\n\t\telements = { 10.0.0.1 timeout 300ms expires 284ms,\n\t\t\t 10.0.0.2 expires 3s }"
    )
    assert structure(table(leased=leased)) == structure(table())


def test_the_order_in_which_addresses_are_listed_does_not_matter() -> None:
    assert structure(table(managed="10.0.0.2,\n\t\t\t     10.0.0.1")) == structure(table())


@pytest.mark.parametrize(
    "changed",
    [table(managed="10.0.0.1"), table(rule="accept"), table(rule="ip saddr 1.2.3.4 drop")],
)
def test_a_changed_rule_or_a_missing_address_changes_the_structure(changed: str) -> None:
    assert structure(changed) != structure(table())


def test_an_element_that_was_added_for_ever_changes_the_structure() -> None:
    assert structure(table(leased="\n\t\telements = { 10.0.0.1 }")) != structure(table())


def test_a_table_is_known_by_its_comment() -> None:
    assert comment(table()) == "guards the virtual IPs of cluster shop"
    assert comment('table inet x {\n\tset s {\n\t\tcomment "not the table\'s"\n\t}\n}\n') == ""
    assert tables("table ip nat\ntable inet equipoise\n") == {("ip", "nat"), ("inet", "equipoise")}


@pytest.mark.parametrize(
    ("address", "interface"),
    [
        ("10.77.0.9", "eth0"),
        ("10.78.0.201", "eth1"),
        ("10.78.0.70", "eth2"),  # the narrower network
        ("192.0.2.1", None),  # by a gateway
        ("fd00::5", "eth1"),
        ("fd01::5", None),
    ],
)
def test_an_interface_is_found_by_its_network(address: str, interface: str | None) -> None:
    assert interface_of(address, networks(ROUTE, IPV6_ROUTE)) == interface


def test_a_machine_without_networks_has_none() -> None:
    assert networks("", "") == ()
