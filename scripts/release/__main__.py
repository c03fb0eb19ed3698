"""`make release`: the version in pyproject.toml, into var/releases, and how to sign it."""

import sys
from pathlib import Path

from scripts.release.errors import ReleaseError
from scripts.release.publication import TAG, publish


def main() -> int:
    try:
        folder = publish(Path.cwd(), Path("var/releases"))
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for file in sorted(folder.iterdir()):
        print(f"release  {file}")
    print("Sign it:")
    print(f"  git tag --sign --cleanup=verbatim --file {folder / TAG} v{folder.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
