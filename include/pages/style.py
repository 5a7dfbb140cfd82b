"""The one style sheet of all reports: light and dark, for screen and paper, without anything from elsewhere."""

from __future__ import annotations

SERIES = tuple(f"s{n}" for n in range(1, 9))  # classes of a chart's series, by their order
REST, TARGET = "rest", "target"  # what belongs to nobody; a limit, or what is above it

# The colours by name, for a page whose reader chooses light or dark other than by the system.
LIGHT = """--ink:#1c2430;--soft:#5d6877;--line:#e3e7ec;--paper:#fbfcfd;--card:#fff;
--good:#1f7a4d;--bad:#b42318;--odd:#8a6100;--rest:#8a8f98;--target:#d64545;
--s1:#2f74b5;--s2:#d9772b;--s3:#3a8f6b;--s4:#a1559a;--s5:#a88614;--s6:#5068ad;--s7:#c0506a;--s8:#63903b"""
DARK = """--ink:#e6e9ee;--soft:#9aa5b4;--line:#2b333e;--paper:#12161c;--card:#191f27;
--good:#5cc792;--bad:#ff8a7e;--odd:#e3b341;--rest:#7d8591;--target:#ff7b72;
--s1:#6aaae4;--s2:#f0a05e;--s3:#63c096;--s4:#cf8fc9;--s5:#d8b84a;--s6:#8fa4e0;--s7:#ee8ba0;--s8:#9cc774"""

COLOURS = (
    f":root{{color-scheme:light dark;{LIGHT}}}\n@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}\n"
    f"@media print{{:root{{color-scheme:light;{LIGHT}}}}}\n"  # paper is light whatever the system is
)
_LAYOUT = """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:1040px;margin:0 auto;padding:48px 24px 80px}
h1{font-size:2rem;line-height:1.2;letter-spacing:-.02em;margin:.2em 0;overflow-wrap:anywhere}
h2{font-size:1.2rem;letter-spacing:-.01em;margin:2.4em 0 .3em}
p,li{color:var(--soft);max-width:76ch;overflow-wrap:anywhere}
p{margin:.4em 0}ul{padding-left:1.2em;margin:.6em 0}li b,.lead,.strong{color:var(--ink)}
.over{font-size:.85rem;letter-spacing:.02em}.lead{font-size:1.15rem}.lead b,.strong{font-weight:600}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;margin:24px 0 0;font-size:.9rem}
a{color:var(--s1);text-decoration:none}a:hover{text-decoration:underline}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:28px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px}
.tile dt,.tile .unit{color:var(--soft);font-size:.8rem}
.tile dd{margin:0;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}
.tile .unit{font-weight:400}
figure{margin:20px 0;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px}
figcaption{font-weight:600;margin-bottom:6px}
svg{width:100%;height:auto;display:block;color:var(--ink);font:12px system-ui,sans-serif}
svg text{fill:currentColor}svg .soft{opacity:.65}
svg .halo{paint-order:stroke;stroke:var(--card);stroke-width:4px}
svg .grid{stroke:currentColor;opacity:.14}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;list-style:none;padding:0;margin:0 0 8px;font-size:.85rem}
.legend i{display:inline-block;width:.75em;height:.75em;border-radius:3px;margin-right:.45em}
details{margin-top:8px;font-size:.9rem}summary{cursor:pointer;color:var(--soft)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums;margin:10px 0}
th,td{padding:7px 12px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{color:var(--soft);font-weight:500;white-space:nowrap}
tbody th{font-weight:400;overflow-wrap:anywhere;min-width:9em}th:first-child{padding-left:0}
.n{text-align:right}.n,.s{white-space:nowrap}
.chip{border-radius:99px;padding:1px 9px;border:1px solid currentColor;font-size:.85em}
.pass,.settled,.final{color:var(--good)}.fail,.high{color:var(--bad)}.unknown,.provisional,.low{color:var(--odd)}
@page{size:A4;margin:14mm}
@media print{body{background:none;font-size:10.5pt}main{padding:0;max-width:none}nav,details{display:none}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.scroll{overflow:visible}table{font-size:.7rem}th,td{padding:3px 5px}td:not(.s){overflow-wrap:anywhere}
tbody th{min-width:7em;overflow-wrap:break-word}thead th{white-space:normal}thead{display:table-header-group}
h2,figcaption{break-after:avoid}.tile,figure,tr,li{break-inside:avoid}p,li{orphans:3;widows:3}}
""".strip()
# Everything but the colours.
LAYOUT = (
    _LAYOUT
    + "\n"
    + "\n".join(
        f".{name}{{fill:var(--{name});background:var(--{name})}}.l-{name}{{stroke:var(--{name});fill:none}}"
        for name in (*SERIES, REST, TARGET)
    )
)
STYLE = COLOURS + LAYOUT
