"""Services with one safety taken out, to prove that the sandbox's observers would see it missing.

`equipoise sandbox --weak no-guard` and `--weak no-lease-wait` start these in place of the real
ones, from a checkout only: what is installed has nothing of this, and no service has a switch.
"""
