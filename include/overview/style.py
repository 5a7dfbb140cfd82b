"""The style sheet of the pages in Airflow's frame: the reports' own, and what only these pages have."""

from __future__ import annotations

from include.pages.style import DARK, LAYOUT, LIGHT

# The script sets data-theme to what Airflow shows; without it the system's choice counts.
_COLOURS = f"""
:root{{color-scheme:light;{LIGHT}}}
:root[data-theme=dark]{{color-scheme:dark;{DARK}}}
@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{DARK}}}}}
""".strip()
_OWN = """
main{max-width:1180px;padding:20px 24px 64px;outline:none}
h1{font-size:1.6rem}h2{font-size:1.1rem;margin:0 0 .3em}
section{margin:36px 0 0;scroll-margin-top:64px}
.top{position:sticky;top:0;z-index:2;background:var(--paper);border-bottom:1px solid var(--line);padding:0 24px}
.top nav{margin:0 auto;max-width:1132px;gap:4px 20px}
.top nav a{padding:10px 2px 8px;color:var(--soft);border-bottom:2px solid transparent}
.top nav a[aria-current]{color:var(--ink);border-color:var(--s1);font-weight:600}
.skip,.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.skip:focus{position:fixed;left:12px;top:8px;width:auto;height:auto;clip-path:none;z-index:3;background:var(--card);
padding:6px 12px;border:1px solid var(--line);border-radius:8px}
a:focus-visible,button:focus-visible,input:focus-visible,summary:focus-visible,[tabindex]:focus-visible{
outline:2px solid var(--s1);outline-offset:2px;border-radius:4px}
p a,.note a,li a,.over a,th a,td a{text-decoration:underline;text-underline-offset:2px}
.note{color:var(--soft);font-size:.85rem}
.days{list-style:none;display:grid;grid-template-columns:repeat(5,minmax(0,1fr));gap:10px;padding:0;margin:20px 0}
.day{background:var(--card);border:1px solid var(--line);border-top:3px solid var(--rest);border-radius:10px;
padding:10px 12px 12px;display:flex;flex-direction:column;gap:3px;align-items:flex-start;max-width:none}
.day .n{font-size:.8rem;text-align:left}.day b{line-height:1.3}
.day.promoted{border-top-color:var(--good)}.day.rolled-back,.day.unknown{border-top-color:var(--bad)}
.day.waiting,.day.unfinished,.day.open,.day.stopped{border-top-color:var(--odd)}
.chip{white-space:nowrap;color:var(--soft)}.chip.pass{color:var(--good)}.chip.fail{color:var(--bad)}
.chip.unknown{color:var(--odd)}
.box{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--rest);border-radius:10px;
padding:12px 16px;margin:14px 0}
.box.bad{border-left-color:var(--bad)}.box.odd{border-left-color:var(--odd)}.box h2{font-size:1rem}
.plain{list-style:none;padding:0}.plain li{display:flex;gap:14px;align-items:center;max-width:none;margin:8px 0}
.button,button{display:inline-block;font:inherit;font-size:.88rem;color:var(--ink);background:var(--card);
border:1px solid var(--soft);border-radius:8px;padding:3px 12px;cursor:pointer;text-decoration:none}
a.button{text-decoration:none}.button:hover,button:hover:enabled{border-color:var(--s1);text-decoration:none}
button:disabled{cursor:default;opacity:.6}
.undo{padding:1px 10px}
tr.first th,tr.first td{border-top:1px solid var(--soft)}
tbody th{min-width:8em}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px}.grid figure{margin:0}
.line{display:flex;flex-wrap:wrap;gap:8px;align-items:center;margin:10px 0}
input{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--soft);border-radius:8px;
padding:4px 10px}
input[type=search]{min-width:280px}input[readonly]{background:var(--paper)}
.fields{display:grid;gap:10px;max-width:640px;margin:18px 0}
.fields div{display:grid;grid-template-columns:90px 1fr;gap:2px 12px;align-items:center}
.fields .note{grid-column:2}.fields .tick{display:flex;gap:10px}
.records{list-style:none;padding:0;margin:12px 0}
.records>li{max-width:none;border-top:1px solid var(--line);padding:10px 0}
.records .head{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline}
.records time{font-variant-numeric:tabular-nums;color:var(--soft);font-size:.88rem}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 12px;overflow:auto;
max-height:420px;font-size:.85rem}
@media(max-width:860px){.days{grid-template-columns:1fr}.day{flex-direction:row;flex-wrap:wrap;gap:4px 12px}}
@media print{.top,.skip,form,.button{display:none}}
""".strip()
STYLE = f"{_COLOURS}\n{LAYOUT}\n{_OWN}\n"
