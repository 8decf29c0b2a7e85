"""Lets four questions about named containers through to Docker's engine, and nothing else.

Runs on nodes whose health probe asks an engine, as the only program of ours that has the engine's
socket, which is worth as much as root. Hears: HTTP on a Unix socket. Says: to the engine, the four
questions in its own words; to who asked, the few fields of the answers that evidence needs. It
knows no bus and no configuration file, and imports nothing that could start or stop a container.
"""
