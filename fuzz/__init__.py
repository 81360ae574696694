"""Fuzzing: whatever bytes come, both twins answer alike, and with nothing but documented errors."""
