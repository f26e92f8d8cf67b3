/** Styles of the chat element. Logical properties throughout, so that it mirrors for RTL. */
export const STYLES = `
:host {
  --_accent: var(--uponai-accent, light-dark(#2450d8, #8aa8ff));
  --_on-accent: var(--uponai-on-accent, light-dark(#fff, #0b1430));
  --_background: var(--uponai-background, light-dark(#fff, #15171c));
  --_text: var(--uponai-text, light-dark(#1a1d24, #eceef3));
  --_muted: var(--uponai-muted, light-dark(#5a6172, #a4abbb));
  --_border: var(--uponai-border, light-dark(#dfe2ea, #343946));
  --_bubble: var(--uponai-bubble, light-dark(#f1f3f8, #232732));
  --_error: var(--uponai-error, light-dark(#b3261e, #ffb4ab));
  --_radius: var(--uponai-radius, 14px);
  display: block;
  block-size: 34rem;
  max-block-size: 100dvh;
  min-inline-size: 0;
  font: var(--uponai-font-size, 1rem) / 1.5 var(--uponai-font, system-ui, sans-serif);
  color: var(--_text);
}
:host([hidden]) { display: none; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
.frame {
  display: flex;
  flex-direction: column;
  block-size: 100%;
  min-block-size: 0;
  overflow: hidden;
  background: var(--_background);
  border: 1px solid var(--_border);
  border-radius: var(--_radius);
}
.header { padding: .8em 1.1em; border-block-end: 1px solid var(--_border); }
h2 { margin: 0; font-size: 1.05em; font-weight: 650; line-height: 1.3; }
.log {
  position: relative;
  flex: 1;
  min-block-size: 0;
  overflow: auto;
  overscroll-behavior: contain;
  padding: 1.1em;
  scrollbar-width: thin;
}
.list { display: flex; flex-direction: column; gap: .5em; min-block-size: 100%; }
.list::before { content: ""; flex: 1; }
.list:has(> .empty:not([hidden]))::before { content: none; }
.empty { margin: auto; padding: 1.5em; color: var(--_muted); text-align: center; text-wrap: balance; }
.message { max-inline-size: 85%; animation: appear .18s ease-out; }
.user { align-self: flex-end; }
.assistant { align-self: flex-start; }
.user + .assistant, .assistant + .user { margin-block-start: .45em; }
.name { display: block; margin: 0 0 .2em .9em; font-size: .8em; color: var(--_muted); }
.bubble {
  padding: .55em .95em;
  border-radius: var(--_radius);
  overflow-wrap: anywhere;
}
.user .bubble {
  color: var(--_on-accent);
  background: var(--_accent);
  border-end-end-radius: 4px;
  white-space: pre-wrap;
}
.assistant .bubble { background: var(--_bubble); border-end-start-radius: 4px; }
/* The text of a bubble can have another direction than the page, and turns the corners with it. */
.user:dir(ltr) .bubble:dir(rtl), .user:dir(rtl) .bubble:dir(ltr) { border-end-end-radius: var(--_radius); border-end-start-radius: 4px; }
.assistant:dir(ltr) .bubble:dir(rtl), .assistant:dir(rtl) .bubble:dir(ltr) { border-end-start-radius: var(--_radius); border-end-end-radius: 4px; }
.pending .bubble { opacity: .85; }
.bubble > :first-child { margin-block-start: 0; }
.bubble > :last-child { margin-block-end: 0; }
.bubble :where(p, ul, ol, pre, blockquote, .table, hr) { margin-block: .6em; }
.bubble :where(h3, h4, h5, h6) { margin-block: .9em .3em; font-size: 1.02em; line-height: 1.35; }
.bubble :where(ul, ol) { padding-inline-start: 1.4em; }
.bubble li + li { margin-block-start: .2em; }
.bubble li > :is(ul, ol) { margin-block: .2em; }
.bubble a { color: inherit; text-underline-offset: .15em; }
.bubble code { font: .9em ui-monospace, monospace; padding: .1em .3em; border-radius: 4px; background: color-mix(in srgb, currentColor 9%, transparent); }
.bubble pre { padding: .7em .9em; overflow: auto; border-radius: 8px; background: color-mix(in srgb, currentColor 9%, transparent); }
.bubble pre code { padding: 0; background: none; }
.bubble blockquote { margin-inline: 0; padding-inline-start: .8em; border-inline-start: 3px solid var(--_border); color: var(--_muted); }
.bubble hr { border: 0; border-block-start: 1px solid var(--_border); }
.table { overflow: auto; }
table { border-collapse: collapse; font-size: .94em; }
th, td { padding: .35em .7em; text-align: start; border-block-end: 1px solid var(--_border); overflow-wrap: normal; }
.dots { display: inline-flex; gap: .3em; padding-block: .95em; }
.dots i { inline-size: .45em; block-size: .45em; border-radius: 50%; background: var(--_muted); animation: dot 1.2s infinite; }
.dots i:nth-child(2) { animation-delay: .15s; }
.dots i:nth-child(3) { animation-delay: .3s; }
.status { padding: .5em 1.25em; font-size: .88em; color: var(--_muted); }
.status.failed { color: var(--_error); }
.actions { display: flex; flex-wrap: wrap; gap: .5em; padding: 0 1.1em .6em; }
.composer {
  display: flex;
  align-items: flex-end;
  gap: .5em;
  padding: .7em;
  border-block-start: 1px solid var(--_border);
}
textarea {
  flex: 1;
  min-inline-size: 0;
  max-block-size: 8.5em;
  padding: .55em .8em;
  resize: none;
  font: inherit;
  color: inherit;
  background: transparent;
  border: 1px solid color-mix(in srgb, var(--_muted) 75%, transparent);
  border-radius: calc(var(--_radius) - 2px);
  field-sizing: content;
}
textarea::placeholder { color: var(--_muted); opacity: 1; }
button {
  min-block-size: 2.2em;
  padding: .3em .9em;
  font: inherit;
  font-size: .9em;
  color: var(--_text);
  background: var(--_bubble);
  border: 1px solid var(--_border);
  border-radius: 999px;
  cursor: pointer;
}
.earlier { align-self: center; }
.send {
  display: grid;
  place-items: center;
  flex: none;
  /* As tall as the empty input. */
  inline-size: calc(2.6em + 2px);
  block-size: calc(2.6em + 2px);
  padding: 0;
  font-size: 1em;
  color: var(--_on-accent);
  background: var(--_accent);
  border-color: transparent;
}
.send svg { inline-size: 1.25em; block-size: 1.25em; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.send:disabled { color: var(--_muted); background: var(--_bubble); cursor: default; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.log:focus-visible, .bubble pre:focus-visible, .table:focus-visible { outline-offset: -2px; }
.hidden { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@keyframes appear { from { opacity: 0; transform: translateY(4px); } }
@keyframes dot { 0%, 60%, 100% { opacity: .35; } 30% { opacity: 1; } }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
@media (forced-colors: active) {
  .bubble, .bubble pre { border: 1px solid; }
  .send { border-color: ButtonText; }
  .dots i { background: CanvasText; }
}
`;
