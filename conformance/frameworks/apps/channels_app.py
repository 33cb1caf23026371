"""Django's consumers are called back, so that they say in their own way what behaviours.py says."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, AsyncIterator, Optional
from urllib.parse import parse_qsl

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="none", MIDDLEWARE=[f"{__name__}.add_header"]
)
django.setup()

from channels.exceptions import DenyConnection  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from . import LONG_REASON, behaviours  # noqa: E402
from .seen import note, watch  # noqa: E402


class Behave(AsyncWebsocketConsumer):
    _pushing: Optional[asyncio.Task[None]] = None

    async def connect(self) -> None:
        self.name = self.scope["url_route"]["kwargs"]["name"]
        if self.name == "refuse-1008":
            await self.close(1008, "not today")
        elif self.name == "refuse-403":
            await self.close(code=403)
        elif self.name == "refuse-4003":
            await self.close(4003, 4 * LONG_REASON)
        elif self.name == "deny":
            raise DenyConnection
        elif self.name == "fail-early":
            raise RuntimeError("on purpose")
        elif self.name == "accept-late":
            await asyncio.sleep(0.3)
            await watch(self.accept())
        else:
            await self.accept("chat" if self.name == "choose" else None)
            await self.begin()

    async def begin(self) -> None:
        if self.name == "close":
            await watch(self.close(4000, LONG_REASON))
        elif self.name == "fail":
            raise RuntimeError("on purpose")
        elif self.name == "push":
            self._pushing = asyncio.ensure_future(self.push())
        elif self.name == "choose":
            await self.send("chosen")

    async def push(self) -> None:
        try:
            while True:
                await self.send("tick")
                await asyncio.sleep(0.05)
        finally:
            note("push ends")

    async def receive(self, text_data: Optional[str] = None, bytes_data: Optional[bytes] = None) -> None:
        note(f"got {text_data!r} {bytes_data!r}")
        if self.name == "leave":
            sys.exit(3)
        if self.name == "leave-in-task":
            await asyncio.ensure_future(behaviours.exit_later())
        await self.send(text_data, bytes_data)

    async def disconnect(self, code: int) -> None:
        note(f"disconnect {code}")
        await watch(self.clean_up(code))

    async def clean_up(self, code: int) -> None:
        if self._pushing is not None:
            self._pushing.cancel()
        if self.name == "close-again":
            await self.close(code, LONG_REASON)
        if self.name == "clean-up":
            await asyncio.sleep(0.5)
            note("cleaned up")


class EchoInThread(WebsocketConsumer):
    def receive(self, text_data: Optional[str] = None, bytes_data: Optional[bytes] = None) -> None:
        note(f"got {text_data!r} {bytes_data!r}")
        self.send(text_data, bytes_data)

    def disconnect(self, code: int) -> None:
        note(f"disconnect {code}")
        note("ends")


class TellScope(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept(headers=[(b"x-room", b"kitchen")])
        query = dict(parse_qsl(self.scope["query_string"].decode()))
        headers = dict(self.scope["headers"])
        item = self.scope["url_route"]["kwargs"]["item"]
        cookie = headers.get(b"cookie", b"").decode().partition("c=")[2]
        await self.send(
            behaviours.describe_request(item, query.get("q"), headers.get(b"x-test", b"").decode(), cookie)
        )
        await self.close()


def add_header(get_response: Any) -> Any:
    from asgiref.sync import markcoroutinefunction

    async def middleware(request: HttpRequest) -> Any:
        response = await get_response(request)
        response["x-middleware"] = "passed"
        return response

    markcoroutinefunction(middleware)
    return middleware


add_header.async_capable = True  # type: ignore[attr-defined]
add_header.sync_capable = False  # type: ignore[attr-defined]


async def tell_request(request: HttpRequest, item: str) -> HttpResponse:
    described = behaviours.describe_request(
        item, request.GET.get("q"), request.headers.get("x-test"), request.COOKIES.get("c")
    )
    return HttpResponse(described, content_type="text/plain; charset=utf-8")


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(behaviours.stream(), content_type="text/plain")


async def read_json(request: HttpRequest) -> HttpResponse:
    if request.method == "DELETE":
        return HttpResponse(status=204)
    return JsonResponse(behaviours.describe_json(str(request.method), json.loads(request.body)))


async def read_form(request: HttpRequest) -> HttpResponse:
    fields = [(name, value) for name, values in request.POST.lists() for value in values]
    files = [
        behaviours.tally_file(name, file.name, file.content_type, file.read())
        for name, several in request.FILES.lists()
        for file in several
    ]
    return JsonResponse(behaviours.describe_form(fields, files))


async def upload(request: HttpRequest) -> HttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while piece := request.read(64 * 1024):
            yield piece

    return HttpResponse(await behaviours.take(pieces()))


async def download(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(behaviours.give())


async def ignore(request: HttpRequest) -> HttpResponse:
    return HttpResponse("later", status=202)


urlpatterns = [
    path("page/<item>", tell_request),
    path("stream", stream),
    path("json", read_json),
    path("form", read_form),
    path("upload", upload),
    path("download", download),
    path("ignore", ignore),
]

consumers = [
    re_path("^ws/echo-in-thread$", EchoInThread.as_asgi()),
    re_path("^ws/(?P<name>[^/]+)$", Behave.as_asgi()),
    re_path("^scope/(?P<item>[^/]+)$", TellScope.as_asgi()),
]
app = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": URLRouter(consumers)})
