"""All real cores together in one thread: clock, network, disks and load balancers made of a seed.

world        builds a cluster and runs it: a storm of faults, then healing, then convergence
weather      what a seed draws: the cluster, which faults blow, and how hard
faults       how each fault is injected, proved and healed
agenda       simulated time
record       what happened, as lines and as a hash
processes    what every process has: crashes, restarts, freezes, a queue, timers
arbiters     the arbiter's core with its shell's loop
switchers    the switcher's core with its shell's loop, over a simulated load balancer and disk
observers    the cores of health_probe and heartbeat
people       somebody at a console
broker       the bus, its stream, and the network to it
outside      what is not ours: applications, load balancers, disks
invariants   what is asserted at every step
moments      the steps at which it is asserted
watch        shows each moment to the invariants that look at it

Times are whole microseconds. Every draw comes from one `random.Random`, so a seed replays exactly.
"""
