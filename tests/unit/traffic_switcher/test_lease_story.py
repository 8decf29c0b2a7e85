"""What the log says of VIPs: each thing once, when it begins and when it changes."""

from services.traffic_switcher.adapters.lease_story import LeaseStory
from services.traffic_switcher.core.places import Place
from tests.fakes.grounds import KeptLog

FLUX = "eth1 would answer ARP for 10.1.0.200 of eth0 as well: set arp_ignore"


def test_advice_is_written_once_until_it_changes() -> None:
    log = KeptLog()
    story = LeaseStory(log)
    advised, quiet = {"10.1.0.200": Place(advice=FLUX)}, {"10.1.0.200": Place()}
    for places in (quiet, advised, advised, quiet, advised):
        story.seen(places)
    assert log.lines == 2 * [("warning", "advice", {"what": "10.1.0.200", "because": FLUX})]
