"""The HTTP front end: FastAPI and uvicorn.

The engine calls back from its own thread; everything here happens on the event loop.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from server import counters
from server.config import Config
from server.engine import Engine
from server.protocol import Answer, BadRequest, Call, error_body, parse_call
from server.tokens import Tokens

MAX_BODY = 4 * 2**20
Event = tuple[list[int], str | None]


def serve(config: Config, engine: Engine, tokens: Tokens) -> None:
    """Serve until SIGTERM or SIGINT."""
    uvicorn.run(
        build_app(config, engine, tokens),
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )


def build_app(config: Config, engine: Engine, tokens: Tokens) -> FastAPI:
    app = FastAPI(openapi_url=None)
    model_name = config.model_dir.name

    @app.get("/health")
    async def health() -> dict[str, object]:
        return {
            "status": "ready",
            "commit": config.commit,
            "dtype": engine.dtype,
            **counters.notes(),
            "counters": counters.snapshot(),
        }

    @app.get("/v1/models")
    async def models() -> dict[str, object]:
        return {"object": "list", "data": [{"id": model_name, "object": "model", "owned_by": "local"}]}

    @app.post("/v1/completions")
    async def completions(http: Request) -> Response:
        return await answer(http, chat=False)

    @app.post("/v1/chat/completions")
    async def chat_completions(http: Request) -> Response:
        return await answer(http, chat=True)

    async def answer(http: Request, *, chat: bool) -> Response:
        call = parse_call(await body_of(http), chat=chat, tokens=tokens, max_len=engine.max_len)
        if call.stream:
            return StreamingResponse(stream(engine, tokens, call), media_type="text/event-stream")
        return await whole(http, engine, tokens, call)

    @app.exception_handler(BadRequest)
    async def bad_request(_: Request, error: BadRequest) -> JSONResponse:
        return JSONResponse(error_body(str(error), error.status, error.param, error.code), error.status)

    @app.exception_handler(HTTPException)
    async def no_such_route(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body(str(error.detail), error.status_code), error.status_code)

    return app


async def body_of(http: Request) -> bytes:
    body = b""
    async for part in http.stream():
        body += part
        if len(body) > MAX_BODY:
            raise BadRequest("the body is too large", status=413)
    return body


async def events(engine: Engine, call: Call) -> AsyncGenerator[Event, None]:
    """What the engine says about one request, until the answer is complete; leaving early cancels it."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Event] = asyncio.Queue()
    ticket = engine.submit(
        call.request, lambda ids, finish: loop.call_soon_threadsafe(arrived.put_nowait, (ids, finish))
    )
    try:
        finish = None
        while finish is None:
            ids, finish = await arrived.get()
            yield ids, finish
    finally:
        engine.cancel(ticket)


# region: http.stream
async def stream(engine: Engine, tokens: Tokens, call: Call) -> AsyncIterator[bytes]:
    """One server-sent event per token."""
    answer = Answer(call, tokens)
    async with aclosing(events(engine, call)) as arriving:
        async for ids, finish in arriving:
            text = answer.push(ids, finish)
            yield answer.chunk(ids, text)
            if answer.finish:
                break
    yield answer.end()


# endregion: http.stream


async def whole(http: Request, engine: Engine, tokens: Tokens, call: Call) -> Response:
    answer = Answer(call, tokens)

    async def collect() -> None:
        async with aclosing(events(engine, call)) as arriving:
            async for ids, finish in arriving:
                answer.push(ids, finish)
                if answer.finish:
                    break

    work = asyncio.ensure_future(collect())
    while not work.done():
        await asyncio.wait([work], timeout=0.25)
        if not work.done() and await http.is_disconnected():
            work.cancel()
            return Response(status_code=499)
    work.result()
    if answer.finish == "error":
        return JSONResponse(error_body("the engine failed on this request", 500), 500)
    return JSONResponse(answer.whole())
