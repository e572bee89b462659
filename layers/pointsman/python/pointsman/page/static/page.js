// Keeps the page as the store is: the server says that something changed, and what differs is put in its place.
"use strict";
(() => {
  if (document.body.hasAttribute("data-still")) return;
  const AGAIN_MS = 5000;
  const live = document.getElementById("live");
  const shownMark = (page) => page.querySelector('meta[name="mark"]').content;
  let source = null;
  let later = 0;
  let busy = false;
  let again = false;

  const say = (text, state) => {
    if (live.textContent !== text) live.textContent = text;
    live.className = `live ${state}`;
  };

  // What was typed, opened or chosen stays: only what the server says differently is changed.
  const become = (old, fresh) => {
    if (old.isEqualNode(fresh) || old.hasAttribute("data-own")) return;
    const before = [...old.childNodes];
    const after = [...fresh.childNodes];
    const alike = old.tagName === fresh.tagName && old.id === fresh.id && before.length === after.length
      && before.every((each, i) => each.nodeType === after[i].nodeType);
    if (!alike) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    }
    before.forEach((each, i) => {
      if (each.nodeType === Node.ELEMENT_NODE) become(each, after[i]);
      else if (each.nodeValue !== after[i].nodeValue) each.nodeValue = after[i].nodeValue;
    });
  };

  const show = (page) => {
    const held = document.activeElement && document.activeElement.id;
    document.title = page.title;
    document.querySelector('meta[name="mark"]').content = shownMark(page);
    become(document.getElementById("main"), page.getElementById("main"));
    const found = held && document.getElementById(held);
    if (found && found !== document.activeElement) found.focus({ preventScroll: true });
  };

  const refresh = async () => {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        const answer = await fetch(location.href, { cache: "no-cache", headers: { accept: "text/html" } });
        if (!(answer.headers.get("content-type") || "").startsWith("text/html")) throw new Error(answer.status);
        show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
    } catch {
      say("not live: Pointsman does not answer; what is shown may be old", "away");
    } finally {
      busy = false;
    }
  };

  const stop = () => {
    clearTimeout(later);
    if (source) source.close();
    source = null;
  };

  const listen = () => {
    stop();
    source = new EventSource("/page/changes");
    source.onopen = () => say("live", "on");
    source.onmessage = (event) => {
      if (event.data !== shownMark(document)) refresh();
    };
    source.onerror = () => {
      say("not live: trying again; what is shown may be old", "away");
      if (source.readyState === EventSource.CLOSED) {
        stop();
        later = setTimeout(() => { refresh(); listen(); }, AGAIN_MS);
      }
    };
  };

  const tell = (event) => {
    const mark = event.target.closest && event.target.closest("a.mark");
    const said = document.getElementById("said");
    if (mark && said) said.textContent = mark.getAttribute("aria-label");
  };

  document.addEventListener("mouseover", tell);
  document.addEventListener("focusin", tell);
  // A page that nobody sees holds no connection.
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
  if (!document.hidden) listen();
})();
