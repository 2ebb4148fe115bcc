// Small helpers for elements.

export const find = (id) => document.getElementById(id);

export function make(tag, settings = {}, ...children) {
  const { data, ...others } = settings;
  const element = Object.assign(document.createElement(tag), others);
  for (const [name, value] of Object.entries(data ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Show a sentence beside what caused it, until it is set again; "" hides it.
export function tell(element, words) {
  element.textContent = words;
  element.hidden = !words;
}

// Run work; its failure is told at an element, and success clears what was told there.
export async function telling(element, work) {
  try {
    const result = await work();
    tell(element, "");
    return result;
  } catch (error) {
    tell(element, sentence(error));
  }
}

export function sentence(error) {
  const words = error.message || String(error);
  return words[0].toUpperCase() + words.slice(1) + (/[.!?)]$/.test(words) ? "" : ".");
}
