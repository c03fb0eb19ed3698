"""The collections of the release that is meant, and those of a LibreChat's source."""

from pathlib import Path

from appliance.librechat import RELEASE

COLLECTIONS = {
    "accessroles": "kinds of access, the same for all",
    "aclentries": "person",
    "actions": "person",
    "agentapikeys": "person",
    "agentcategories": "kinds of agents, the same for all",
    "agents": "person",
    "assistants": "person",
    "auditlogs": "what administrators do in LibreChat's panel: a chain that LibreChat itself never changes",
    "balances": "person",
    "banners": "what the operator tells everybody",
    "categories": "kinds of prompts, the same for all",
    "chatprojects": "person",
    "configs": "person",
    "conversations": "person",
    "conversationtags": "person",
    "files": "person",
    "groups": "person",
    "keys": "person",
    "mcpservers": "person",
    "memoryentries": "person",
    "messages": "person",
    "pluginauths": "person",
    "presets": "person",
    "promptgroups": "person",
    "prompts": "person",
    "roles": "what each role may do, the same for all",
    "sessions": "person",
    "sharedlinks": "person",
    "skillfiles": "person",
    "skills": "person",
    "skillsynccredentials": "the operator's, for taking skills from elsewhere",
    "skillsyncstatuses": "how that went",
    "systemgrants": "person",
    "tokens": "person",
    "toolcalls": "person",
    "transactions": "person",
    "users": "person",
}
"""Of LibreChat v0.8.7: a line for each schema in packages/data-schemas/src/schema, but `defaults`, and `index`."""
assert RELEASE == "v0.8.7", "another release has other collections: read its schemas, and then holdings.py"
SCHEMAS = Path("packages", "data-schemas", "src", "schema")
NO_SCHEMAS = frozenset({"defaults", "index"})
CALLED = {"convo": "conversations", "memory": "memoryentries", "share": "sharedlinks"}
"""Those whose file has another name than the collection."""


def collections_of(source: Path) -> set[str]:
    """By the names of its schemas' files."""
    stems = {file.stem for file in (source / SCHEMAS).glob("*.ts") if not file.stem.endswith(".spec")}
    return {CALLED.get(stem) or _several(stem.lower()) for stem in stems - NO_SCHEMAS}


def _several(name: str) -> str:
    """As Mongoose makes a collection's name of a model's."""
    if name.endswith("y") and name[-2] not in "aeo":
        return f"{name[:-1]}ies"
    if name.endswith("us"):
        return f"{name}es"
    return name if name.endswith("s") else f"{name}s"
