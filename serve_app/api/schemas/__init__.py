"""What routes take and answer, a file a resource; `/openapi.json` is made of it, with examples that run.

Import a schema from the file that has it.
"""
