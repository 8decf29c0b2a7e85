"""Record the messages that are not recorded yet: `python -m tests.golden`.

What is recorded is never recorded again: it stands for what older versions send.
"""

from tests.golden.samples import event, recorded, rows

for row in rows():
    path = recorded(row)
    if not path.exists():
        path.write_bytes(event(row))
        print(f"recorded {path.name}")
