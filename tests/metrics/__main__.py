"""Writes `docs/metrics.md`."""

from tests.metrics import DOCUMENT, document

if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
