"""Does what the reader of a document does: writes its files, types its commands, starts its servers, runs its Python.

A document is Markdown, for Sphinx and for GitHub. What is to be done with a block stands before it, in a comment:

    <!-- file: app.py -->                       the block is the content of that file
    <!-- server: http://localhost:8000/ -->     the block is a command that serves there until the document ends
    <!-- skip: next "needs a Google Cloud project" -->

What is to be run and not to be read is in a comment as a whole: <!-- invisible-code-block: python ... -->
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import urlsplit

import services
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import (
    DirectiveInHTMLCommentLexer,
    FencedCodeBlockLexer,
    RawFencedCodeBlockLexer,
)
from sybil.parsers.markdown.skip import SkipParser

PORTS = ("8000", "8001", "8002")  # what documents call theirs; free ones are taken in their place
SERVER_SECONDS = 30  # in which it has to listen, on a machine that is busy
READER = "the reader"  # the name it has among those of a document's Python
SHOWN = ("text", "http")  # languages of blocks to look at
REMEMBER = """{ echo "cd '$PWD'"; export -p; }"""  # so that `cd` and variables last


T = TypeVar("T")


class Reader:
    """One reader of one document, in a directory that is empty at first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._shell = directory.with_name("shell")  # where commands are, and what they have exported
        self._ports = {port: str(services.free_port()) for port in PORTS}
        self._servers: list[subprocess.Popen[bytes]] = []
        self._next: dict[str, str] = {}
        self._entered = ExitStack()
        self._shell.write_text(f"cd '{directory}'\n")
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        # As in a new terminal: other tests have settings of theirs in the environment.
        self._environ = {name: os.environ[name] for name in ("HOME", "PYTHONPATH") if name in os.environ} | {
            "PATH": path
        }

    def enter(self, context: AbstractContextManager[T]) -> T:
        """Run what the document needs, such as a database, until it ends."""
        return self._entered.enter_context(context)

    def export(self, name: str, value: str) -> None:
        """Set a variable for the commands and for the Python of the document."""
        self._environ[name] = os.environ[name] = value

    def close(self) -> None:
        """Stop the servers."""
        for server in self._servers:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()
        self._entered.close()

    def note(self, comment: str, argument: str) -> None:
        """Remember what a comment says of the next block."""
        self._next[comment] = self._here(argument)

    def follow(self, example: Example) -> None:
        """Do what a block says."""
        language, text = example.parsed[0], self._here(example.parsed[1])
        path, url = self._next.pop("file", None), self._next.pop("server", None)
        if path is not None:
            file = self.directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif language == "python":
            os.chdir(self.directory)
            exec(compile("\n" * example.line + text, example.path, "exec"), example.namespace)
        elif language == "console" and url is not None:
            ((command, _),) = commands(text)
            self._serve(command, url)
        elif language == "console":
            for command, expected in commands(text):
                self._type(command, expected)
        else:
            assert language in SHOWN, f"a block of {language} has to be a file, or there is nothing to be done with it"

    def _here(self, text: str) -> str:
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda port: self._ports[port[0]], text)

    def _type(self, command: str, expected: str) -> None:
        last = f"status=$?; {REMEMBER} > '{self._shell}'; exit $status"
        typed = self._start(f"set -a\n{command}\n{last}", subprocess.PIPE)
        printed = typed.communicate()[0].decode()
        assert typed.returncode == 0, f"$ {command}\n{printed}\nexit status {typed.returncode}"
        assert not expected or fits(expected, printed), f"$ {command}\n{printed}\nexpected:\n{expected}"
        self.directory = Path(self._shell.read_text().split("'")[1])

    def _serve(self, command: str, url: str) -> None:
        log = self._shell.with_name(f"{len(self._servers)}.log")
        with log.open("wb") as output:
            server = self._start(command, output)
        self._servers.append(server)
        deadline = time.monotonic() + SERVER_SECONDS
        while not services.accepts(urlsplit(url).port or 80):
            ended = server.poll() is not None or time.monotonic() > deadline
            assert not ended, f"$ {command}\n{log.read_text()}\nnothing listens at {url}"
            time.sleep(0.02)

    def _start(self, script: str, output: int | IO[bytes]) -> subprocess.Popen[bytes]:
        if re.search(r"\bcurl\b", script):
            services.CURL.require()
        return subprocess.Popen(
            ["bash", "-c", f"source '{self._shell}'\n{script}"],
            env=self._environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block, with what it is to print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command = re.match(r"(.*\\\n)*.*", part)[0]
        yield command, part.removeprefix(command).strip()


def fits(expected: str, output: str) -> bool:
    """Whether the output is as expected, where `...` stands for anything, and on a line of its own for any lines."""
    lines = [line.rstrip() for line in output.strip().splitlines()]
    pattern = re.escape("\n".join(["", expected, ""])).replace(re.escape("\n...\n"), "\n(?:.*\n)*")
    return re.fullmatch(pattern.replace(re.escape("..."), ".*"), "\n".join(["", *lines, ""]), re.DOTALL) is not None


def note(example: Example) -> None:
    example.namespace[READER].note(*example.parsed)


def follow(example: Example) -> None:
    example.namespace[READER].follow(example)


def parse_comments(document: Document) -> Iterator[Region]:
    for comment in ("file", "server"):
        for found in DirectiveInHTMLCommentLexer(comment)(document):
            yield Region(found.start, found.end, (comment, found.lexemes["arguments"]), note)


def parse_blocks(document: Document) -> Iterator[Region]:
    assert not list(RawFencedCodeBlockLexer()(document)), f"{document.path} has a code block without a language"
    visible = FencedCodeBlockLexer(r"\w+", mapping={"language": "arguments", "source": "source"})
    hidden = DirectiveInHTMLCommentLexer("invisible-code-block")
    for lexer in (visible, hidden):
        for found in lexer(document):
            parsed = found.lexemes["arguments"], found.lexemes["source"]
            yield Region(found.start, found.end, parsed, follow)


DOCUMENTS = Sybil([parse_comments, parse_blocks, SkipParser()])
