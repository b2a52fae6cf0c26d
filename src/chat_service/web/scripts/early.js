// Before anything is painted: the theme that the reader has chosen. A classic script, because a module would come late.
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // A browser that stores nothing follows the system.
}
