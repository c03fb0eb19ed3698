"""One sentence for a body that cannot be used, whatever pydantic makes of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from appliance.gateway.plain_words import python_in
from serving.engine.refusals import explain


class Text(BaseModel):
    type: Literal["text"]
    text: str


class Image(BaseModel):
    type: Literal["image"]
    url: str
    detail: Literal["low", "high"] = "low"


class User(BaseModel):
    role: Literal["user"]
    content: str | list[Text | Image]


class System(BaseModel):
    role: Literal["system"]
    content: str
    name: str | None = None


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[User | System]
    temperature: Annotated[float, Field(ge=0, le=2)] = 1
    stop: str | list[str] | None = None
    n: int = 1

    @model_validator(mode="before")
    @classmethod
    def together(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("n") == 0:
            raise ValueError("n must not be 0")
        return values


GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("change", "sentence", "param"),
    [
        ({"temperature": 3}, "`temperature` must be at most 2.0.", "temperature"),
        ({"temperature": "hot"}, "`temperature` must be a number.", "temperature"),
        ({"n": 1.5}, "`n` must be a whole number.", "n"),
        ({"stop": 5}, "`stop` must be a text or a list.", "stop"),
        ({"messages": 5}, "`messages` must be a list.", "messages"),
        ({"messages": [5]}, "`messages[0]` must be an object.", "messages[0]"),
        ({"messages": [{"role": "user"}]}, "`messages[0].content` is missing.", "messages[0].content"),
        (
            {"messages": [{"role": "king", "content": "x"}]},
            "`messages[0].role` must be 'user' or 'system'.",
            "messages[0].role",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "url": "u", "detail": "best"}]}]},
            "`messages[0].content[0].detail` must be 'low' or 'high'.",
            "messages[0].content[0].detail",
        ),
        ({"colour": "red"}, "`colour` is not a field that can be given here.", "colour"),
        ({"n": 0}, "n must not be 0.", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_sentence(change: dict[str, Any], sentence: str, param: str | None) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(Body).validate_python(GOOD | change)
    errors = [{**error, "loc": ("body", *error["loc"])} for error in refused.value.errors()]
    assert explain(errors) == (sentence, param)
    assert python_in(sentence) is None


def test_whatever_comes_is_a_sentence() -> None:
    assert explain([]) == ("The body cannot be used.", None)
    assert explain([{"type": "json_invalid", "loc": ("body", 5), "ctx": {"error": "Expecting"}}])[0] == (
        "The body is not valid JSON."
    )
    assert explain([{"type": "is_instance_of", "loc": ("body", "x", "function-after[f(), str]")}]) == (
        "`x` does not have a form that can be used.", "x",
    )  # fmt: skip
