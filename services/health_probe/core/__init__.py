"""How an observer asks, judges and speaks, as plain functions.

probing     the whole: events in, actions out
asking      when the next probe of an instance is due
judgement   what a sample means for an instance: rise, fall, grade, abstention
answers     the time-out that follows an instance's normal answers
link        when to keep a connection open to a local instance
container   what an engine says of the container that an instance runs in
identity    what an instance says it is
signs       what a probe met, from an error number or a status
readiness   whether what this observer says can be believed
http        requests to bytes, bytes to answers
"""
