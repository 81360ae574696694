"""A page that shows a session live: what it holds, where it lives, and what each request does to it."""

from gaesess.demo.server import serve

__all__ = ["serve"]
