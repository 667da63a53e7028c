// Saving a list as CSV: all of it, streamed, with how far it is and a way to stop.

import { download } from './api.js';
import { h } from './dom.js';
import { bytes, number } from './format.js';
import { button, say } from './ui.js';

/** A button that becomes its own progress line. `path()` is asked when pressed. */
export function csvButton(path, filename) {
  const status = h('span.progress', { role: 'status' });
  let running = null;
  const node = button('Export CSV', async () => {
    if (running) return running.abort();
    running = new AbortController();
    node.textContent = 'Stop';
    let told = 0;
    try {
      const blob = await download(path(), {
        signal: running.signal,
        progress(done) {
          if (performance.now() - told < 150) return;
          told = performance.now();
          status.textContent = `${number(done.rows)} rows, ${bytes(done.bytes)}`;
        },
      });
      // By the mark a spreadsheet knows that it is UTF-8; a program that reads the API's own answer would trip over it.
      const url = URL.createObjectURL(new Blob(['\ufeff', blob], { type: 'text/csv' }));
      h('a', { href: url, download: filename() }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
      status.textContent = '';
      say(`${filename()} saved, ${bytes(blob.size)}.`);
    } catch (error) {
      status.textContent = running.signal.aborted ? 'Stopped.' : error.message;
    } finally {
      running = null;
      node.textContent = 'Export CSV';
    }
  }, 'quiet small');
  return [status, node];
}
