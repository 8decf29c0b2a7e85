"""Drills: failures made on purpose, to see what they cost and that everything comes back.

A drill injects one fault into a running sandbox and proves that it was really there, waits for
the incident that Equipoise makes of it, heals the fault, and then checks from outside that the
original settings are in force again and that clients lost nothing. What it reports it has seen
itself; only the incident's phases are Equipoise's own words.

    catalogue   the drills: how each injects, proves and heals its fault
    scene       what a drill acts on and sees: programs, console, load balancers, clients
    play        one drill, played once
    show        many plays one after the other, and what is told of them
    judgement   what was found wrong (pure)
    figures     medians and percentiles (pure)
    report      what is handed out as JSON (pure)
    telling     what is said to people (pure)
"""
