"""GPU-hours, overflow and money of forebay's scaling rule beside those of six other scalers."""
