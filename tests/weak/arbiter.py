"""The real arbiter, which holds a lease for over when half of it has gone by."""

import sys

from services.arbiter import __main__ as real
from shared.instant import Duration
from shared.runtime import run

CORE = "services.arbiter.core"


def half(length_us: Duration) -> Duration:
    """Say when a lease is over, in place of `bound_us`: long before it is."""
    return length_us // 2


if __name__ == "__main__":
    replaced = [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith(CORE) and hasattr(module, "bound_us")
    ]
    assert replaced, "the arbiter counts leases by another name now"
    for module in replaced:
        vars(module)["bound_us"] = half
    run("arbiter", real.main)
