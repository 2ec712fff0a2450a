"""HTTP: the server, its handlers, the codec."""
