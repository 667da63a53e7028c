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

let count = 0;
/** An id for a label to point at. */
export const uid = (prefix) => `${prefix}-${++count}`;

/**
 * Makes `parent` hold one child for each row, in order. A child whose row did not change stays the same element, so
 * focus, selection and open menus survive a refresh. Returns the children that were not there before.
 */
export function keyed(parent, rows, keyOf, build) {
  const known = (parent.keyed ??= new Map());
  const fresh = [];
  const next = new Map();
  for (const row of rows) {
    const key = keyOf(row);
    const text = JSON.stringify(row);
    let entry = known.get(key);
    if (!entry || entry.text !== text) {
      const node = build(row);
      if (entry) entry.node.replaceWith(node);
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
