"""What foreign text may hold in the hope that a terminal, a screen library or a reader obeys it: more than 200 of them."""

from __future__ import annotations

from collections.abc import Iterator

ESC, BEL, ST = "\x1b", "\x07", "\x1b\\"
CSI_8BIT, OSC_8BIT, DCS_8BIT, ST_8BIT = "\x9b", "\x9d", "\x90", "\x9c"

_CSI = (
    "2J", "3J", "H", "1;1H", "99A", "99D", "K", "2K", "1L", "99M", "?25l", "?25h", "?1049h", "?1049l", "?1000h",
    "?1003h", "?1006h", "?2004h", "?5h", "?47h", "6n", "5n", "c", ">c", "=c", "0q", "18t", "21t", "8;1;1t", "20t", "!p",
    "31m", "8m", "0m", "38;2;0;0;0m", "4:3m", "1000b", "s", "u", ">4;2m", "?u", ">1u", "<u", '"p', '61"p', "4h", "20h",
    "12l", "r", "1;2r", "@", "9999P", "5 q", "?2026h", "1;2'z", "3g", "i", "5i", "4i", "?10n", "x", "1$}", "0$~",
)  # fmt: skip
_OSC = (
    "0;owned", "1;owned", "2;owned", "4;0;#000000", "4;0;?", "7;file:///etc", "8;;http://x.invalid", "9;owned", "9;4;1;50",
    "10;?", "11;#ff0000", "11;?", "12;?", "17;?", "50;font", "52;c;ZXZpbA==", "52;c;?", "104", "110", "112", "133;A",
    "133;C", "633;E;rm -rf ~", "697;x", "777;notify;a;b", "1337;File=name=YQ==;inline=1:AAAA", "1337;ClearScrollback",
    "1337;SetUserVar=a=Yg==", "1337;RequestUpload=format=tgz", "5522;type=read", "99;i=1;x", "176;x",
)  # fmt: skip
_STRINGS = ('$q"p', "+q544e", "q#0;2;0;0;0#0~", "1$r0m", "tmux;\x1b\x1b]52;c;x\x07", "{|owned")
_SINGLE = (
    "7",
    "8",
    "c",
    "D",
    "E",
    "M",
    "H",
    "=",
    ">",
    "Z",
    "N",
    "O",
    "n",
    "|",
    "}",
    "~",
    "l",
    "m",
    "#8",
    "(0",
    ")B",
    "%G",
    " F",
    "V",
    "W",
)
_MARKUP = (
    "[@click=app.injected]press[/]", "[@click=app.quit]press[/]", "[@click=screen.dismiss]x[/]", "[@click=app.injected('a')]x[/]",
    "[@mouse.down=app.injected]x[/]", "[link=http://x.invalid]x[/link]", "[link='javascript:x']x[/]", "[bold]", "[/]",
    "[/bold]", "[red on red]x", "[$error]x", "[[", "]]", "[", "[]", "[/][/][/]", "[@click=", "[on red", "[bold not bold]x[/x]",
    "\\[", "[#ffffff]x", "[@click=app.bell()]x[/]", "[reverse]x[/reverse]", ":skull:", "[dim]x", "[auto]x", "[link=]x",
)  # fmt: skip
_CONTROLS = tuple(chr(code) for code in (*range(0x09), *range(0x0B, 0x20), 0x7F, *range(0x80, 0xA0)))
_INVISIBLE = (
    "\u202e", "\u202d", "\u202a", "\u202b", "\u202c", "\u2066", "\u2067", "\u2068", "\u2069", "\u200e", "\u200f", "\u061c",
    "\u200b", "\u200c", "\u200d", "\u2060", "\u2061", "\ufeff", "\u00ad", "\u180e", "\U000e0041\U000e0042", "\U000e007f",
    "\ufe0f", "\u2028", "\u2029", "\ud800", "\udc80", "\udfff", "\ufff9a\ufffab\ufffb", "\u115f", "\u3164", "\uffa0",
    "\u206a", "\u206e", "\u034f", "\u17b4", "\u180b", "\u0600", "\ufe01", "\U000e0101", "\U0001d173", "\U0001bca0", "\U00013430",
)  # fmt: skip


def injections() -> list[str]:
    return list(dict.fromkeys(_all()))


def _all() -> Iterator[str]:
    for body in _CSI:
        yield f"{ESC}[{body}"
        yield f"{CSI_8BIT}{body}"
    for body in _OSC:
        yield f"{ESC}]{body}{BEL}"
        yield f"{ESC}]{body}{ST}"
        yield f"{OSC_8BIT}{body}{ST_8BIT}"
        yield f"{ESC}]{body}"  # never ended
    for body in _STRINGS:
        for opener in ("P", "_", "^", "X", "k"):
            yield f"{ESC}{opener}{body}{ST}"
        yield f"{DCS_8BIT}{body}{ST_8BIT}"
        yield f"{ESC}P{body}"
    yield from (f"{ESC}{body}" for body in _SINGLE)
    yield from _CONTROLS
    yield from _MARKUP
    yield from (f"a{sign}b" for sign in _INVISIBLE)
    yield f"{ESC}\0[2J"
    yield f"{ESC}{ESC}[2J"
    yield f"{ESC}[{ESC}[2J"
    yield f"{ESC}]0;{ESC}[2J{BEL}"
    yield f"{ESC}[38;2;{'1;' * 500}m"
    yield ESC
    yield f"safe\r{ESC}[2Kevil"
    yield "password: \b\b\b\b\b\b\b\b\b\bapproved"
    yield "e" + "\u0301" * 200
    yield "👩‍👩‍👧‍👦" * 20
    yield "x" * 20_000
    yield "\n" * 200
    yield "\t" * 200
