"""The lease protocol of virtual IPs, as the real cores play it, in a world made of a seed.

world        builds a cluster, lets faults blow, heals it, and sees that every VIP is held again
steps        the kernel and the clock as a process reaches them, each call a point
weather      what a seed draws: nodes, clocks, which faults blow, and how hard
faults       kills, freezes, cuts, lost files, persons; and the freezes between two steps
clocks       true time, and machines' clocks that run up to 3 % faster or slower
kernel       a node's guard as the kernel keeps it: elements that expire, atomic commits, permits
network      directed links: late, doubled, overtaking each other, lost, cut one way
processes    a process can be killed or frozen at every point that it passes
switchers    the switcher's cores and the order of its effects, each a point of its own
arbiters     the arbiter's core and the order of its effects
watch        at most one guard is open for an address, at every instant; floors; reasons
record       the last lines, for people
run          one seed, as a result that can be shown
removals     the rules, and how each is taken out of the real sources
without      takes one rule out after the other, looks for two holders, and writes the page

The watch knows true time, which nobody in the world does. Times are whole microseconds. Every
draw comes from one `random.Random`, so a seed replays exactly.
"""
