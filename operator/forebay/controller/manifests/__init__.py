"""One pure builder for each object that the operator makes; None where an object is not wanted."""
