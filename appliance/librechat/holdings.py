"""Where LibreChat keeps what is a person's: each of its collections that does, and which fields say whose it is.

Taken from its packages/data-schemas and packages/api/src/cache; a test holds every collection of the release
against it. LibreChat's own deletion of a user leaves some of them behind, so that it is not used here.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from bson import ObjectId

Filter = dict[str, Any]


@dataclass(frozen=True, slots=True)
class User:
    """Whom LibreChat knows by the subject: ``id`` is its own name for them."""

    id: ObjectId
    subject: UUID
    email: str

    @property
    def names(self) -> list[ObjectId | str]:
        """As other documents have it: some as an ObjectId, some as its text."""
        return [self.id, str(self.id)]


@dataclass(frozen=True, slots=True)
class Holding:
    """A collection of documents that are a person's own.

    ``fields`` name the owner, ``email`` the field that does so by the address. ``secret`` fields are not
    exported: each is a digest or a sealed text, which says nothing of the person. Of ``shared`` documents an entry
    of ``aclentries`` says who else may see them.
    """

    collection: str
    fields: tuple[str, ...]
    secret: tuple[str, ...] = ()
    email: str = ""
    shared: bool = False

    def of(self, user: User) -> Filter:
        whose: list[Filter] = [{name: {"$in": user.names}} for name in self.fields]
        if self.email and user.email:
            whose.append({self.email: user.email})
        return {"$or": whose}


HOLDINGS = (
    Holding("conversations", ("user",)),
    Holding("messages", ("user",)),
    Holding("chatprojects", ("user",), shared=True),
    Holding("conversationtags", ("user",)),
    Holding("presets", ("user",)),
    Holding("sharedlinks", ("user",), shared=True),
    Holding("files", ("user",), shared=True),
    Holding("toolcalls", ("user",)),
    Holding("prompts", ("author",)),
    Holding("promptgroups", ("author",), shared=True),
    Holding("agents", ("author",), shared=True),
    Holding("assistants", ("user",)),
    Holding(
        "actions", ("user",), ("metadata.api_key", "metadata.oauth_client_id", "metadata.oauth_client_secret")
    ),
    Holding("skills", ("author",), shared=True),
    Holding("skillfiles", ("author",)),
    Holding("mcpservers", ("author",), ("config.oauth.client_secret", "config.apiKey.key"), shared=True),
    Holding("memoryentries", ("userId",)),
    Holding("transactions", ("user",)),
    Holding("balances", ("user",)),
    Holding("keys", ("userId",), ("value",)),
    Holding("agentapikeys", ("userId",), ("keyHash",)),
    Holding("pluginauths", ("userId",), ("value",)),
    Holding("tokens", ("userId",), ("token", "metadata"), email="email"),
    Holding("sessions", ("user",), ("refreshTokenHash",)),
    Holding("configs", ("principalId",)),
    Holding("systemgrants", ("principalId",)),
    Holding("aclentries", ("principalId",)),
)
"""In the order in which they are deleted."""
PERSON = Holding(
    "users",
    ("_id",),
    ("password", "totpSecret", "backupCodes", "pendingTotpSecret", "pendingBackupCodes", "refreshToken"),
)
"""Deleted last of all: as long as it is there, the rest is found."""
NAMED_IN = (("aclentries", "grantedBy"), ("systemgrants", "grantedBy"))
"""Documents that are others', in which a field names the person."""
MEMBERS = ("groups", "memberIds")
BANS = "logs"
"""Whom LibreChat shut out for a while, by a text with the user's id; of the address that they came from, too."""


def bans_of(user: User) -> Filter:
    found = {"$regex": str(user.id)}
    return {"$or": [{"key": found}, {"value": found}]}


def memberships_of(user: User) -> list[ObjectId | str]:
    """How a group may name the person."""
    return [*user.names, str(user.subject)]
