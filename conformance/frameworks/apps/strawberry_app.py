from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any, AsyncGenerator, AsyncIterator

import strawberry
from starlette.applications import Starlette
from strawberry.asgi import GraphQL
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_WS_PROTOCOL

from .seen import describe, note

page = ["page"]


@strawberry.type
class Query:
    @strawberry.field
    def page(self) -> str:
        return page[0] if len(page) == 1 else page.pop()


@strawberry.type
class Mutation:
    @strawberry.mutation
    def write(self, text: str) -> str:
        page.append(text)
        return text


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def echo(self, text: str) -> AsyncGenerator[str, None]:
        yield text

    @strawberry.subscription
    async def push(self) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "tick"
                await asyncio.sleep(0.05)
        except BaseException as error:
            note(f"ends with {describe(error)}")
            raise

    @strawberry.subscription
    async def fail(self) -> AsyncGenerator[str, None]:
        yield "soon"
        raise RuntimeError("on purpose")

    @strawberry.subscription
    async def leave(self) -> AsyncGenerator[str, None]:
        yield "soon"
        sys.exit(3)


class Guarded(GraphQL[Any, Any]):
    async def on_ws_connect(self, context: Any) -> Any:
        raise strawberry.exceptions.ConnectionRejectionError({"reason": "not today"})


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    note("shutdown")


schema = strawberry.Schema(Query, Mutation, subscription=Subscription)
protocols = [GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_WS_PROTOCOL]
app = Starlette(lifespan=lifespan)
app.mount("/graphql", GraphQL(schema, subscription_protocols=protocols))
app.mount("/guarded", Guarded(schema))
