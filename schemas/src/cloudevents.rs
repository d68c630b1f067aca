//! CloudEvents 1.0: structured and binary content mode.
