"""The controller: observe, decide, record, apply, on a clock."""
