"""A language model behind any server that speaks OpenAI's chat completions, such as Ollama, vLLM or llama.cpp."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx

from configs.settings import Knowledge
from pipelines.errors import Unavailable
from pipelines.knowledge.answer.answer import Params
from pipelines.knowledge.answer.llm import Prompt

END = "[DONE]"


@dataclass(frozen=True)
class ChatServer:
    """The model that the settings name."""

    knowledge: Knowledge

    @property
    def name(self) -> str:
        """The model's name."""
        return self.knowledge.openai_model

    async def write(self, prompt: Prompt, params: Params) -> AsyncGenerator[str]:
        """Write text in pieces.

        Raises:
            Unavailable: The server is down, refuses, or breaks off.
        """
        knowledge = self.knowledge
        url = knowledge.openai_url.rstrip("/").removesuffix("/v1") + "/v1/chat/completions"
        key = knowledge.openai_key.get_secret_value() if knowledge.openai_key else ""
        body = {
            "model": knowledge.openai_model,
            "messages": prompt,
            "temperature": params.temperature,
            "max_tokens": params.tokens,
            "stream": True,
        }
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        ended = False
        try:
            async with (
                httpx.AsyncClient(timeout=knowledge.timeout_s) as client,
                client.stream("POST", url, json=body, headers=headers) as response,
            ):
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if (data := line.removeprefix("data:").strip()) == END:
                        ended = True
                    elif line.startswith("data:") and (piece := content_of(data)):
                        yield piece
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable("generator", type(error).__name__) from None
        if not ended:
            raise Unavailable("generator", "the stream broke off")


def content_of(data: str) -> str:
    """Read the text out of one chunk of a completion; empty where it holds none.

    Raises:
        Unavailable: It is not a chunk of a completion.
    """
    try:
        chunk: Any = json.loads(data)
        content = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise Unavailable("generator", "not a chunk of a chat completion") from None
    return content if isinstance(content, str) else ""
