"""What the story looks like, on top of the style of every page of the house."""

from __future__ import annotations

LIGHT = """
--t-pass:#1b7846;--t-inconclusive:#d8971a;--t-fail:#c0312b;--t-error:#7a3fc0;--t-none:#7b818c;
--stable:#4f74a8;--canary:#cf6a08;--quiet:#9db2c9;
"""
DARK = """
--t-pass:#4fc588;--t-inconclusive:#e3b341;--t-fail:#f4766d;--t-error:#c49bff;--t-none:#868d99;
--stable:#7ea4dd;--canary:#f39a45;--quiet:#5b7189;
"""
PAGE = """
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{font:16px/1.6 -apple-system,BlinkMacSystemFont,"Segoe UI",Inter,Roboto,"Noto Sans",
"Liberation Sans",Arial,sans-serif}
main{max-width:1120px;padding:0 clamp(16px,4vw,40px)}
a{text-underline-offset:.18em}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-999px}.skip:focus{left:16px;top:8px}
.definitions{position:absolute}
.top{padding-top:clamp(36px,7vw,80px)}
.brand,.ordinal{margin:0;color:var(--link);font-weight:650;font-size:.8rem;letter-spacing:.1em;
text-transform:uppercase}
h1{margin:.25em 0 .4em;font-size:clamp(1.9rem,4.6vw,3.1rem);line-height:1.12;letter-spacing:-.022em;
font-weight:680;max-width:22ch}
h1 code{font-size:.88em;font-weight:inherit;letter-spacing:-.04em;background:none;padding:0}
.act>header h2{margin:0;font-size:clamp(1.4rem,2.6vw,1.85rem);letter-spacing:-.014em}
.lead{margin:0 0 1.2em;max-width:64ch;font-size:1.1rem;color:var(--soft);text-wrap:pretty}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:1px;margin:2em 0;
background:var(--line);border:1px solid var(--line);border-radius:12px;overflow:hidden}
.numbers div{display:flex;flex-direction:column;background:var(--card);padding:16px 20px}
.numbers dd{margin:0;font-size:1.75rem;font-weight:650;letter-spacing:-.02em;line-height:1.25;
font-variant-numeric:tabular-nums}
.numbers dt{color:var(--soft);font-size:.86rem;line-height:1.4}
nav ol{display:flex;flex-wrap:wrap;gap:4px 20px;margin:0 0 1.6em;padding:0;font-size:.92rem;
list-style-position:inside}
nav li{margin:0}nav li::marker{color:var(--soft);font-variant-numeric:tabular-nums}
nav .well{color:var(--pass)}nav .badly{color:var(--fail)}nav .open{color:var(--soft)}
.act{padding-top:clamp(36px,5vw,56px);margin-top:clamp(36px,5vw,56px);
border-top:1px solid var(--line)}
.act>header{display:flex;flex-wrap:wrap;align-items:center;gap:4px 14px;margin-bottom:.6em}
.act .ordinal{flex-basis:100%;max-width:none}
.act>p{max-width:72ch}
.act>header .badge{white-space:normal}
.absent{color:var(--soft);border-left:3px solid var(--line);padding-left:12px}
q{color:var(--fail)}
.quiet{color:var(--soft)}
.v-pass{--tone:var(--t-pass)}.v-inconclusive{--tone:var(--t-inconclusive)}
.v-fail{--tone:var(--t-fail)}.v-error{--tone:var(--t-error)}.v-none{--tone:var(--t-none)}
.l-quiet{--tone:var(--quiet)}.l-watch{--tone:var(--t-inconclusive)}.l-alert{--tone:var(--t-fail)}
.l-incident{--tone:var(--t-error)}.l-none{--tone:var(--t-none)}
.act>.scroll{margin:1.4em 0}.scroll{scrollbar-width:thin}
td small{display:block;color:var(--soft);font-size:.86em;min-width:26ch;max-width:56ch}
.nowrap,.steps code span{white-space:nowrap}
.steps code{background:none;padding:0}
.steps td:first-child{width:44%}
.steps tbody{border-top:1px solid var(--line)}
.steps .where th{padding:.8rem .8rem .2rem;color:var(--link);border:0}
.said{color:var(--soft);font-size:.86rem;overflow-wrap:anywhere}
.said summary{cursor:pointer;list-style:none}.said summary::-webkit-details-marker{display:none}
.said summary i{font-style:normal;color:var(--link);white-space:nowrap;font-size:.9em}
.said [open] i{display:none}
.said pre{margin:6px 0 2px;white-space:pre-wrap;font-size:.78rem;line-height:1.5}
@media(max-width:760px){.steps thead{display:none}.steps,.steps tbody{display:block}
.steps tbody{border:0}.steps tr{display:grid;grid-template-columns:1fr auto auto;gap:0 12px;
padding:9px 14px;border-bottom:1px solid var(--line)}.steps tr.where{border:0;padding-bottom:0}
.steps .where th{grid-column:1/-1;padding:0}.steps td,.steps td:first-child{padding:0;border:0;
width:auto}.steps code span{white-space:normal}.steps .said{grid-column:1/-1;order:9}}
.paper{margin:12px 0;background:var(--card);border:1px solid var(--line);border-radius:10px}
.paper>summary{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:center;padding:11px 16px;
cursor:pointer;font-weight:560}
.paper>summary::before{content:"▸";color:var(--soft);transition:transform .15s}
.paper[open]>summary::before{transform:rotate(90deg)}
.paper>summary::-webkit-details-marker{display:none}
.paper>summary>span:first-child{flex:1 1 16ch}
.paper>div{padding:16px 18px;border-top:1px solid var(--line);overflow-x:auto;font-size:.94rem}
.paper>div pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.82rem}
footer{margin-top:72px;padding:22px 0 56px;border-top:1px solid var(--line);color:var(--soft)}
footer p{margin:.2em 0}
"""
CHARTS = """
.chart{margin:1.4em 0;padding:18px 20px 12px;border-radius:12px}
.chart figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:4px 24px;
margin-bottom:10px;padding:0}
.chart h3{margin:0;font-size:.95rem;font-weight:620;color:var(--ink)}
.chart .scroll{margin:0;border:0;border-radius:0;background:none}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;margin:0;padding:0;list-style:none;
font-size:.82rem}
.legend li{margin:0}
.swatch{display:inline-block;width:.8em;height:.8em;margin-right:.45em;border-radius:3px;
background:var(--tone);vertical-align:-.05em}
.swatch.canary{background:var(--canary)}.swatch.stable{background:var(--stable);opacity:.55}
.swatch.mirror{background:repeating-linear-gradient(135deg,var(--canary) 0 2px,transparent 2px 5px)}
.swatch.l-none{opacity:.35}
.swatch.line{height:0;width:1.4em;border-radius:0;background:none;
border-top:3px solid var(--accent);vertical-align:.22em}
.swatch.without{border-top:3px dotted var(--soft)}
.chart svg{display:block;width:100%;min-width:720px;height:auto;overflow:visible;font-size:12px;
font-variant-numeric:tabular-nums}
.chart text{fill:var(--ink)}
.chart .tick,.chart .tiny{fill:var(--soft);font-size:11.5px}.chart .tiny{font-size:10px}
.chart .strong{font-weight:650;fill:var(--link)}
.chart .label{font-size:11.5px;font-weight:600}
.chart .halo{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.chart .label-good{fill:var(--pass)}.chart .label-bad{fill:var(--fail)}
.chart .mark{font-size:11px;font-weight:700;fill:var(--tone)}
.chart .text-production{fill:var(--link)}.chart .text-without{fill:var(--soft)}
.lane,.band{fill:var(--code);opacity:.75}.lane-1{fill:none}
.bar,rect[class^="l-"]{fill:var(--tone)}rect.l-none{opacity:.35}
.grid,.axis,.stage{stroke:var(--line);stroke-width:1}.stage{stroke:var(--t-none);stroke-opacity:.55}
.limit{stroke:var(--t-fail);stroke-width:1.2;stroke-dasharray:5 4}
.danger{fill:var(--t-fail);opacity:.08}
.area-stable{fill:var(--stable);opacity:.2}
.area-canary{fill:var(--canary);fill-opacity:.62;stroke:var(--canary);stroke-width:1.5}
.mirror{fill:url(#hatch);opacity:.45}
.seen{fill:var(--ink);opacity:.75}
.fill-stable{fill:var(--stable)}.fill-canary{fill:var(--canary)}.fill-fail{fill:var(--t-fail)}
.line-canary,.line-production,.line-without{fill:none;stroke:var(--canary);stroke-width:2;
stroke-linejoin:round;stroke-linecap:round}
.line-production{stroke:var(--accent);stroke-width:3}
.line-without{stroke:var(--soft);stroke-dasharray:1 6;stroke-width:3}
.point-production{fill:var(--accent);stroke:var(--card);stroke-width:2}
.point-without{fill:var(--card);stroke:var(--soft);stroke-width:2}
.end-good,.end-bad{stroke:var(--t-pass);stroke-width:2}.end-bad{stroke:var(--t-fail)}
"""
STYLE = (
    f":root{{{LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}{PAGE}{CHARTS}"
    "@media print{.chart,.act>header{break-inside:avoid}}"
    "@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}.paper>summary::before"
    "{transition:none}}"
).replace("\n", "")
