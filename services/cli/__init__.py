"""The `equipoise` command: asks a console over its unix socket, and shows what it says.

It starts fast, because it is typed in an emergency: no bus, no event loop, no models; each command
imports only what it needs. Data goes to standard output, talk to standard error.
"""
