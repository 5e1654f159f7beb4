"""What session affinity is worth: forebay's rules beside simpler placements, in simulated time."""
