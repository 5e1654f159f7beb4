"""Does anything leak: a million requests, with clients that leave, engines that fail and readers that are slow."""
