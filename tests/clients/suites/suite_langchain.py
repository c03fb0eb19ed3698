"""LangChain's own standard tests for chat models and embeddings."""

from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

TOO_SMALL_FOR_NAMES = "its JSON is valid, but the fields' names are the model's to choose, and it is too small"
TOO_SMALL = "a model of 135 million parameters calls no tool of its own accord"


class TestChat(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": "smollm2", "temperature": 0, "max_tokens": 600, "stream_usage": True,
            "frequency_penalty": 0.6,
        }  # fmt: skip

    @property
    def has_tool_calling(self) -> bool:
        return True

    @property
    def has_structured_output(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "smollm2"

    @property
    def tool_choice_value(self) -> str:
        return "any"

    @pytest.mark.xfail(reason=TOO_SMALL_FOR_NAMES)
    def test_json_mode(self, model: BaseChatModel) -> None:
        super().test_json_mode(model)

    @pytest.mark.xfail(reason=TOO_SMALL)
    def test_agent_loop(self, model: BaseChatModel) -> None:
        super().test_agent_loop(model)


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        # Its own tokenizer is OpenAI's; token ids of another vocabulary would be sent.
        return {"model": "minilm", "check_embedding_ctx_length": False}
