// Where the service is, and which conversation the page's address names.

// Empty: the page comes from the service itself.
export const SERVICE = document.querySelector('meta[name="service-url"]').content.replace(/\/$/, "");

const LAST = "last-conversation";

export const linkTo = (id) => `#/c/${encodeURIComponent(id)}`;

// Also `#/<id>` and `?session=<id>`, as links from elsewhere may be written.
export function named() {
  const [, name] = location.hash.match(/^#\/(?:c\/)?(.+)$/) ?? [];
  if (!name) return new URLSearchParams(location.search).get("session");
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // typed by hand
  }
}

// Names another conversation without opening it anew.
export function rename(id) {
  history.replaceState(null, "", location.pathname + linkTo(id));
  remember(id);
}

export const remember = (id) => localStorage.setItem(LAST, id ?? "");

// The conversation that was open last, for an address that names none.
export const remembered = () => (location.hash || location.search ? null : localStorage.getItem(LAST) || null);
