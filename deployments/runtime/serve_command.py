"""`serve`: Ray's own command, which finds the token and the port of Ray in `.env` as `hdx` does."""

import os

from configs.settings import environment

# What Ray calls what `.env` names: its token, and where its dashboard answers. Source: Ray's manuals of both.
TOKEN, MODE, ADDRESS = "RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_DASHBOARD_ADDRESS"


def main() -> None:
    """Run Ray's command; what its own names say in the environment counts."""
    known = environment()
    if (token := known.get("HDX_RAY_AUTH_TOKEN")) and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault(MODE, "token")
        os.environ.setdefault(TOKEN, token)
    if port := known.get("HDX_DASHBOARD_PORT"):
        os.environ.setdefault(ADDRESS, f"http://127.0.0.1:{port}")
    from ray.serve.scripts import cli  # reads the environment when it is imported

    cli()
