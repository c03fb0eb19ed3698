"""What of LibreChat's log is kept: that something went wrong, when and where in it; nothing that a person wrote.

LibreChat writes who signs on, and what it could not do with what it was told. Until it listens nobody has told it
anything, and what it says is for the operator. After that a line is its time, its level and its place. A failed
sign-on is told with its reason, without the email and the subject: nothing of a chat is in there.
"""

from __future__ import annotations

import json
import re

KEPT_LEVELS = ("warn", "error")
PLACE = re.compile(r"\[[\w./# -]{1,120}\]")
"""How LibreChat's messages begin: `[api/server/controllers/agents/client.js #sendCompletion]`."""
SIGN_ON = ("[openidStrategy]", "[openIdJwtLogin]", "[refreshController]", "[OpenID Strategy]", "[OAuth]")
SOMEBODY = re.compile(r"\S+@\S+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""An email, or a person's subject."""
STATUS = re.compile(r"\b[45]\d\d\b")
LISTENING = "Server listening"


class Journal:
    def __init__(self) -> None:
        self._listens = False

    def keep(self, line: str) -> str | None:
        """The line for our log; None if it says nothing that an operator needs, or may have."""
        try:
            record = json.loads(line)
            level, message = str(record["level"]), str(record["message"])
        except (ValueError, KeyError, TypeError):
            return None if self._listens else line
        if message.startswith(LISTENING):
            self._listens = True
            return f"{record.get('timestamp', '')} listening"
        if level not in KEPT_LEVELS:
            return None
        if not self._listens:
            return f"{record.get('timestamp', '')} {level}: {message}"
        if message.startswith(SIGN_ON):
            return f"{record.get('timestamp', '')} {level}: {SOMEBODY.sub('(somebody)', message)}"
        found = [match[0] for pattern in (PLACE, STATUS) if (match := pattern.search(message))]
        return " ".join([f"{record.get('timestamp', '')} {level}:", *found])
