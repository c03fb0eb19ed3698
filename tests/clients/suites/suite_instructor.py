"""instructor: objects out of answers, by tools and by schemas."""

import instructor
import pytest
from openai import OpenAI
from pydantic import BaseModel

SAID = [{"role": "user", "content": "Extract: Jason is 25 years old."}]


class User(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize(
    "mode", [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA]
)
def test_an_object(mode: instructor.Mode) -> None:
    client = instructor.from_openai(OpenAI(max_retries=0), mode=mode)
    user = client.chat.completions.create(
        model="smollm2", response_model=User, messages=SAID, temperature=0, max_tokens=100
    )
    assert user.age == 25


def test_a_partial_object() -> None:
    client = instructor.from_openai(OpenAI(max_retries=0), mode=instructor.Mode.JSON_SCHEMA)
    *_, last = client.chat.completions.create_partial(
        model="smollm2", response_model=User, messages=SAID, temperature=0, max_tokens=100
    )
    assert last.age == 25
