"""Bodies and answers of `api/chat`, in the form that OpenAI's clients know."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serve_app.api.schemas.assistant import CitationReply
from serve_app.api.schemas.base import Flag, Key, Reply, Text


class ChatPart(BaseModel):
    """A part of a message; only text is read."""

    type: str
    text: Text = ""


class ChatMessage(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[ChatPart] | None = None

    @property
    def text(self) -> str:
        """Its text, whatever its form."""
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream carries besides."""

    include_usage: Flag = False


class ChatBody(BaseModel):
    """A conversation, as OpenAI's clients send it; what tunes a model (`temperature` and the like) is not read."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "example": {
                "model": "hdx-assistant",
                "messages": [{"role": "user", "content": "How to fix hydraulic pressure drop?"}],
            }
        },
    )

    model: Text = Field(max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=200)
    stream: Flag = False
    stream_options: StreamOptions | None = None
    system_id: Key | None = Field(default=None, description="The machine asked about; no field of OpenAI's")


class ChatChoice(Reply):
    """The one answer."""

    index: int
    message: dict[str, str | None]
    finish_reason: str
    logprobs: None


class ChatReply(Reply):
    """A chat completion, with its sources."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: dict[str, int]
    citations: list[CitationReply]
    grounded: bool
    abstained: bool
    degraded: bool


class ModelListReply(Reply):
    """The models that can be chatted with."""

    object: Literal["list"]
    data: list[dict[str, str | int]]
