"""The server process: assemble, listen, shut down in order."""
