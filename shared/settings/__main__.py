"""Writes what is made from the schema: `docs/configuration.md`, and the editors' schema."""

from pathlib import Path

from shared.settings.json_schema import as_text
from shared.settings.reference import reference
from shared.settings.schema import SCHEMA_FILE

ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    """Write the generated files."""
    made = {
        ROOT / "docs" / "configuration.md": reference(),
        ROOT / "deploy" / SCHEMA_FILE: as_text(),
    }
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
