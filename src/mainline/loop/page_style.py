"""The style sheet of the story: two palettes, one layout from a phone to a wide screen."""

from __future__ import annotations

LIGHT = """
--paper:#fbfaf7;--card:#fff;--ink:#1d1c1a;--muted:#635f58;--rule:#e3dfd7;--shade:#f3f0ea;
--accent:#1f5fa6;--pass:#1b7846;--inconclusive:#8a5a00;--fail:#c0312b;--error:#7a3fc0;--none:#6f7580;
--stable:#4f74a8;--canary:#cf6a08;--quiet:#9db2c9;
"""
DARK = """
--paper:#131416;--card:#1a1c1f;--ink:#e9e7e3;--muted:#a3a099;--rule:#303338;--shade:#1f2226;
--accent:#7fb2f0;--pass:#4fc588;--inconclusive:#e3b341;--fail:#ff7f76;--error:#c49bff;--none:#9299a5;
--stable:#7ea4dd;--canary:#f39a45;--quiet:#5b7189;
"""
PAGE = """
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 ui-sans-serif,system-ui,
-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif}
body>header,main,footer{max-width:1136px;margin:0 auto;padding:0 clamp(16px,4vw,48px)}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
a{color:var(--accent);text-underline-offset:.18em}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-999px}.skip:focus{left:16px;top:8px}
.top{padding-top:clamp(36px,7vw,84px)!important}
.brand,.ordinal{margin:0;color:var(--accent);font-weight:650;font-size:.8rem;letter-spacing:.1em;
text-transform:uppercase}
h1{margin:.25em 0 .4em;font-size:clamp(1.9rem,4.6vw,3.1rem);line-height:1.12;letter-spacing:-.022em;
font-weight:680;text-wrap:balance;max-width:21ch}
h1 code{font-size:.88em;letter-spacing:-.04em}
h2{margin:0;font-size:clamp(1.4rem,2.6vw,1.85rem);line-height:1.2;letter-spacing:-.014em}
h4{margin:0;font-size:.95rem;font-weight:620}
.lead{margin:0 0 1.2em;max-width:64ch;font-size:1.1rem;color:var(--muted);text-wrap:pretty}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:1px;margin:2em 0;
background:var(--rule);border:1px solid var(--rule);border-radius:12px;overflow:hidden}
.numbers div{display:flex;flex-direction:column;background:var(--card);padding:18px 20px}
.numbers dd{margin:0;font-size:1.75rem;font-weight:650;letter-spacing:-.02em;line-height:1.25;
font-variant-numeric:tabular-nums}
.numbers dt{color:var(--muted);font-size:.86rem;line-height:1.4}
nav ol{display:flex;flex-wrap:wrap;gap:4px 22px;margin:0 0 1.6em;padding:0;list-style-position:inside;
font-size:.94rem}
nav li::marker{color:var(--muted);font-variant-numeric:tabular-nums}
nav .well{color:var(--pass)}nav .badly{color:var(--fail)}nav .open{color:var(--muted)}
.act{padding:clamp(36px,5vw,60px) 0 0;margin-top:clamp(36px,5vw,60px);border-top:1px solid var(--rule)}
.act>header{display:flex;flex-wrap:wrap;align-items:center;gap:4px 14px;margin-bottom:.6em}
.act .ordinal{flex-basis:100%}
.act>p{max-width:72ch}
.absent{color:var(--muted);border-left:3px solid var(--rule);padding-left:12px}
q{color:var(--fail)}
.badge{display:inline-block;white-space:nowrap;padding:1px 9px;border-radius:99px;font-size:.76rem;
font-weight:620;line-height:1.6;color:var(--tone);border:1px solid color-mix(in srgb,var(--tone) 45%,
transparent);background:color-mix(in srgb,var(--tone) 9%,transparent)}
.badge i{font-style:normal}
header>.badge{white-space:normal}
.v-pass{--tone:var(--pass)}.v-inconclusive{--tone:var(--inconclusive)}.v-fail{--tone:var(--fail)}
.v-error{--tone:var(--error)}.v-none{--tone:var(--none)}
.l-quiet{--tone:var(--quiet)}.l-watch{--tone:var(--inconclusive)}.l-alert{--tone:var(--fail)}
.l-incident{--tone:var(--error)}.l-none{--tone:var(--rule)}
.scroll{overflow-x:auto;scrollbar-width:thin}
table{border-collapse:collapse;width:100%;font-size:.9rem;line-height:1.45}
th,td{padding:9px 14px 9px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
thead th{color:var(--muted);font-weight:560;font-size:.82rem;vertical-align:bottom}
tbody tr:last-child>*{border-bottom:0}
th:last-child,td:last-child{padding-right:0}
.number{text-align:right;font-variant-numeric:tabular-nums}
.nowrap{white-space:nowrap}
td small{display:block;color:var(--muted);font-size:.84em;max-width:56ch}
.steps{margin:.6em 0 1em}
.steps code{font-size:.86rem;overflow-wrap:anywhere}
.says{margin:2px 0 0;color:var(--muted);font-size:.84rem;max-width:90ch;overflow-wrap:anywhere}
.says summary{cursor:pointer}
.says pre{margin:6px 0 2px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.78rem;line-height:1.5}
.report{margin:12px 0;background:var(--card);border:1px solid var(--rule);border-radius:10px}
.report>summary{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:center;padding:11px 16px;
cursor:pointer;font-weight:560}
.report>summary::before{content:"▸";color:var(--muted);transition:transform .15s}
.report[open]>summary::before{transform:rotate(90deg)}
.report>summary::-webkit-details-marker{display:none}
.report>summary span:first-child{flex:1 1 16ch}
.report>div{padding:2px 18px 16px;border-top:1px solid var(--rule);overflow-x:auto;font-size:.94rem}
.report>div pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.82rem}
.report img{max-width:100%;height:auto;background:#fff;border-radius:6px}
footer{margin:72px auto 0!important;padding-top:22px!important;padding-bottom:56px!important;
border-top:1px solid var(--rule);color:var(--muted);font-size:.9rem}
footer p{margin:.2em 0}
"""
CHARTS = """
.chart{margin:1.4em 0;padding:18px 20px 12px;background:var(--card);border:1px solid var(--rule);
border-radius:12px}
.chart figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:4px 24px;
margin-bottom:10px}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;margin:0;padding:0;list-style:none;
color:var(--muted);font-size:.82rem}
.swatch{display:inline-block;width:.8em;height:.8em;margin-right:.45em;border-radius:3px;
background:var(--tone);vertical-align:-.05em}
.swatch.canary{background:var(--canary)}.swatch.stable{background:var(--stable);opacity:.45}
.swatch.mirror{background:repeating-linear-gradient(135deg,var(--canary) 0 2px,transparent 2px 5px)}
.swatch.line{height:0;width:1.4em;border-radius:0;background:none;border-top:3px solid var(--accent);
vertical-align:.22em}
.swatch.without{border-top:3px dashed var(--muted)}
.definitions{position:absolute}
.chart svg{display:block;width:100%;min-width:720px;height:auto;overflow:visible;
font-size:12px;font-variant-numeric:tabular-nums}
svg text{fill:var(--ink)}
svg .tick,svg .tiny{fill:var(--muted);font-size:11.5px}svg .tiny{font-size:10px}
svg .strong{font-weight:650;fill:var(--accent)}
svg .label{font-size:11.5px;font-weight:560}
svg .label-good{fill:var(--pass)}svg .label-bad{fill:var(--fail)}
svg .mark{font-size:10px;font-weight:700;fill:var(--card)}
svg .text-production{fill:var(--accent)}svg .text-without{fill:var(--muted)}
.lane,.band{fill:var(--shade)}.lane-1{fill:none}
.bar{fill:var(--tone)}rect[class^="l-"]{fill:var(--tone)}
.grid,.axis,.stage{stroke:var(--rule);stroke-width:1}.stage{stroke:var(--none);stroke-opacity:.55}
.limit{stroke:var(--fail);stroke-width:1.2;stroke-dasharray:5 4}
.danger{fill:var(--fail);opacity:.07}
.area-stable{fill:var(--stable);opacity:.2}
.area-canary{fill:var(--canary);fill-opacity:.62;stroke:var(--canary);stroke-width:1.5}
.mirror{fill:url(#hatch)}
.seen{fill:var(--ink);opacity:.75}
.fill-stable{fill:var(--stable)}.fill-canary{fill:var(--canary)}.fill-fail{fill:var(--fail)}
.line-canary,.line-production,.line-without{fill:none;stroke:var(--canary);stroke-width:2;
stroke-linejoin:round;stroke-linecap:round}
.line-production{stroke:var(--accent);stroke-width:3}
.line-without{stroke:var(--muted);stroke-dasharray:1 6;stroke-width:3}
.point-production{fill:var(--accent);stroke:var(--card);stroke-width:2}
.point-without{fill:var(--card);stroke:var(--muted);stroke-width:2}
.end-good,.end-bad{stroke:var(--pass);stroke-width:2}.end-bad{stroke:var(--fail)}
"""
STYLE = (
    f":root{{color-scheme:light dark;{LIGHT}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}"
    f"{PAGE}{CHARTS}"
    "@media print{.chart,.act>header{break-inside:avoid}body{background:#fff}}"
    "@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}.report>summary::before"
    "{transition:none}}"
).replace("\n", "")
