"""Access to the server: keys, users, hosts, limits, connections, error replies."""
