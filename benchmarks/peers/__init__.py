"""Others on the same faults: HAProxy, Envoy, keepalived, as documented and as tight as they get.

`make bench-peers` measures all stacks in the sandbox, with its client and its observers. It keeps
every play in docs/benchmarks/peers, and writes a chapter of docs/benchmarks.md and the measured
part of docs/comparison.md from them.

    stacks      what takes care of the nodes, as values
    haproxy     configurations of others, word by word
    keepalived
    envoy
    watch       tells keepalived that a load balancer died
    places      where others' programs and files are
    faults      what is done to every stack alike, and what proves it
    play        one fault, played once: what clients and observers saw
    results     every play, kept
    rounds      who is measured next, and how long it will take (pure)
    tables      what the documents say of it
"""
