"""What crosses the bus: frozen values, the table of their types and subjects, and their codec.

Adding a message: write its dataclass in the module of its theme, append its row in `table.py`,
record its golden file with `make golden`, and say in ARCHITECTURE.md who says and who hears it.
"""
