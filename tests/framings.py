"""What Content-Length and Transfer-Encoding must not hold, from the literature on request smuggling.

A CVE names a server that took the value for a length, or for a coding.
"""

from __future__ import annotations

__all__ = ["REFUSED_CODINGS", "REFUSED_LENGTHS", "TOO_LARGE_LENGTHS"]

# (kind, the value of Content-Length); five bytes follow.
REFUSED_LENGTHS = (
    ("sign: CVE-2022-24761 (waitress), CVE-2021-32715 (hyper), CVE-2023-40167 (Jetty)", b"+5"),
    ("sign", b"-5"),
    ("sign of zero", b"-0"),
    ("sign of zero", b"+0"),
    ("underscore, which int() takes: CVE-2023-47627 (aiohttp)", b"0_5"),
    ("hexadecimal: CVE-2023-38697 (Falcon)", b"0x5"),
    ("octal", b"0o5"),
    ("exponent", b"5e0"),
    ("fraction", b"5.0"),
    ("blank inside", b"0 5"),
    ("blank inside", b"5 5"),
    ("tab inside", b"5\t5"),
    ("sign and blank", b"+ 5"),
    ("list of equals, one of which RFC 9112 6.3 lets a recipient take: CVE-2019-16792 (waitress)", b"5, 5"),
    ("list of equals", b"5,5"),
    ("list of equals", b"5,5,5"),
    ("list of two", b"5, 0"),
    ("list of two", b"0, 5"),
    ("list with an empty member", b"5,"),
    ("list with an empty member", b",5"),
    ("empty: CVE-2023-40225 (HAProxy), CVE-2023-40175 (puma)", b""),
    ("blank", b" \t "),
    ("word", b"five"),
    ("word behind digits", b"5B"),
    ("parameter", b"5;a"),
    ("quoted", b'"5"'),
    ("brackets", b"(5)"),
    ("leading zero: octal to some parsers", b"05"),
    ("leading zero", b"00"),
    ("leading zero: 8 to a parser that reads octal", b"010"),
    ("control byte that str.strip() drops", b"\x0b5"),
    ("control byte that str.strip() drops", b"5\x0c"),
    ("control byte that str.strip() drops", b"\x1c5"),
    ("control byte that str.strip() drops", b"5\x1f"),
    ("NUL: CVE-2023-47627 (aiohttp)", b"5\x00"),
    ("NUL", b"\x005"),
    ("no-break space of Latin-1, which str.strip() drops", b"\xa05"),
    ("next line of Latin-1, which str.strip() drops", b"5\x85"),
    ("no-break space of UTF-8", b"\xc2\xa05"),
    ("digit to str.isdigit(): superscript two of Latin-1", b"\xb2"),
    ("digit to int(): Arabic five of UTF-8", b"\xd9\xa5"),
    ("digit to int(): fullwidth five of UTF-8", b"\xef\xbc\x95"),
)

# (kind, the value of Content-Length)
TOO_LARGE_LENGTHS = (
    ("19 digits", b"1000000000000000000"),
    ("over 63 bits: negative to some parsers", b"9223372036854775813"),
    ("over 64 bits: 5 to some parsers", b"18446744073709551621"),
    ("more digits than int() takes", b"9" * 5000),
)

# (kind, the value of Transfer-Encoding); a chunked body follows.
REFUSED_CODINGS = (
    ("unknown: CVE-2024-6827 (gunicorn)", b"xchunked"),
    ("unknown", b"chunkedx"),
    ("unknown", b"chunk"),
    ("unknown", b"cow"),
    ("identity, which RFC 7230 took away: CVE-2021-33037 (Tomcat)", b"identity"),
    ("empty", b""),
    ("blank", b" \t "),
    ("no chunked: the body would have no end (RFC 9112 6.3)", b"gzip"),
    ("chunked is not the last", b"chunked, gzip"),
    ("chunked is not the last: CVE-2024-1135 (gunicorn)", b"chunked, identity"),
    ("twice chunked", b"chunked, chunked"),
    ("twice chunked", b"chunked,chunked"),
    ("two codings: CVE-2019-16786 (waitress)", b"gzip, chunked"),
    ("two codings", b"identity, chunked"),
    ("list with an empty member", b",chunked"),
    ("list with an empty member", b"chunked,"),
    ("list with an empty member", b", , chunked"),
    ("parameter (RFC 9112 7.1: none is defined)", b"chunked;a=b"),
    ("parameter", b"chunked ; q=1"),
    ("quoted", b'"chunked"'),
    ("quoted", b"'chunked'"),
    ("two words", b"chunked identity"),
    ("two words", b"x chunked"),
    ("blank inside", b"chun ked"),
    ("control byte: CVE-2019-18277 (HAProxy), CVE-2019-16789 (waitress)", b"\x0bchunked"),
    ("control byte", b"chunked\x0c"),
    ("control byte that str.strip() drops", b"\x1cchunked"),
    ("NUL", b"chunked\x00"),
    ("NUL", b"\x00chunked"),
    ("DEL", b"chunked\x7f"),
    ("no-break space of Latin-1, which str.strip() drops", b"\xa0chunked"),
    ("next line of Latin-1, which str.strip() drops", b"chunked\x85"),
    ("byte order mark", b"\xef\xbb\xbfchunked"),
    ("Kelvin sign of UTF-8, which str.lower() makes k", b"chun\xe2\x84\xaaed"),
    ("fullwidth c of UTF-8", b"\xef\xbd\x83hunked"),
    ("colon", b":chunked"),
)
