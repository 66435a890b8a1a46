"""How the page of a report looks: one sheet, light and dark, from a phone to a wide screen."""

from __future__ import annotations

STYLE = """
:root{--paper:#f6f7f8;--card:#fff;--ink:#17202a;--soft:#5a6672;--rule:#e1e5e9;--c0:#0f7285;
--c1:#b9d5db;--c2:#c2571a;--warn:#9a4a00;--none:#eef1f3;
--shade:rgba(23,32,42,.3);color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--paper:#0e1216;--card:#171d23;--ink:#e8ecef;
--soft:#9aa7b3;--rule:#2a333c;--c0:#4cc3d9;--c1:#2c5560;--c2:#f0a060;--warn:#ffb866;
--none:#202830;--shade:rgba(190,215,235,.38)}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.25rem 1rem 3rem}
h1{font-size:1.5rem;line-height:1.2;margin:.5rem 0 .25rem}
.day{white-space:nowrap}
h2{font-size:1.1rem;margin:0 0 .25rem}
h3{font-size:.95rem;margin:0 0 .25rem}
p{margin:.25rem 0}
.soft,figcaption,caption,summary{color:var(--soft);font-size:.875rem}
caption,figcaption{text-align:left}
.note{border-left:3px solid var(--warn);padding:.25rem .75rem;margin:.75rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem;
margin:1rem 0;padding:0}
.tiles div,section{background:var(--card);border:1px solid var(--rule);border-radius:.6rem}
.tiles div{padding:.7rem .9rem}
.tiles dt{color:var(--soft);font-size:.8rem}
.tiles dd{margin:0;overflow-wrap:anywhere}
.tiles .big{font-size:1.45rem;font-weight:650;line-height:1.25;overflow-wrap:anywhere;
font-variant-numeric:tabular-nums}
section{padding:1rem;margin:1rem 0}
.pair{display:grid;gap:1.25rem;grid-template-columns:minmax(0,1fr)}
@media (min-width:52rem){.pair{grid-template-columns:repeat(2,minmax(0,1fr))}
main{padding:2rem 1.5rem 4rem}section{padding:1.25rem 1.5rem}}
figure{margin:.75rem 0 0}
.plot{display:grid;grid-template-columns:minmax(2.2rem,max-content) minmax(0,1fr);gap:.25rem .5rem}
.plot svg{width:100%;height:9.5rem;display:block;overflow:visible}
.plot{margin-top:.4rem}
.small .plot svg{height:5rem}
.y,.x{display:flex;justify-content:space-between;color:var(--soft);font-size:.75rem;
font-variant-numeric:tabular-nums}
.y{flex-direction:column;text-align:right;line-height:1}
.x{grid-column:2}
.s0{fill:var(--c0)}.s1{fill:var(--c1)}.none{fill:var(--none)}
.band{fill:var(--c1);opacity:.6}
.rule{stroke:var(--rule);stroke-width:1;vector-effect:non-scaling-stroke;fill:none}
.l0,.l1{fill:none;stroke:var(--c0);stroke-width:2.2;vector-effect:non-scaling-stroke;
stroke-linejoin:round;stroke-linecap:round}
.l1{stroke:var(--c2);stroke-dasharray:5 4}
.key{display:inline-flex;align-items:center;gap:.35rem;margin-right:1rem}
.key i{width:.8rem;height:.8rem;border-radius:.2rem;display:inline-block}
.key i.line{height:.2rem}
.k0{background:var(--c0)}.k1{background:var(--c1)}.k2{background:var(--c2)}
.week{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem .5rem;
font-size:.75rem;color:var(--soft)}
.week svg{width:100%;height:10.5rem;display:block}
.week .days{display:grid;grid-template-rows:repeat(7,1fr);align-items:center}
.week .x{grid-column:2}
.wide{overflow-x:auto;margin:.5rem 0;background:
linear-gradient(to left,var(--card) 30%,transparent) right/2.5rem 100% no-repeat local,
linear-gradient(to left,var(--shade),transparent) right/1.1rem 100% no-repeat var(--card)}
.wide:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
section>h3{margin-top:1.25rem}
table{border-collapse:collapse;width:100%;font-size:.875rem}
th,td{padding:.35rem .6rem;text-align:right;white-space:nowrap;
border-bottom:1px solid var(--rule);font-variant-numeric:tabular-nums}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom}
th:first-child,td:first-child,.text{text-align:left}
tbody th{font-weight:500;position:sticky;left:0;background:var(--card);max-width:16rem;
overflow:hidden;text-overflow:ellipsis;box-shadow:1px 0 var(--rule)}
.free tbody th{position:static;max-width:none}
.reason{white-space:normal;min-width:11rem}
svg.share{width:3.5rem;height:.55rem;margin-left:.5rem;vertical-align:middle;border-radius:.2rem}
details{margin:.5rem 0 0}
summary{cursor:pointer;padding:.25rem 0}
footer{color:var(--soft);font-size:.8rem;margin-top:1.5rem}
@media (max-width:30rem){.tiles{grid-template-columns:repeat(2,minmax(0,1fr))}
.tiles .big{font-size:1.2rem}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#17202a;--soft:#5a6672;--rule:#e1e5e9}
figure,tr,.tiles div{break-inside:avoid}h2,h3{break-after:avoid}thead{display:table-header-group}
.wide{overflow:visible;background:none}table{font-size:.62rem}th,td{padding:.25rem;white-space:normal}
tbody th{position:static}}
"""
