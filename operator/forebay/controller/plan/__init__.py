"""What is to be done: actions as data, each with its reason. Pure."""
