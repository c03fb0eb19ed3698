"""The tools of Anthropic's that a client runs and that come without a schema. Pure.

Anthropic's models know them by heart; any other model needs the schema and a sentence. Source: Anthropic's
documentation of the bash, text editor and memory tools, each version by its ``type``.
"""

from __future__ import annotations

from serving.agents.tools import Fields

_PATH = {"type": "string", "description": "Absolute path of a file or directory."}
_TEXT = {"type": "string"}
_EDIT: Fields = {
    "path": _PATH,
    "file_text": _TEXT | {"description": "For create: the whole content of the file."},
    "old_str": _TEXT | {"description": "For str_replace: what is replaced; it must be there exactly once."},
    "new_str": _TEXT | {"description": "For str_replace: what comes instead."},
    "insert_line": {"type": "integer", "description": "For insert: the line behind which to insert; 0: the top."},
    "insert_text": _TEXT | {"description": "For insert: the text."},
    "view_range": {
        "type": "array", "items": {"type": "integer"},
        "description": "For view: the first and the last line; -1: the end.",
    },
}  # fmt: skip
_BASH: Fields = {
    "type": "object",
    "properties": {
        "command": _TEXT | {"description": "The command to run."},
        "restart": {"type": "boolean", "description": "True restarts the shell; nothing is run then."},
    },
}


def _commands(names: list[str], more: Fields) -> Fields:
    properties = {"command": {"type": "string", "enum": names}, **_EDIT, **more}
    return {"type": "object", "properties": properties, "required": ["command", "path"]}


_EDITOR = ["view", "create", "str_replace", "insert"]
_INSERTED_AS_NEW: Fields = {"new_str": _TEXT | {"description": "For str_replace and insert: the new text."}}
_MEMORY = _commands(
    [*_EDITOR, "delete", "rename"], {"old_path": _PATH, "new_path": _PATH | {"description": "For rename."}}
) | {"required": ["command"]}
_EDITS = "View, create and edit files."

SCHEMAS: dict[str, tuple[str, Fields]] = {
    "bash_20241022": ("Run a command in a shell that goes on between calls.", _BASH),
    "bash_20250124": ("Run a command in a shell that goes on between calls.", _BASH),
    "text_editor_20241022": (_EDITS, _commands([*_EDITOR, "undo_edit"], _INSERTED_AS_NEW)),
    "text_editor_20250124": (_EDITS, _commands([*_EDITOR, "undo_edit"], _INSERTED_AS_NEW)),
    "text_editor_20250429": (_EDITS, _commands(_EDITOR, _INSERTED_AS_NEW)),
    "text_editor_20250728": (_EDITS, _commands(_EDITOR, {})),
    "memory_20250818": ("Files below /memories, kept between conversations.", _MEMORY),
}
"""Description and schema by type."""
