"""A page of NiceGUI with a button, a field, and an upload."""

from __future__ import annotations

from fastapi import FastAPI
from nicegui import events, ui

from .seen import note

app = FastAPI()


@ui.page("/")
def show_page() -> None:
    label = ui.label("nothing yet")
    ui.button("Count", on_click=lambda: label.set_text("clicked"))
    name = ui.input("Name")
    ui.label().bind_text_from(name, "value", lambda value: f"Hello, {value}!")

    async def take(event: events.UploadEventArguments) -> None:
        content = await event.file.read()
        note(f"got {event.file.name}, {len(content)} bytes")
        label.set_text(f"{event.file.name}, {len(content)} bytes")

    ui.upload(on_upload=take, auto_upload=True)


ui.run_with(app, show_welcome_message=False)
