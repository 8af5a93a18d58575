"""`python -m serve_app.cli`: the command line without its installed script, as `local.bootstrap` starts it."""

from serve_app.cli import main

if __name__ == "__main__":
    main()
