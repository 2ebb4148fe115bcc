// Asking under a moving cursor: one question at a time, and after it only the latest.

export function latest(ask, take, fail) {
  let busy = false, waiting = null;
  async function next(question) {
    if (busy) {
      waiting = question;
      return;
    }
    busy = true;
    try {
      take(await ask(question), question);
    } catch (error) {
      fail(error, question);
    }
    busy = false;
    if (waiting) {
      const later = waiting;
      waiting = null;
      next(later);
    }
  }
  return next;
}

// Slow work, one at a time: a browser has six connections to a server, and the cursor needs some.
let before = Promise.resolve();
export function inTurn(work) {
  const result = before.then(work);
  before = result.catch(() => {});
  return result;
}
