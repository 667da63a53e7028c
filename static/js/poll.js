// Looking again every few seconds, without being a burden.

let active = Date.now();
for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, () => { active = Date.now(); }, { passive: true });

/** Somebody is there: the tab is seen, no dialog is open, and a key or button was pressed in the last quarter hour. */
const isWatched = () => !document.hidden && Date.now() - active < 900_000 && !document.querySelector('dialog[open]');

/**
 * Runs `look` every `seconds` until the signal aborts. What takes the server long is asked less often: a look is
 * followed by a pause of at least twenty times its own length. Stops when the credential is refused.
 */
export function poll(signal, seconds, look) {
  let timer;
  const plan = (wait) => { if (!signal.aborted) timer = setTimeout(turn, wait); };
  async function turn() {
    const began = performance.now();
    try {
      if (isWatched()) await look();
    } catch (error) {
      if (error.status === 401) return;
    }
    plan(Math.max(seconds * 1_000, 20 * (performance.now() - began)));
  }
  plan(seconds * 1_000);
  signal.addEventListener('abort', () => clearTimeout(timer));
}
