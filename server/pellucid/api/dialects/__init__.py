"""Routes of other servers' APIs, a folder per API: schema, routes and conversion."""
