"""What the kernel says that is wrong, without what libraries make of it."""

import os


def words_of(error: Exception) -> str:
    """Return what is wrong, in the kernel's own words where it says so: libraries add theirs."""
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer in time"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
