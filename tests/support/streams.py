"""What a client may send that two parsers might read in two ways: streams of requests, most wrong somewhere.

A stream is made from a seed alone. Nearly right is what finds most: each place where parsers are known to differ (line
ends, white space, lengths, codings, chunks, trailers, versions) has its usual form, and now and then another one. Then
its parts (request lines, fields, empty lines, chunks, trailers) are now and then doubled, taken out, moved, exchanged
with parts of others or put into a body; and then bytes are, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH")
ODD_METHODS = (b"get", b"TRACE", b"CONNECT", b"PRI", b"G@T", b"", b"M-SEARCH", b"SOURCE", b"POST POST", b"\0GET")
ODD_TARGETS = (
    b"http://a/x", b"HTTP://b:80/x?y", b"https://a", b"*", b"//a/b", b"/a#b", b"a:80", b"/a b", b"/a\tb", b"/\x80",
    b"/a%2fb", b"/a/../b", b"/a%00", b"", b"/?", b"/a?b?c", b"http://a@b/", b"http:///x", b"/ HTTP/1.1\r\nX: y",
    b"/a\\b",
)  # fmt: skip
ODD_VERSIONS = (
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"HTTP/11",
    b"HTTP/1",
    b"",
)
ODD_ENDS = (
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b"\r\n ",
    b"\r\n\t",
    b"\x85",
    b"\r\n\r\n",
    b"",
    b" \r\n",
    b"\0\r\n",
    b"\x0b\r\n",
)
ODD_COLONS = (
    b":",
    b" : ",
    b"\t: ",
    b" :",
    b":\t",
    b":  ",
    b"",
    b"::",
    b":\x0b",
    b":\r\n ",
    b":\0",
    b"\r\n: ",
    b": \xa0",
)
LENGTHS = (b"Content-Length", b"content-length", b"CONTENT-LENGTH")
ODD_LENGTHS = (
    b"Content_Length",
    b"Content-Length\0",
    b"Content-Length ",
    b"X-Content-Length",
    b"Content-Lengt\xe8",
    b"Content-Length,",
)
ODD_VALUES = (
    b"+%d", b"-%d", b"0%d", b"%d, %d", b"%d,%d", b"%d %d", b"0x%d", b"%d.0", b"%de0", b"%d;", b"'%d'", b"\x0b%d",
    b"%d\0", b"0000000000000000000000000%d", b"1844674407370955161%d", b"9999999999999999999999%d", b"_%d", b"%d_0",
    b"",
)  # fmt: skip
CODINGS = (b"Transfer-Encoding", b"transfer-encoding", b"TRANSFER-ENCODING", b"tRANSFER-eNCODING")
ODD_CODINGS = (
    b"Transfer_Encoding",
    b"Transfer-Encoding ",
    b"Transfer-Encodin\xe7",
    b"X-Transfer-Encoding",
    b"TE",
    b"Transfer-Encoding\x0b",
)
ODD_CHUNKED = (
    b"Chunked", b"CHUNKED", b"chunked ", b"chunked\t", b"\tchunked", b"xchunked", b"chunkedx", b"chunked, chunked",
    b"chunked,", b",chunked", b"gzip, chunked", b"chunked, gzip", b"identity", b"identity, chunked", b'"chunked"', b"",
    b"chunked;q=1", b"\x0bchunked", b"chun\0ked", b"chunked\r\n ,gzip", b"chunked\xa0", b"chunked, identity",
    b"ch\xc3\xbcnked",
)  # fmt: skip
ODD_FIELDS = (
    b"Connection: close", b"Connection: keep-alive", b"Connection: keep-alive, close", b"Connection: close, x",
    b"Connection: Close",
    b"Connection: content-length", b"Connection: transfer-encoding", b"Connection: host",
    b"Connection: upgrade\r\nUpgrade: h2c",
    b"Connection: Upgrade\r\nUpgrade: websocket", b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: x", b"Host: b",
    b"Host:", b"host: a", b"X", b": x", b"X: \0", b"X: \x7f", b"X: a\rb", b"X: a\nY: b", b" X: y", b"X: \xff\xfe",
    b"Trailer: X",
    b"X(: y", b"X\xe9: y", b"Proxy-Connection: close", b"Keep-Alive: timeout=1", b"TE: trailers",
    b"HTTP2-Settings: AAMAAABk",
    b"Connection: Upgrade\r\nUpgrade: h2c, websocket", b"Connection: upgrade, close\r\nUpgrade: TLS/1.0",
    b"Connection: x-forwarded-for, via", b"Connection: expect", b"Connection: te, x", b"Connection: ,", b"Connection:",
    b"Content-Length: 0", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
    b"Expect: 100-Continue", b"Max-Forwards: 0", b"Range: bytes=0-1", b"X-Forwarded-For: 6.6.6.6",
    b"Content-Encoding: gzip", b"X: " + b"y" * 300, b"GET / HTTP/1.1",
)  # fmt: skip
ODD_SIZES = (
    b"0x%x", b"+%x", b"-%x", b" %x", b"%x ", b"\t%x", b"%x\t", b"0%x", b"000000000000%x", b"%x;", b"%x;a", b"%x;a=b",
    b'%x;a="b\r\n"', b"%x;a\nb", b"%x;a\rb", b"%x ;a=b", b"%x,", b"%xg", b"10000000000000000%x",
    b"fffffffffffffff%x", b"%x;\0",
    b"%x;" + b"e" * 100, b"", b"\xa0%x", b"%x\x0b", b"_%x",
)  # fmt: skip
TRAILERS = (
    b"X: y\r\n",
    b"Content-Length: 9\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"X-Forwarded-For: 6.6.6.6\r\n",
)
ODD_TRAILERS = (
    b"X\r\n",
    b": y\r\n",
    b" y\r\n",
    b"X : y\r\n",
    b"X: y\n",
    b"X: \0\r\n",
    b"X: y\r",
    b"GET /t HTTP/1.1\r\n",
    b"\n",
    b"\r",
)
INSIDE = (
    b"",
    b"a",
    b"hello",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"GET /inside HTTP/1.1\r\nHost: a\r\n\r\n",
    b"x" * 40,
    b"5\r\nhello\r\n0\r\n\r\n",
)
BYTES = b'\0\t\n\x0b\r !"#%+,-./0159:;=?@AZ_az|\x7f\x80\x85\xa0\xff'


class Stream:
    """Makes one.

    Attributes:
        data: what the client sends.

        pieces: the same as it arrives.
    """

    def __init__(self, seed: int) -> None:
        self._rng = rng = Random(seed)
        self._draw = rng.random
        self._odd = (0.0, 0.02, 0.05, 0.15)[seed & 3]
        parts: list[bytes] = []
        for number in range(1 + int(3 * self._draw())):
            self._request(number, parts)
        if self._draw() < 0.3:
            for _ in range(1 + int(3 * self._draw())):
                self._rebuild(parts)
        data = b"".join(parts)
        if self._draw() < 0.3:
            for _ in range(1 + int(3 * self._draw())):
                data = self._changed(data)
        self.data = data
        self.pieces = self._cut(data)

    def _any(self, of: Sequence[bytes]) -> bytes:
        return of[int(len(of) * self._draw())]  # half the time of choice()

    def _one(self, usual: Sequence[bytes], odd: Sequence[bytes]) -> bytes:
        return self._any(odd if self._odd and self._draw() < self._odd else usual)

    def _end(self) -> bytes:
        return self._one((b"\r\n",), ODD_ENDS)

    def _request(self, number: int, parts: list[bytes]) -> None:
        draw = self._draw
        line = self._one((b"",), (b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\r", b"\0"))
        line += self._one(METHODS, ODD_METHODS) + self._one((b" ",), (b"  ", b"\t", b""))
        line += self._one((b"/%d" % number,), ODD_TARGETS) + self._one((b" ",), (b"  ", b"\t", b""))
        parts.append(line + self._one((b"HTTP/1.1",), ODD_VERSIONS) + self._end())
        fields = [
            self._field(
                self._one((b"Host",), (b"host", b"Hos\0t", b"Host ")), self._one((b"a",), (b"b:80", b"", b"a,b"))
            )
        ]
        body = self._any(INSIDE)
        chunks: list[bytes] = []
        kind = (0, 1, 1, 2, 2, 3)[int(6 * draw())]
        if kind & 1:
            fields.append(self._length(len(body)))
        if kind & 2:
            fields.append(self._field(self._one(CODINGS, ODD_CODINGS), self._one((b"chunked",), ODD_CHUNKED)))
            self._chunks(body, chunks)
            if kind == 3 and draw() < 0.9:  # both are refused at once, and nothing more is seen
                del fields[1 if draw() < 0.5 else 2]
        elif kind or draw() < 0.1:
            chunks.append(body)
        if draw() < self._odd:
            fields.append(self._length(len(body)) if draw() < 0.5 else self._field(self._any(CODINGS), b"chunked"))
        if draw() < 4 * self._odd:
            fields.append(self._any(ODD_FIELDS) + self._end())
        self._rng.shuffle(fields)
        parts += fields
        parts.append(self._end())
        parts += chunks

    def _field(self, name: bytes, value: bytes) -> bytes:
        return name + self._one((b": ", b":"), ODD_COLONS) + value + self._end()

    def _length(self, length: int) -> bytes:
        if self._draw() < self._odd:
            length += self._rng.randint(-2, 2)
        value = self._one((b"%d",), ODD_VALUES)
        return self._field(self._one(LENGTHS, ODD_LENGTHS), value.replace(b"%d", b"%d" % length))

    def _chunks(self, body: bytes, parts: list[bytes]) -> None:
        start = 0
        while start < len(body):
            piece = body[start : start + 1 + int(len(body) * self._draw())]
            start += len(piece)
            parts.append(self._size(len(piece)))
            parts.append(piece + self._end())
        parts.append(self._size(0))
        parts += [self._one(TRAILERS, ODD_TRAILERS) for _ in range((0, 0, 0, 1, 2)[int(5 * self._draw())])]
        parts.append(self._end())

    def _rebuild(self, parts: list[bytes]) -> None:
        """Change the order, the number or the company of the parts."""
        rng = self._rng
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(10):
            case 0:
                parts.insert(other, parts[at])
            case 1 if len(parts) > 1:
                del parts[at]
            case 2:
                parts[at], parts[other] = parts[other], parts[at]
            case 3:
                parts[at] = self._any(ODD_FIELDS) + b"\r\n"
            case 4:
                parts.insert(at, self._any(ODD_FIELDS) + b"\r\n")
            case 5:  # another request begins, or nearly
                begun: list[bytes] = []
                self._request(8, begun)
                parts[at:at] = begun[: 1 + rng.randrange(len(begun))]
            case 6:  # it ends early
                del parts[at + 1 :]
            case 7:  # the rest, once more in chunks
                rest = b"".join(parts[at:])
                del parts[at:]
                self._chunks(rest, parts)
            case 8:
                parts[at] = parts[at].replace(b"\r\n", self._any(ODD_ENDS))
            case _:
                name, colon, value = parts[at].partition(b":")
                parts[at] = (name.swapcase() if rng.random() < 0.5 else name.title()) + colon + value

    def _size(self, size: int) -> bytes:
        if self._draw() < self._odd / 2:
            size += self._rng.randint(-1, 2)
        return self._one((b"%x", b"%x", b"%X", b"%x;a=b"), ODD_SIZES).replace(b"%x", b"%x" % size).replace(
            b"%X", b"%X" % size
        ) + self._end()  # fmt: skip

    def _changed(self, data: bytes) -> bytes:
        rng = self._rng
        at, length = rng.randint(0, len(data)), rng.randint(1, 8)
        match rng.randint(0, 4):
            case 0:
                return data[:at] + bytes([rng.choice(BYTES)]) + data[at:]
            case 1:
                return data[:at] + data[at + length :]
            case 2:
                return data[:at] + bytes([rng.choice(BYTES)]) + data[at + 1 :]
            case 3:
                return data[: at + length] + data[at:]
            case _:
                other = rng.randint(0, len(data))
                return data[:at] + data[other : other + 4 * length] + data[at:]

    def _cut(self, data: bytes) -> list[bytes]:
        rng = self._rng
        if rng.random() < 0.5:
            return [data]
        if rng.random() < 0.04:
            return [data[at : at + 1] for at in range(len(data))]
        cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(1, 5)))
        pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        return [piece for piece in pieces if piece]
