// Progress of work whose length nobody knows: a moving bar, and how long it has taken.

import { make } from "./dom.js";

export function waiting(element, words) {
  const begin = performance.now(), seconds = make("span");
  const tick = () => { seconds.textContent = `${words}: ${Math.round((performance.now() - begin) / 1000)} s`; };
  clearInterval(Number(element.dataset.timer));
  const timer = setInterval(tick, 1000);
  element.dataset.timer = timer;
  element.replaceChildren(make("progress", { data: { "aria-label": words } }), seconds);
  element.hidden = false;
  tick();
  return () => {
    clearInterval(timer);
    element.hidden = true;
  };
}
