"""Programs that all do the same: count per key with durable state, and write one output per input."""
