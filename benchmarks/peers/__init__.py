"""Others on the same faults: keepalived and HAProxy, as most run them and as tuned as we can.

`python -m benchmarks.peers` measures all stacks in the sandbox, with its client and its observers,
and writes docs/benchmarks/peers.json, its picture, and the table of docs/comparison.md.

    stacks    what runs on the nodes: configurations of others, word by word
    watch     tells keepalived that a load balancer died
    faults    what is done to every stack alike
    play      one fault, played once: what clients and observers saw
    tables    what the document says of it
"""
