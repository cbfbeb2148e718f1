"""A body that may be too large to hold, taken apart into lines while it arrives.

A line is the JSON text of one value. NDJSON has them as they come. Of a JSON document they are
the members of one of its arrays, wherever it stands in the document: what else the document
says may come behind it, so it is looked through once, and its lines wait in a file meanwhile.
"""

import codecs
import json
import re
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

from api.problems import Problem

if TYPE_CHECKING:
    from litestar.types import Receive

LINE_BYTES_MAX: Final = 64 * 1024
_PIECE_BYTES: Final = 256 * 1024
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_BLANK: Final = b" \t\r"
# An object of texts without escapes and of numbers, and the comma behind it.
_PLAIN_MEMBER: Final = re.compile(
    r"""[ \t\n\r]*(\{(?:[ \t\n\r]*"[^"\\\x00-\x1f]*"[ \t\n\r]*:[ \t\n\r]*"""
    r"""(?:"[^"\\\x00-\x1f]*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)[ \t\n\r]*"""
    r"""(?:,(?=[ \t\n\r]*")|(?=\})))+\})[ \t\n\r]*,"""
)
_IN_A_NUMBER: Final = ".eE+-0123456789"


async def body_pieces(
    receive: "Receive", headers: dict[bytes, bytes], limit: int
) -> AsyncGenerator[bytes]:
    """Yield a request's body as it arrives, at most ``limit`` bytes of it.

    Raise Problem: 413 when it is longer, by its header or by what arrives, 415 when it is
    compressed, 400 when the client went away before its end.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Problem("unsupported_media_type", "Compressed bodies are not taken; send it plain.")
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > 15 or int(length) > limit):
        raise _too_large(limit)
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("malformed_body", "The body ended early; send it whole.")
        piece = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        if piece:
            yield piece


def _too_large(limit: int) -> Problem:
    return Problem(
        "body_too_large", f"The body is longer than {limit} bytes; send less at once.", limit=limit
    )


class LineSplitter:
    """Gathers lines out of pieces of NDJSON. Lines with nothing in them do not count."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that are whole now; raise Problem (400) for one that is too long."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise _line_too_long()
        return self._checked(whole)

    def end(self) -> list[bytes]:
        """Return the line that no line feed ends, if there is one."""
        rest, self._rest = self._rest, b""
        return self._checked([rest])

    @staticmethod
    def _checked(lines: Iterable[bytes]) -> list[bytes]:
        kept = [line for line in lines if line.strip(_BLANK)]
        if any(len(line) > LINE_BYTES_MAX for line in kept):
            raise _line_too_long()
        return kept


def _line_too_long() -> Problem:
    return Problem("malformed_body", f"A line is longer than {LINE_BYTES_MAX} bytes; shorten it.")


class SpooledLines:
    """The lines of a JSON document's array, in a file without a name that goes when it closes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see close
        self.count = 0

    def add(self, line: bytes) -> None:
        """Keep a line; it must have no line feed in it."""
        self._file.write(line)
        self._file.write(b"\n")
        self.count += 1

    def pieces(self) -> Generator[bytes]:
        """Yield the lines as NDJSON, from the first one on."""
        self._file.seek(0)
        while piece := self._file.read(_PIECE_BYTES):
            yield piece

    def close(self) -> None:
        """Give the file up."""
        self._file.close()


class DocumentReader:
    """Reads a JSON object of which one member is a long array, piece by piece.

    The array's members go to ``lines`` as they stand, at most ``LINE_BYTES_MAX`` long each;
    ``has_array`` tells whether there was one. Every method raises Problem (400) for what is no
    such document.
    """

    def __init__(self, array: str, lines: SpooledLines) -> None:
        self.has_array = False
        self._members: dict[str, str] = {}
        self._array = array
        self._lines = lines
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._parsing = self._document()
        next(self._parsing)

    def feed(self, piece: bytes) -> None:
        """Read on."""
        self._text = self._text[self._at :] + self._decoded(piece)
        self._at = 0
        self._go_on()

    def end(self) -> None:
        """Take note that there is no more."""
        self._text = self._text[self._at :] + self._decoded(b"", final=True)
        self._at = 0
        self._ended = True
        self._go_on()

    def rest(self) -> bytes:
        """Return the object without the array, as JSON."""
        return ("{" + ",".join(self._members.values()) + "}").encode()

    def _decoded(self, piece: bytes, *, final: bool = False) -> str:
        try:
            return self._decoder.decode(piece, final)
        except UnicodeDecodeError:
            raise Problem("malformed_body", "The body is not UTF-8; send it as UTF-8.") from None

    def _go_on(self) -> None:
        try:
            next(self._parsing)
        except StopIteration:
            self._parsing = _nothing()
            next(self._parsing)

    def _document(self) -> Generator[None]:
        yield
        yield from self._expect("{")
        character = yield from self._look()
        if character == "}":
            self._at += 1
        while character != "}":
            name, spelling = yield from self._value()
            if not isinstance(name, str) or isinstance(name, NumberText):
                _malformed("a member has no name")
            yield from self._expect(":")
            if name == self._array:
                yield from self._members_of_array()
            elif name in self._members:
                raise _twice(name)
            else:
                _, text = yield from self._value()
                self._members[name] = f"{spelling}:{text}"
            character = yield from self._look()
            if character not in (",", "}"):
                _malformed("a comma or the object's end is missing")
            self._at += 1
        yield from self._nothing_more()

    def _members_of_array(self) -> Generator[None]:
        if self.has_array:
            raise _twice(self._array)
        self.has_array = True
        yield from self._expect("[")
        character = yield from self._look()
        if character == "]":
            self._at += 1
        while character != "]":
            self._plain_members()
            _, line = yield from self._value()
            if len(line) > LINE_BYTES_MAX:
                raise _line_too_long()
            # Within a text a line feed would have been refused: here it is but a space.
            self._lines.add(line.replace("\n", " ").encode())
            character = yield from self._look()
            if character not in (",", "]"):
                _malformed("a comma or the array's end is missing")
            self._at += 1

    def _plain_members(self) -> None:
        """Take in the flat objects that come next, each with a comma behind: most are such."""
        text, at = self._text, self._at
        while match := _PLAIN_MEMBER.match(text, at):
            line, at = match[1], match.end()
            if len(line) > LINE_BYTES_MAX:
                raise _line_too_long()
            self._lines.add(line.replace("\n", " ").encode())
        self._at = at

    def _value(self) -> Generator[None, None, tuple[Any, str]]:
        """Return the next value and the text of it."""
        yield from self._look()
        # Not tried again before there is twice as much: a value in a thousand pieces is not
        # begun a thousand times.
        enough = 0
        while True:
            while len(self._text) - self._at < enough and not self._ended:
                yield
            try:
                value, end = _decode(self._text, self._at)
            except RecursionError:
                _malformed("it is nested too deeply")
            except json.JSONDecodeError as fault:
                waiting = len(self._text) - self._at
                if self._ended or waiting > LINE_BYTES_MAX:
                    _malformed(fault.msg)
                enough = min(2 * waiting, LINE_BYTES_MAX + 1)
            else:
                if self._ended or not self._may_go_on(value, end):
                    text = self._text[self._at : end]
                    self._at = end
                    return value, text
                if end - self._at > LINE_BYTES_MAX:
                    raise _line_too_long()
                yield

    def _may_go_on(self, value: Any, end: int) -> bool:
        """Tell whether a value may have more of it in the next piece, as a number may."""
        after = self._text[end : end + 1]
        return not after or (isinstance(value, NumberText) and after in _IN_A_NUMBER)

    def _look(self) -> Generator[None, None, str]:
        """Return the next character that is no space, without passing it."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None, "nothing matches too"
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                _malformed("it ends early")
            yield

    def _expect(self, wanted: str) -> Generator[None]:
        character = yield from self._look()
        if character != wanted:
            _malformed(f"expected {wanted!r}, not {character!r}")
        self._at += 1

    def _nothing_more(self) -> Generator[None]:
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None, "nothing matches too"
            self._at = match.end()
            if self._at < len(self._text):
                _malformed("something follows the object")
            if self._ended:
                return
            yield


def _nothing() -> Generator[None]:
    while True:
        yield


def _malformed(fault: str) -> NoReturn:
    raise Problem("malformed_body", f"The body is not the JSON document wanted: {fault}.")


def _twice(name: str) -> Problem:
    # A name may hold half of a surrogate pair, which no answer could be written with.
    shown = name[:60].encode("utf-8", "replace").decode()
    return Problem("invalid_field", f"{shown}: is given twice; give it once.", field=shown)


class NumberText(str):
    """A number of a JSON document, as it was written."""

    __slots__ = ()


def _no_constant(name: str) -> NoReturn:
    _malformed(f"{name} is no JSON")


_decode: Final = json.JSONDecoder(
    parse_float=NumberText,
    parse_int=NumberText,
    parse_constant=_no_constant,
).raw_decode
