"""What failures and idling cost, measured: `make bench` writes docs/benchmarks.md.

decide    the arbiter's pure core alone
drills    the sandbox's drills, many times each, under load
idle      what every process costs while nothing happens
commands  how long a person waits for `equipoise status`
plot      distributions as small SVG pictures (pure)
growth    what larger clusters cost, and many of them
document  the tables and the text around them (pure)
"""
