// The only place where text becomes HTML.

// The service has rendered and sanitised it: nothing else may be handed in here. The content security policy lets no
// other script of this page make HTML, and runs none that might have slipped through.
const policy = globalThis.trustedTypes?.createPolicy("rendered-answers", { createHTML: (html) => html });

export function setRendered(target, html) {
  target.innerHTML = policy ? policy.createHTML(html) : html;
}
