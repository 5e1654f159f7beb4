"""What a user writes and the operator sends: custom resources, the routing table, reports, and every shared name."""
