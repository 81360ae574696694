"""What gaesess costs, and what everything one would use instead costs."""
