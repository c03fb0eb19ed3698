"""What git says of the tree that is to be published."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from scripts.release.errors import ReleaseError

SHOWN = 5
"""So many changed files are named."""


@dataclass(frozen=True)
class Repository:
    """The clone at ``root``."""

    root: Path

    def ask(self, *question: str) -> str:
        """What a command of git prints.

        Raises:
            ReleaseError: git fails.
        """
        told = subprocess.run(["git", *question], cwd=self.root, capture_output=True, text=True, check=False)
        if told.returncode != 0:
            raise ReleaseError(f"git {question[0]}: {told.stderr.strip()}")
        return told.stdout

    def commit(self) -> str:
        return self.ask("rev-parse", "HEAD").strip()

    def committed_at(self) -> int:
        """Seconds since 1970."""
        return int(self.ask("show", "--no-patch", "--format=%ct", "HEAD"))

    def require_clean(self) -> None:
        """Raises ReleaseError if a file is changed, or neither committed nor ignored."""
        changed = self.ask("status", "--porcelain").splitlines()
        if changed:
            named = ", ".join(line[3:] for line in changed[:SHOWN]) + (", …" if len(changed) > SHOWN else "")
            raise ReleaseError(f"commit or remove what is not committed: {named}")

    def require_free(self, tag: str) -> None:
        """Raises ReleaseError if the tag is there, and not on this commit."""
        if not self.ask("tag", "--list", tag):
            return
        at = self.ask("rev-parse", f"{tag}^{{commit}}").strip()
        if at != self.commit():
            raise ReleaseError(f"{tag} is published already, at {at[:8]}: give pyproject.toml the next version")

    def archive(self, file: Path, prefix: str) -> None:
        """All that is committed, in one folder, whatever the umask: the same bytes for the same commit."""
        self.ask(
            "-c", "tar.umask=0022", "archive", "--format=tar.gz", f"--prefix={prefix}/", f"--output={file}", "HEAD"
        )
