"""vLLM's ``--middleware visionflow.serving.vllm.middleware.Following``: reports in headers, and shadows."""

from collections.abc import Awaitable, Callable

from visionflow.serving.exchange import CURRENT, Exchange
from visionflow.serving.shadow import Application, Message, Shadow
from visionflow.serving.vllm import metrics


class Following:
    """Follows each HTTP request through the engine, and lets its response say what was done, streamed or not."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._shadow = Shadow(app, metrics.compare)

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer one."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        exchange, body = Exchange(), []

        async def received() -> Message:
            message = await receive()
            body.append(message.get("body", b""))
            return message

        CURRENT.set(exchange)
        await self._app(scope, received, _Late(send, exchange))
        self._shadow.consider(scope, b"".join(body), exchange)


class _Late:
    """Sends a response's headers with its first words, when it is known what was done."""

    def __init__(self, send: Callable[[Message], Awaitable[None]], exchange: Exchange) -> None:
        self._send = send
        self._exchange = exchange
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            await self._send({**start, "headers": [*start["headers"], *self._exchange.headers()]})
        await self._send(message)
