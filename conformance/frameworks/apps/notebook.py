"""The notebook of marimo_app.py: a button, and a cell that counts its clicks."""

import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    return (mo,)


@app.cell
def _(mo):
    button = mo.ui.button(value=0, on_click=lambda value: value + 1, label="Count")
    text = mo.ui.text(label="Name")
    mo.vstack([button, text])
    return button, text


@app.cell
def _(button, mo, text):
    mo.md(f"Clicked {button.value} times by {text.value or 'nobody'}.")
    return


if __name__ == "__main__":
    app.run()
