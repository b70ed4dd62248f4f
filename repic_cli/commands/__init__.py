"""One thin module per command: parse, call the engine, print. Each exposes a `typer.Typer` called `app`."""
