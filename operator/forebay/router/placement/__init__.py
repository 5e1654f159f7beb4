"""Which replica gets a request: who has slots, who waits, who is offered a freed one, who forwards."""
