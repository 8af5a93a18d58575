"""The graph's language model beside `vllm serve` alone, on one device, with the assistant's prompts.

`prepare` needs all of HDX, `measure` only Ray and vLLM: a GPU node measures what was prepared elsewhere.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import ray
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray import serve

from configs.settings import Knowledge
from deployments.language_model import NAME, GraphModel, language_model
from pipelines.knowledge.answer.answer import Params
from pipelines.knowledge.answer.llm import Prompt
from pipelines.knowledge.answer.openai_client import END

# Weights are made up: speed does not ask what they are.
CPU_ENGINE = '{"load_format": "dummy", "max_model_len": 2048, "enforce_eager": true, "dtype": "float32"}'
CPU_SWITCHES = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
ROUTE = "/v1/chat/completions"
START_S, ANSWER_S = 400, 300
PER_READER = 2  # answers that each reader asks for in a round
WARM_TOKENS = 16
SHARE = 16  # readers a process of the load generator has, so that it is never what is measured
api = FastAPI()


# As many replicas as `serve_config.yaml` gives the generator under such load.
@serve.deployment(num_replicas=4, max_ongoing_requests=10_000, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class Words:
    """The model of the graph, as the generator calls it, for a client that reads events."""

    def __init__(self, model: Any) -> None:
        self._writer = GraphModel(model, NAME)

    @api.post(ROUTE)
    async def write(self, body: dict[str, Any]) -> StreamingResponse:
        """Stream what the model writes."""
        return StreamingResponse(self._events(body["messages"], body["max_tokens"]), media_type="text/event-stream")

    async def _events(self, prompt: Prompt, tokens: int) -> AsyncIterator[str]:
        async for piece in self._writer.write(prompt, Params(tokens)):
            yield f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n"
        yield f"data: {END}\n\n"


@contextmanager
def graph(model: Path, engine: Mapping[str, Any], accelerator: str, port: int) -> Iterator[str]:
    """Run the deployment that a `serve deploy` of HDX makes; yield its address."""
    os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")  # as `hdx run` sets it
    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        num_cpus=8,
        object_store_memory=200_000_000,
    )
    knowledge = Knowledge(vllm_model=str(model), vllm_engine=dict(engine), vllm_accelerator=accelerator)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(Words.bind(language_model(knowledge, 0.1)))  # type: ignore[attr-defined]  # Ray's ingress has no types
        yield f"http://127.0.0.1:{port}"
    finally:
        ray.shutdown()


@contextmanager
def alone(model: Path, engine: Mapping[str, Any], port: int) -> Iterator[str]:
    """Begin to run vLLM's own server with the same arguments; yield its address at once."""
    # What `vllm serve` runs; the command itself does not start from the wheel for the CPU.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", NAME]
    command += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    for key, value in engine.items():
        flag = f"--{key.replace('_', '-')}"
        if value is not False:
            command += [flag] if value is True else [flag, value if isinstance(value, str) else json.dumps(value)]
    with (Path(tempfile.gettempdir()) / "vllm-serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def wait_for(url: str) -> None:
    """Return once a server is ready."""
    end = time.monotonic() + START_S
    while not _answers(url):
        if time.monotonic() > end:
            raise RuntimeError(f"{url} is not ready after {START_S} s: see vllm-serve.log among the temporary files")
        time.sleep(0.5)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def body(prompt: Prompt, tokens: int) -> dict[str, Any]:
    """Return the request that both servers get."""
    return {"model": NAME, "messages": prompt, "max_tokens": tokens, "temperature": 0.0, "stream": True}


def lengths(url: str, prompts: Sequence[Prompt], tokens: int) -> list[int]:
    """Return how many tokens the answer to each prompt has: the same for both, at temperature 0."""

    async def ask() -> list[int]:
        async with httpx.AsyncClient(timeout=ANSWER_S, limits=httpx.Limits(max_connections=SHARE)) as client:
            asked = (client.post(f"{url}{ROUTE}", json=body(prompt, tokens) | {"stream": False}) for prompt in prompts)
            return [
                reply.raise_for_status().json()["usage"]["completion_tokens"] for reply in await asyncio.gather(*asked)
            ]

    return asyncio.run(ask())


def read(url: str, prompts: Sequence[Prompt], tokens: int, readers: int, first: int) -> list[tuple[float, float]]:
    """Read answers with so many readers at once; return the seconds to the first and to the last word of each."""
    todo = iter(list(islice(cycle(prompts), first, first + readers * PER_READER)))
    took = []

    async def reader(client: httpx.AsyncClient) -> None:
        for prompt in todo:
            begun, opened, held = time.perf_counter(), 0.0, b""
            async with client.stream("POST", f"{url}{ROUTE}", json=body(prompt, tokens)) as reply:
                async for piece in reply.raise_for_status().aiter_raw():
                    held = (held + piece)[-64:]
                    if not opened and b'"content":"' in piece.replace(b": ", b":").replace(b'"content":""', b""):
                        opened = time.perf_counter() - begun
            if END.encode() not in held:
                raise RuntimeError(f"{url}: an answer broke off")
            took.append((opened, time.perf_counter() - begun))

    async def all_readers() -> None:
        async with httpx.AsyncClient(timeout=ANSWER_S, limits=httpx.Limits(max_connections=readers)) as client:
            await asyncio.gather(*(reader(client) for _ in range(readers)))

    asyncio.run(all_readers())
    return took


def cell(
    pool: ProcessPoolExecutor, url: str, prompts: Sequence[Prompt], counts: Sequence[int], tokens: int, readers: int
) -> dict[str, float]:
    """Measure one server with so many readers."""
    shares = [min(SHARE, readers - begun) for begun in range(0, readers, SHARE)]
    begun = time.perf_counter()
    calls = [
        pool.submit(read, url, prompts, tokens, share, number * SHARE * PER_READER)
        for number, share in enumerate(shares)
    ]
    took = [one for call in calls for one in call.result()]
    wall = time.perf_counter() - begun
    written = sum(islice(cycle(counts), readers * PER_READER))
    return {
        "tokens_s": written / wall,
        "first_ms": 1_000 * statistics.median(first for first, _ in took),
        "whole_ms": 1_000 * statistics.median(whole for _, whole in took),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both servers in turns; return medians over the rounds."""
    engine = json.loads(options.engine)
    if not options.accelerator:
        os.environ.update(CPU_SWITCHES)
    prompts = json.loads((options.folder / "prompts.json").read_text(encoding="utf-8"))
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    with (
        alone(options.folder, engine, options.port) as plain,
        graph(options.folder, engine, options.accelerator, options.port + 1) as ours,
        ProcessPoolExecutor(max(1, max(options.readers) // SHARE), get_context("spawn")) as pool,
    ):
        wait_for(plain)
        counts = lengths(plain, prompts, options.tokens)
        for place in range(options.rounds + 1):  # the first warms up both, and is not counted
            for readers in options.readers:
                for name, url in (("alone", plain), ("graph", ours))[:: 1 if place % 2 else -1]:
                    got = cell(pool, url, prompts, counts, options.tokens if place else WARM_TOKENS, readers)
                    print(place, name, readers, json.dumps(got), file=sys.stderr, flush=True)
                    if place:
                        found.setdefault((name, readers), []).append(got)
    cells = {key: {k: statistics.median(one[k] for one in each) for k in each[0]} for key, each in found.items()}
    rows = [
        {
            "readers": readers,
            "graph": cells["graph", readers],
            "alone": cells["alone", readers],
            "ratio": cells["graph", readers]["tokens_s"] / cells["alone", readers]["tokens_s"],
        }
        for readers in options.readers
    ]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": options.accelerator or "CPU",
        "versions": {name: version(name) for name in ("ray", "torch", "vllm" if options.accelerator else "vllm-cpu")},
        "engine": engine,
        "tokens": options.tokens,
        "answer_tokens": statistics.mean(counts),
        "rounds": options.rounds,
        "rows": rows,
    }


def prepare(folder: Path, width: int, layers: int) -> None:
    """Write a model's shape and tokenizer, and the prompts that the assistant makes of the built-in articles."""
    from transformers import LlamaConfig

    from tests.vllm.tiny import lessons, tokenizer_of

    with tempfile.TemporaryDirectory() as index:
        taught = lessons(Path(index))
    words = tokenizer_of(taught)
    words.save_pretrained(folder)
    shape = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=7 * width // 2,
        num_hidden_layers=layers,
        num_attention_heads=width // 128,
        num_key_value_heads=max(1, width // 512),
        max_position_embeddings=4_096,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        dtype="bfloat16",
    )
    shape.save_pretrained(folder)
    (folder / "prompts.json").write_text(json.dumps([prompt for prompt, _ in taught]), encoding="utf-8")


def main() -> None:
    """Prepare a folder, or measure with one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("prepare", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--accelerator", default="", help="Ray's name of the GPU, such as H100; empty is the CPU")
    parser.add_argument("--engine", default=CPU_ENGINE)
    parser.add_argument("--readers", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=18_300)
    options = parser.parse_args()
    if options.verb == "prepare":
        prepare(options.folder, options.width, options.layers)
    else:
        print(json.dumps(measure(options), indent=2))


if __name__ == "__main__":
    main()
