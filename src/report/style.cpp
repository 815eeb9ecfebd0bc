#include "report/style.h"

// Colours: Okabe and Ito's palette (2008), which people with any colour vision can tell apart, each with a
// lighter form on dark ground.
const char* page_style() {
    return R"(
/* ---- every page */
:root { --back: #fff; --ink: #1a1a1a; --dim: #5c5c5c; --line: #d5d5d5; --soft: #f4f4f2;
  --c0: #0072B2; --c1: #D55E00; --c2: #009E73; --c3: #B0508A; --c4: #B97F00; --c5: #3A9BD6; --c6: #555;
  --bad: #B03A00; --good: #00704F; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --back: #16181a; --ink: #e6e6e3; --dim: #a2a5a8;
  --line: #3c4043; --soft: #212427; --c0: #56B4E9; --c1: #F08040; --c2: #2FC79A; --c3: #E39AC4;
  --c4: #E6B030; --c5: #8FD0F5; --c6: #aaa; --bad: #FF9A66; --good: #4FD6AA; } }
@media print { :root { --back: #fff; --ink: #000; --dim: #444; --line: #bbb; --soft: #f4f4f2;
  --c0: #0072B2; --c1: #D55E00; --c2: #009E73; --c3: #B0508A; --c4: #B97F00; --c5: #3A9BD6; --c6: #555;
  --bad: #B03A00; --good: #00704F; color-scheme: light; }
  body { max-width: none !important; font-size: 10pt !important; } section { break-before: auto; }
  figure, .card, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
* { box-sizing: border-box; }
html { background: var(--back); -webkit-print-color-adjust: exact; print-color-adjust: exact; }
body { margin: 0 auto; padding: 1.2rem 1.4rem 3rem; max-width: 86rem; color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.55rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .7rem;
  padding-top: .5rem; border-top: 1px solid var(--line); } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .3rem 0 .7rem; max-width: 60rem; } .dim { color: var(--dim); }
table { border-collapse: collapse; margin: .3rem 0; } th, td { text-align: left; vertical-align: top;
  padding: .16rem .9rem .16rem 0; border-bottom: 1px solid var(--line); } th { font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code, pre, .text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: .87em; } .text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
.bad { color: var(--bad); font-weight: 600; } .good { color: var(--good); font-weight: 600; }
details > summary { cursor: pointer; margin: .4rem 0; }

/* ---- charts: .axes .grid .tick; lines .l, markers .m, whiskers .w, bands .b in the styles .s0 ..; bars .box
   in .p0 ..; .legend below */
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr));
  gap: 1rem 1.6rem; } figure { margin: 0; max-width: 42rem; } figcaption { font-weight: 600; margin-bottom: .2rem; }
figure > svg { width: 100%; height: auto; display: block; } figure p { font-size: .85rem; margin: .2rem 0; }
.axes text { fill: var(--dim); font-size: 12px; } .grid { stroke: var(--line); stroke-width: .7; fill: none; }
.tick { stroke: var(--dim); fill: none; } .hover { fill: transparent; } .hover:hover { fill: var(--ink); opacity: .1; }
.l { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .w { fill: none; stroke-width: 1.3; }
.faint { opacity: .45; stroke-width: 1.1; } .b { stroke: none !important; opacity: .16; } .m { stroke-width: 1; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); }
.s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); }
.l.s1 { stroke-dasharray: 7 3; } .l.s2 { stroke-dasharray: 2 2.5; } .l.s3 { stroke-dasharray: 9 3 2 3; }
.l.s4 { stroke-dasharray: 13 4; } .l.s5 { stroke-dasharray: 4 2; }
.m.s0, .b.s0 { fill: var(--c0); } .m.s1, .b.s1 { fill: var(--c1); } .m.s2, .b.s2 { fill: var(--c2); }
.m.s3, .b.s3 { fill: var(--c3); } .m.s4, .b.s4 { fill: var(--c4); } .m.s5, .b.s5 { fill: var(--c5); }
.p0 { fill: var(--c0); } .p1 { fill: url(#h1); } .p2 { fill: var(--c2); } .p3 { fill: url(#h3); }
.p4 { fill: url(#h4); } .p5 { fill: var(--c5); } .p6 { fill: url(#h6); }
.box { stroke: var(--back); stroke-width: .4; } .hollow { fill: none; stroke: var(--dim); stroke-width: 1; }
figure.wide { max-width: none; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .85rem; }

/* ---- completions: .card with a .head, their .prompt; in explain as boxes .t, .x where selection dropped the
   token; the .key of the quantity that colours them is the one whose switch is on */
.switch { position: absolute; opacity: 0; pointer-events: none; }
nav { position: sticky; top: 0; background: var(--back); padding: .5rem 0; display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem;
  z-index: 1; border-bottom: 1px solid var(--line); }
nav label { border: 1px solid var(--dim); border-radius: 4px; padding: .12rem .55rem; cursor: pointer; font-size: .9rem; }
.key { display: none; flex-wrap: wrap; align-items: center; gap: .3rem .8rem; margin: .7rem 0; font-size: .9rem; }
.ramp { display: inline-flex; border: 1px solid var(--line); } .ramp i { width: .9rem; height: 1.1rem; display: block; }
.x-key { background: var(--hatch); border: 1px solid var(--line); width: 2rem; height: 1.1rem; display: inline-block; }
.group { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: .7rem; }
.card { border: 1px solid var(--line); border-radius: 5px; padding: .5rem .6rem; } .off { border-style: dashed; }
.head { display: flex; flex-wrap: wrap; gap: .1rem .8rem; font-size: .85rem; margin-bottom: .3rem; }
.tokens { line-height: 1.75; font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .85rem; }
.t { border: 1px solid var(--line); border-radius: 3px; padding: .08rem .16rem; margin: 0 1px; white-space: pre-wrap;
  overflow-wrap: anywhere; unicode-bidi: isolate; -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.t:hover { outline: 2px solid var(--ink); } .x { border-style: dashed; }
.prompt { background: var(--soft); padding: .4rem .6rem; margin: .3rem 0 .6rem; }
.formula { background: var(--soft); padding: .5rem .8rem; overflow-x: auto; white-space: pre-wrap; }
@media print { nav { display: none; } }

/* ---- report */
.laws td:nth-child(-n+3) { white-space: nowrap; } td.text { min-width: 6.5rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); gap: .6rem 1.2rem; margin: 1rem 0; }
dt { color: var(--dim); font-size: .82rem; } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: .8rem; }
@media print { .charts { grid-template-columns: 1fr 1fr; } .samples { grid-template-columns: 1fr 1fr 1fr; } }
@media (max-width: 40rem) { .laws td:nth-child(-n+3) { white-space: normal; } }
)";
}
