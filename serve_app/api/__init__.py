"""The HTTP face: routes as plain functions, a file a resource, over the ports of `ports`."""
