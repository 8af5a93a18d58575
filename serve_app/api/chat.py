"""The assistant in the words of OpenAI's chat completions, citations included."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from pipelines.errors import InvalidInput, NotFound
from pipelines.knowledge.answer.answer import Event
from pipelines.knowledge.records import Answer, Hit
from pipelines.knowledge.search.text import language_of, topics, words
from serve_app.api import problems
from serve_app.api.assistant import EVENTS, citation_of, of_system, settle
from serve_app.api.auth import Reader
from serve_app.api.keyed_route import KeyedRoute, check_no_key
from serve_app.api.ports import Asked, Ports, Services
from serve_app.api.schemas.chat import ChatBody, ChatReply, ModelListReply
from serve_app.history import matter_of
from serve_app.shared import logs

MODEL = "hdx-assistant"
BORN = 1_767_225_600  # 2026-01-01; the format wants a time, and the model has no other
QUESTION_MAX = 2000
SOURCES = 5
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENTS: {}}, "description": "The answer, or with `stream` its chunks"}
}

router = APIRouter(prefix="/v1", tags=["assistant"], route_class=KeyedRoute)


@router.get("/models", response_model=ModelListReply, responses=problems.documented(401), summary="List chat models")
async def models(_: Reader) -> Response:
    """Return the one model that there is: the assistant."""
    model = {"id": MODEL, "object": "model", "created": BORN, "owned_by": "hdx"}
    return JSONResponse({"object": "list", "data": [model]})


@router.post(
    "/chat/completions",
    response_model=ChatReply,
    responses=STREAMED | problems.documented(400, 401, 404, 413, 415, 429, 503),
    summary="Chat with the manuals",
)
async def complete(body: ChatBody, caller: Reader, services: Ports) -> Response:
    """Answer the last message of the user; each sentence has its source, listed under `citations`.

    With `system_id` it knows of that system what `/api/rag/query/` does.
    """
    if body.model != MODEL:
        raise NotFound("model", body.model)
    said, whole = _question(body)
    asked = Asked(caller.tenant_id, whole, SOURCES)
    if body.system_id is not None:
        services, asked = await of_system(services, asked, body.system_id, said)
    begun = time.perf_counter()
    head = {"id": f"chatcmpl-{UUID(logs.trace_id()).hex}", "created": int(time.time()), "model": MODEL}
    if body.stream:
        check_no_key()
        written = services.assistant.stream(asked)
        await anext(written)  # a search that fails is a problem, not a stream
        usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventSourceResponse(_chunks(services, written, head, asked, begun, usage=usage))
    answer = await services.assistant.ask(asked)
    await settle(services, asked, answer, time.perf_counter() - begun)
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    known = {"object": "chat.completion", "choices": [choice], "usage": _usage(asked.text, answer)}
    return JSONResponse(head | known | _sources(answer))


async def _chunks(
    services: Services,
    written: AsyncGenerator[tuple[Hit, ...] | Event],
    head: dict[str, Any],
    asked: Asked,
    begun: float,
    *,
    usage: bool,
) -> AsyncGenerator[bytes]:
    def chunk(choices: list[dict[str, Any]], **more: object) -> bytes:
        return _event(head | {"object": "chat.completion.chunk", "choices": choices} | more)

    def delta(finished: str | None = None, **content: str) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": content, "finish_reason": finished, "logprobs": None}]

    yield chunk(delta(role="assistant", content=""))
    try:
        async with aclosing(written) as events:
            async for event in events:
                if isinstance(event, str):
                    yield chunk(delta(content=event))
                elif isinstance(event, Answer):
                    await settle(services, asked, event, time.perf_counter() - begun)
                    yield chunk(delta("stop"), **_sources(event))
                    if usage:
                        yield chunk([], usage=_usage(asked.text, event))
    except Exception as error:
        problem = problems.problem_of(error)
        services.metrics.asked(problem.code, time.perf_counter() - begun)
        yield _event({"error": problem.body("/v1/chat/completions", logs.trace_id())})
    yield format_sse_event(data_str="[DONE]")


def _event(data: object) -> bytes:
    return format_sse_event(data_str=orjson.dumps(data).decode())


def _question(body: ChatBody) -> tuple[str, str]:
    """Return the last message of the user, alone and as it is asked: one without a topic goes with the one before it.

    What the database answered is none that a next question could be about: that is then about the last finding.

    Raises:
        InvalidInput: There is none, or it is empty or too long.
    """
    said = [message.text.strip() for message in body.messages if message.role == "user"]
    if not said or not said[-1]:
        raise InvalidInput("messages", f"array of {len(body.messages)}", "must end in a message of the user with text")
    if len(said[-1]) > QUESTION_MAX:
        raise InvalidInput("messages", f"text of {len(said[-1])}", f"must be at most {QUESTION_MAX} characters")
    whole = said[-1]
    told = body.system_id is not None and len(said) > 1 and matter_of(said[-2], language_of(said[-2]))
    if len(said) > 1 and not told and not topics(said[-1], language_of(said[-1])):
        whole = f"{said[-2]} {said[-1]}"[-QUESTION_MAX:]
    return said[-1], whole


def _usage(question: str, answer: Answer) -> dict[str, int]:
    prompt = len(words(question))
    return {"prompt_tokens": prompt, "completion_tokens": answer.tokens, "total_tokens": prompt + answer.tokens}


def _sources(answer: Answer) -> dict[str, Any]:
    return {
        "citations": [citation_of(citation) for citation in answer.citations],
        "grounded": answer.grounded,
        "abstained": answer.abstained,
        "degraded": answer.degraded,
    }
