"""The look of every page of the house: light and dark, no script, nothing fetched.

Colours of text reach a contrast of 4.5 to 1 on their ground in both schemes.
"""

CSS = """
:root { color-scheme: light dark; --ground: #fbfbfa; --card: #ffffff; --ink: #1c2024;
  --soft: #5b6470; --line: #e3e5e8; --code: #f1f2f4; --link: #1d5fd1; --accent: #2563eb;
  --pass: #146c3a; --pass-ground: #dff5e6; --inconclusive: #8a4b00; --inconclusive-ground: #fdefd3;
  --fail: #b3201c; --fail-ground: #fde6e4; --error: #ffffff; --error-ground: #8c1512;
  --limit: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --card: #1b1f23; --ink: #e6e8ea;
  --soft: #a0a9b4; --line: #30363d; --code: #262b31; --link: #82b1ff; --accent: #6ea0ff;
  --pass: #7ee2a0; --pass-ground: #12351f; --inconclusive: #ffce73; --inconclusive-ground: #402c06;
  --fail: #ff9d97; --fail-ground: #4a1614; --error: #ffffff; --error-ground: #9f1d19;
  --limit: #fb923c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; letter-spacing: -.015em; }
h2 { font-size: 1.12rem; margin: 2.4rem 0 .7rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
p { margin: .6rem 0; max-width: 48rem; }
p, li, td { overflow-wrap: break-word; }
a { color: var(--link); }
ul { margin: .6rem 0; padding-left: 1.2rem; } li { margin: .25rem 0; }
code { font: .86em/1.4 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace;
  background: var(--code); border-radius: 4px; padding: .1em .35em; overflow-wrap: anywhere;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }
td code { overflow-wrap: break-word; } /* a narrow screen scrolls rather than breaks names */
footer { margin-top: 3rem; color: var(--soft); font-size: .87rem; }
.badge { display: inline-block; border-radius: 999px; padding: .08em .65em; font-size: .76rem;
  font-weight: 650; letter-spacing: .02em; white-space: nowrap; vertical-align: .08em; }
.pass { color: var(--pass); background: var(--pass-ground); }
.inconclusive { color: var(--inconclusive); background: var(--inconclusive-ground); }
.fail { color: var(--fail); background: var(--fail-ground); }
.error { color: var(--error); background: var(--error-ground); }
.verdict { border-radius: 10px; padding: .9rem 1.1rem; font-size: 1.05rem;
  max-width: none; margin: 0; }
.verdict.pass, .verdict.inconclusive, .verdict.fail { color: var(--ink); }
.verdict.pass { border-left: 5px solid var(--pass); }
.verdict.inconclusive { border-left: 5px solid var(--inconclusive); }
.verdict.fail { border-left: 5px solid var(--fail); }
.model { display: flex; align-items: center; gap: .7rem; font-size: 1.45rem; font-weight: 680;
  letter-spacing: -.015em; line-height: 1.25; margin: 0 0 .9rem; max-width: none; }
.model .badge { font-size: .85rem; }
.alert { border-left: 4px solid var(--soft); background: var(--code); padding: .55rem .9rem;
  border-radius: 6px; }
.alert.warning { border-color: var(--inconclusive); } .alert.caution { border-color: var(--fail); }
.alert.tip { border-color: var(--pass); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; margin: .7rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .8rem;
  white-space: nowrap; }
th, td { padding: .42rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.n { text-align: right; white-space: nowrap; }
.interval { display: inline-flex; gap: .6rem; align-items: center; }
.interval svg { width: 120px; height: 16px; flex: none; }
.interval span { white-space: nowrap; }
.plots { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  overflow: hidden; }
figure img { display: block; width: 100%; height: auto; background: #fff; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { padding: .45rem .8rem .6rem; color: var(--soft); font-size: .85rem; }
@media (prefers-color-scheme: dark) { figure img { filter: invert(.9) hue-rotate(180deg); } }
@media print { main { padding: 0; max-width: none; } .scroll, figure { break-inside: avoid; } }
"""
