"""HTTP/1.1 on asyncio Protocols: a server, a client, and the little that both need."""
