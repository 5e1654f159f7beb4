"""What tests and benches share: fleets on loopback, routers that only answer, bytes that fool parsers."""
