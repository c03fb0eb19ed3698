"""What is wrong with a body, in one sentence for whoever sent it. Pure.

vLLM checks bodies with pydantic, which says what each form of a union misses, in Python's words. Of several
forms the likeliest is spoken of: not one whose ``type`` or ``role`` is another one, then the one that misses
least. Source: pydantic's error types, docs.pydantic.dev/latest/errors/validation_errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Error = Mapping[str, Any]
Path = tuple[str, ...]

UNUSABLE = "The body cannot be used."
NOT_JSON = "The body is not valid JSON."
KINDS = {
    "string_type": "a text", "int_type": "a whole number", "int_parsing": "a whole number",
    "int_from_float": "a whole number", "float_type": "a number", "float_parsing": "a number",
    "finite_number": "a finite number", "bool_type": "true or false", "bool_parsing": "true or false",
    "list_type": "a list", "tuple_type": "a list", "iterable_type": "a list", "dict_type": "an object",
    "mapping_type": "an object", "model_type": "an object", "model_attributes_type": "an object",
    "dataclass_type": "an object", "none_required": "null",
}  # fmt: skip
LIMITS = {
    "greater_than": ("gt", "more than {}"), "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"), "less_than_equal": ("le", "at most {}"),
    "too_long": ("max_length", "no longer than {}"), "too_short": ("min_length", "at least {} long"),
    "string_too_long": ("max_length", "no longer than {} characters"),
    "string_too_short": ("min_length", "at least {} characters long"),
    "multiple_of": ("multiple_of", "a multiple of {}"),
}  # fmt: skip
NAMES_A_FORM = frozenset({"type", "role"})
MOST_EXPECTED = 300
"""Characters of what may stand there instead."""
_FORM = re.compile(
    r"[\[\](){}<>]|^[A-Z]|^(function|tagged-union|union|chain|nullable|lax-or-strict|json-or-python)"
)
_KIND = frozenset(
    ["str", "int", "float", "bool", "bytes", "list", "tuple", "dict", "set", "none", "constrained-str"]
)


def explain(errors: Sequence[Error]) -> tuple[str, str | None]:
    """A sentence, and the field's path, if it is about one: ``messages[0].role``, as OpenAI writes it."""
    if not errors:
        return UNUSABLE, None
    first = path_of(errors[0])[:1]
    about = _likeliest([error for error in errors if path_of(error)[:1] == first])
    path = path_of(about[0])
    same = [error for error in about if path_of(error) == path]
    name = _written(path)
    return _sentence(name, same), _named(same) or name or None


def _written(path: Path) -> str:
    return "".join(f"[{one}]" if one.isdigit() else f".{one}" for one in path).removeprefix(".")


def _named(errors: Sequence[Error]) -> str | None:
    """The field that a check of vLLM's own speaks of, which is run on the body as a whole."""
    own = (getattr(error.get("ctx", {}).get("error"), "parameter", None) for error in errors)
    return next((name for name in own if isinstance(name, str)), None)


def path_of(error: Error) -> Path:
    """Names and indices as the client wrote them, without pydantic's names of forms."""
    location = [str(segment) for segment in error.get("loc", ())]
    if location[:1] == ["body"]:
        location = location[1:]
    return tuple(segment for segment in location if not _is_form(segment))


def _is_form(segment: str) -> bool:
    return bool(_FORM.search(segment)) or segment in _KIND


def _likeliest(errors: Sequence[Error]) -> Sequence[Error]:
    """Those of one form; or of all, where each says no more than what kind of value it wants."""
    if len({path_of(error) for error in errors}) == 1:
        return errors
    forms: dict[Path, list[Error]] = {}
    for error in errors:
        form = tuple(segment for segment in map(str, error.get("loc", ())) if _is_form(segment))
        forms.setdefault(form, []).append(error)
    others = [form for form in forms.values() if not any(_is_of_another_form(error) for error in form)]
    return min(others or forms.values(), key=lambda form: (len(form), -len(path_of(form[0]))))


def _is_of_another_form(error: Error) -> bool:
    return error.get("type") in ("literal_error", "enum") and path_of(error)[-1:] in {(n,) for n in NAMES_A_FORM}


def _sentence(name: str, errors: Sequence[Error]) -> str:
    subject = f"`{name}`" if name else "The body"
    kinds = {error.get("type", ""): error for error in errors}
    if "json_invalid" in kinds:
        return NOT_JSON
    if "missing" in kinds:
        return f"{subject} is missing."
    if "extra_forbidden" in kinds:
        return f"{subject} is not a field that can be given here."
    if "value_error" in kinds:
        return _own_words(subject, kinds["value_error"])
    wanted = list(dict.fromkeys(filter(None, map(_wanted, errors))))
    if not wanted:
        return f"{subject} does not have a form that can be used."
    return f"{subject} must be {' or '.join(wanted)}."


def _wanted(error: Error) -> str | None:
    kind, context = error.get("type", ""), error.get("ctx", {})
    if kind in KINDS:
        return KINDS[kind]
    if kind in LIMITS:
        name, words = LIMITS[kind]
        return words.format(context.get(name))
    if kind in ("literal_error", "enum"):
        expected = str(context.get("expected", ""))
        return expected if len(expected) <= MOST_EXPECTED else None
    return None


def _own_words(subject: str, error: Error) -> str:
    """vLLM's own sentence, where a check of its own failed."""
    said = str(error.get("ctx", {}).get("error", "")).strip()
    if not said or said.startswith("{"):
        return f"{subject} cannot be used."
    return said if said.endswith((".", "!", "?")) else f"{said}."
