"""A whole cluster on one Linux machine, from real parts: `equipoise sandbox`.

The *launcher* stays outside. It starts the *inner* program in namespaces of its own (user where
we are not root, network, mount, process), in which there are a bridge, one network namespace
per node, one for the witness and one for a client, a real nats-server, real HAProxys, our
services, two demo services and an open-loop client, all kept running by a small supervisor.

Hears: a control socket (JSON lines) that tests, benchmarks and drills use. Says: nothing on the
bus; it is a program, not a part of a cluster.

When the launcher goes, however it goes, the kernel ends the process namespace and with it
everything that was made here.
"""
