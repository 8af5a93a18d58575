"""`hdx`, the command line: one file a noun, each command beside what it does.

Works with `local` for what runs on this machine, with `store` for people, and with `pipelines` for the work itself.
"""

from serve_app.cli.commands import main

__all__ = ["main"]
