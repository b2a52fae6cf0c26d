// Elements, made in one line. Text goes in as text; what is HTML goes through rendered.js alone.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const { dataset, attributes = {}, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, dataset);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const icon = (name) => svg("svg", { "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));

export function iconButton(name, label, onclick, attributes = {}) {
  const properties = { type: "button", className: "icon", title: label, ariaLabel: label, onclick, attributes };
  return element("button", properties, icon(name));
}
