"""Cookie headers, and the tokens in them."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

from vectors import answers, today
from vectors.answers import Vector
from vectors.make.forge import forged
from vectors.make.tokens import ENCRYPTED, EXPIRES, SIGNED, TOKEN
from vectors.notation import without

NAME = TOKEN["cookie_name"]
DEFAULTS = TOKEN | {"now": EXPIRES - 1}
LONG = {"payload": "5a*300", "chunks": 3}
ALPHABET = ascii_uppercase + ascii_lowercase + digits + "-_"


def content() -> dict[str, Any]:
    vectors = [*signed(), *chunks(), *of_each_count(), *encrypted(), *of_retired_keys()]
    return {
        "about": "The token in a Cookie header: fields that differ from `defaults`, and how many names it takes.",
        "defaults": DEFAULTS,
        "headers": [vector | {"found": found(vector)} for vector in vectors],
    }


def found(vector: Vector) -> Any:
    result = answers.found(DEFAULTS | vector)
    return result and without(DEFAULTS, result)


def text(vector: Vector) -> str:
    return today.text_of_token(forged(DEFAULTS | vector))


def cut(token: str, sizes: list[int]) -> list[str]:
    """Return cookies of these sizes, and one with the rest."""
    parts = []
    for size in [*sizes, len(token)]:
        parts.append(token[:size])
        token = token[size:]
    return [f"{NAME}.{number}={part}" if number else f"{NAME}={part}" for number, part in enumerate(parts)]


def signed() -> Iterator[Vector]:
    token = text({})
    headers = {
        "alone": f"{NAME}={token}",
        "the first of others": f"{NAME}={token}; theme=dark; lang=en",
        "the last of others": f"theme=dark; lang=en; {NAME}={token}",
        "among others": f"theme=dark; {NAME}={token}; lang=en",
        "no space after the semicolon": f"theme=dark;{NAME}={token};lang=en",
        "spaces and tabs before the name": f"theme=dark;  \t {NAME}={token}",
        "spaces at the start": f"  {NAME}={token}",
        "semicolons around": f";; ;{NAME}={token};;",
        "a pair without a name before": f"=x; {NAME}={token}",
        "a pair without a value before": f"theme; {NAME}={token}",
        "our name without a value before": f"{NAME}; {NAME}={token}",
        "our name in another's value": f"theme={NAME}={token}; {NAME}={token}",
        "our name at the end of another's": f"x{NAME}=x; {NAME}={token}",
        "our name at the start of another's": f"{NAME}x=x; {NAME}={token}",
        "our name in other letters": f"{NAME.lower()}=x; {NAME.upper()}=x; {NAME}={token}",
        "quotes in another's value": f'theme="a; {NAME}={token}',
        "controls in others": f"a=\x01\x7f\0; {NAME}={token}",
        "Latin-1 in others": f"\xe4\xf6=\xfc\xff; {NAME}={token}",
        "beyond Latin-1 in others": f"\u65e5\u672c=\U0001f36a\ud800; {NAME}={token}",
        "beyond Latin-1 after": f"{NAME}={token}; \u65e5=\u672c",
        "names that are like a chunk's": f"{NAME}={token}; {NAME}.0=x; {NAME}.01=x; {NAME}.20=x; {NAME}.x=x; {NAME}.=x",
        "more of those": f"{NAME}={token}; {NAME}.1x=x; {NAME}.-1=x; {NAME}.1.1=x; {NAME}.\uff11=x; {NAME}. 1=x",
        "a chunk left over": f"{NAME}={token}; {NAME}.1=x",
        "chunks left over": f"{NAME}.2=; {NAME}={token}; {NAME}.1=x; {NAME}.3=x",
        "other cookies only": "theme=dark; lang=en",
        "nothing": "",
        "another name only": f"gaesess={token}",
        "our name in another's value only": f"theme={NAME}={token}",
        "our name in other letters only": f"{NAME.lower()}={token}",
        "a space before the equals sign": f"{NAME} ={token}",
        "after a line feed": f"theme=dark;\n{NAME}={token}",
        "after a no-break space": f"theme=dark;\xa0{NAME}={token}",
        "chunks without the first": f"{NAME}.1=x; {NAME}.2=x",
        "twice the same": f"{NAME}={token}; {NAME}={token}",
        "twice, and the second is empty": f"{NAME}={token}; {NAME}=",
        "a chunk left over twice": f"{NAME}={token}; {NAME}.1=x; {NAME}.1=x",
        "a chunk left over twice, and no first": f"{NAME}.1=x; {NAME}.1=x",
        "empty": f"{NAME}=",
        "a space before the value": f"{NAME}= {token}",
        "a space after the value": f"{NAME}={token} ",
        "a tab after the value": f"{NAME}={token}\t; theme=dark",
        "quotes": f'{NAME}="{token}"',
        "an equals sign after the value": f"{NAME}={token}=",
        "a character too few": f"{NAME}={token[:-1]}",
        "a character too many": f"{NAME}={token}A",
        "four characters too many": f"{NAME}={token}AAAA",
        "three characters": f"{NAME}={token[:3]}",
        "the characters of the suite, the key and the flags": f"{NAME}={token[:4]}",
        "eight characters": f"{NAME}={token[:8]}",
        "percent signs": f"{NAME}=%49{token[1:]}",
        "beyond ASCII in the value": f"{NAME}={token[:-1]}\xff",
        "beyond Latin-1 in the value": f"{NAME}={token[:-1]}\u20ac",
        "a lone surrogate in the value": f"{NAME}={token[:-1]}\ud800",
        "NUL in the value": f"{NAME}={token[:-1]}\0",
        "a line feed in the value": f"{NAME}={token[:40]}\n{token[40:]}",
        "no token": f"{NAME}=garbage-garbage-garbage-garbage",
        "of a token that takes no cookie": f"{NAME}={text({'chunks': 0})}",
        "of a token that takes 21": f"{NAME}={text({'chunks': 21})}",
        "of a token that takes two, the second missing": f"{NAME}={text({'chunks': 2})}",
        "a bit of its tag is flipped": f"{NAME}={token[:-2]}{'A' if token[-2] != 'A' else 'B'}{token[-1]}",
        "in the standard alphabet of base64": f"{NAME}={text({'sid': 'fb*16'}).replace('-', '+')}",
        "in base64url, and these characters in it": f"{NAME}={text({'sid': 'fb*16'})}",
        "expired": f"{NAME}={text({'expires': EXPIRES - 1})}",
    }
    for size in (4, 5, 6):  # bytes: so that the last group of four characters has each number of them
        headers[f"with {size} bytes of payload"] = f"{NAME}={text({'payload': f'5a*{size}'})}"
    for size in (4, 6):
        headers[f"with {size} bytes of payload, in another spelling"] = (
            f"{NAME}={respelled(text({'payload': f'5a*{size}'}))}"
        )
    yield from ({"what": what, "header": header} for what, header in headers.items())


def respelled(token: str) -> str:
    """Return base64url that differs in a bit that belongs to no byte."""
    return token[:-1] + ALPHABET[ALPHABET.index(token[-1]) ^ 1]


def chunks() -> Iterator[Vector]:
    first, second, third = pieces = cut(text(LONG), [200, 200])
    more = f"{NAME}.3=x"
    headers = {
        "three chunks": pieces,
        "in another order": [third, first, second],
        "in reverse, among others": ["a=b", third, "c=d", second, "e=f", first, "g=h"],
        "of different sizes": cut(text(LONG), [8, 1]),
        "the first of six characters": cut(text(LONG), [6, 300]),
        "an empty one": cut(text(LONG), [200, 0]),
        "an empty last one": cut(text(LONG), [300, 229]),
        "left over": [*pieces, more],
        "left over, first": [more, *pieces],
        "two chunks in each other's place": [first, second.replace(".1=", ".2="), third.replace(".2=", ".1=")],
        "the first missing": [second, third],
        "the second missing": [first, third],
        "the third missing": [first, second],
        "the first alone": [first],
        "the first twice": [first, second, third, first],
        "the third twice": [first, second, third, third],
        "the third twice, and no first": [second, third, third],
        "the second of another token": [first, cut(text(LONG | {"revision": 8}), [200, 200])[1], third],
        "the first of five characters": cut(text(LONG), [5, 300]),
        "the first one is empty": cut(text(LONG), [0, 300]),
        "a space at the end of the first": [f"{first} ", second, third],
        "beyond Latin-1 in others": [first, "\u65e5=\u672c", second, third],
    }
    for what, found_pieces in headers.items():
        yield {"what": f"in chunks: {what}", "header": "; ".join(found_pieces)}


def of_each_count() -> Iterator[Vector]:
    for count in range(2, 21):
        token = text({"chunks": count})
        pieces = cut(token, [8, *[4] * (count - 2)])
        yield {"what": f"in {count} chunks", "header": "; ".join(pieces)}
        yield {"what": f"in {count} chunks of which the last is missing", "header": "; ".join(pieces[:-1])}


def encrypted() -> Iterator[Vector]:
    for vector in ({}, {"flags": "POINTER RECORDED", "payload": ""}):
        yield {"what": "encrypted", **ENCRYPTED, "header": f"{NAME}={text(ENCRYPTED | vector)}"}
    pieces = cut(text(ENCRYPTED | {"chunks": 2}), [40])
    yield {"what": "encrypted, in two chunks", **ENCRYPTED, "header": "; ".join(pieces)}
    yield {"what": "encrypted, for keys that sign", "header": f"{NAME}={text(ENCRYPTED)}"}
    yield {"what": "signed, for keys that encrypt", "encrypt": True, "header": f"{NAME}={text({})}"}


def of_retired_keys() -> Iterator[Vector]:
    for suite in (SIGNED, ENCRYPTED):
        header = f"{NAME}={text(suite | {'cookie_key': 'OLD_KEY'})}"
        yield {"what": "of a retired key", **suite, "retired_keys": ["bytes(range(32))", "OLD_KEY"], "header": header}
        yield {"what": "of no key", **suite, "retired_keys": ["bytes(range(32))"], "header": header}
