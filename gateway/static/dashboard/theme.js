// Before anything is drawn: the colours that were chosen here earlier. A module would come too late.
"use strict";

try {
  const chosen = localStorage.getItem("tundish.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is forbidden: the system's colours, then.
}
