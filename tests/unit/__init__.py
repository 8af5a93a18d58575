"""Without Ray, without sockets, in seconds."""
