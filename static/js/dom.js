// Elements without templates: text goes in as text, so nothing that came from outside can become markup.

/** h('p.hint', {id: 'x'}, 'text', node, [more]) makes an element. Props that start with "on" are listeners. */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split('.');
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(' ');
  for (const [key, value] of Object.entries(props ?? {})) set(node, key, value);
  add(node, children);
  return node;
}

function set(node, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
  else if (key === 'class') node.classList.add(...value.split(' ').filter(Boolean));
  else if (key === 'value') node.value = value;
  else node.setAttribute(key, value === true ? '' : value);
}

function add(node, children) {
  for (const child of children.flat(9)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** Replaces what a node holds. */
export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
  return node;
}

const controls = 'a[href], button, input, select, textarea, summary';
const nameOf = (node) => `${node.tagName} ${node.getAttribute('aria-label') ?? node.textContent}`;

/** Gives the focus to what stands in `root` for a control that is gone: that of its name, else the heading before it. */
export function refocus(gone, root) {
  const twin = [...root.querySelectorAll(controls)].find((one) => nameOf(one) === nameOf(gone));
  const next = twin ?? root.closest('section')?.querySelector('h2') ?? document.querySelector('h1');
  if (next && !twin) next.setAttribute('tabindex', '-1');
  next?.focus({ preventScroll: true });
}

/** Runs `redraw`, which replaces what `root` holds; whoever works by keyboard stays where they were. */
export function redrawn(root, redraw) {
  const had = root.contains(document.activeElement) ? document.activeElement : null;
  redraw();
  if (!had || document.activeElement === had) return;
  if (had.isConnected) had.focus({ preventScroll: true });
  else refocus(had, root);
}

let count = 0;
/** An id for a label to point at. */
export const uid = (prefix) => `${prefix}-${++count}`;

/**
 * Makes `parent` hold one child for each row, in order. A child whose row did not change stays the same element, so
 * focus, selection and open parts survive a refresh; of one that did, the focus and the open parts do. Returns the
 * children that were not there before.
 */
export function keyed(parent, rows, keyOf, build) {
  let fresh;
  redrawn(parent, () => { fresh = lay(parent, rows, keyOf, build); });
  return fresh;
}

function lay(parent, rows, keyOf, build) {
  const known = (parent.keyed ??= new Map());
  const fresh = [];
  const next = new Map();
  for (const row of rows) {
    const key = keyOf(row);
    const text = JSON.stringify(row);
    let entry = known.get(key);
    if (!entry || entry.text !== text) {
      const node = build(row);
      if (entry) {
        const parts = node.querySelectorAll('details');
        entry.node.querySelectorAll('details').forEach((part, i) => { if (part.open && parts[i]) parts[i].open = true; });
        entry.node.replaceWith(node);
      }
      else fresh.push(node);
      entry = { text, node };
    }
    next.set(key, entry);
  }
  for (const [key, entry] of known) if (!next.has(key)) entry.node.remove();
  let at = parent.firstChild;
  for (const { node } of next.values()) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  parent.keyed = next;
  return fresh;
}
