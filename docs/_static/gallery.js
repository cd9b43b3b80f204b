// What the site does in the browser; without JavaScript every page is whole, but for these.

// A button that copies the whole script, where the browser lets a page write to the
// clipboard (https, localhost or a file).
(() => {
  const source = document.getElementById("gallery-source");
  const place = document.querySelector(".gallery-facts dl > dd:last-of-type p");
  if (!source || !place || !navigator.clipboard) return;
  const button = document.createElement("button");
  button.textContent = "Copy script";
  button.className = "gallery-copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(JSON.parse(source.textContent));
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy script"), 2000);
  });
  place.append(" ", button);
})();

// The theme's arrows that unfold a list have no words for those who listen.
for (const arrow of document.querySelectorAll("summary:not([aria-label])"))
  if (!arrow.textContent.trim()) arrow.setAttribute("aria-label", "Show the pages inside");

// The landing page's finder: filters and ranks the cards as one types or chooses, and
// keeps what was asked in the address (after #), so that a filtered view can be sent on.
(() => {
  const finder = document.getElementById("finder");
  if (!finder) return;
  const form = finder.querySelector("form");
  const list = finder.querySelector(".finder-cards");
  const STOP = new Set(
    ("a an and are at be by can do does for from how i in into is it its me my of on or " +
      "so that the they this to what when where which who why with without you your").split(" "),
  );
  const stem = (word) =>
    word.length > 4 ? word.replace(/(ations?|ings?|ies|ied|ed|es|s|er|ers|e|y)$/, "") : word;
  const words = (text) =>
    (text.toLowerCase().match(/[\p{L}\d]+/gu) || []).filter((w) => !STOP.has(w)).map(stem);

  const cards = [...list.children].map((node) => {
    const weights = new Map();
    const add = (text, weight) => {
      for (const word of new Set(words(text)))
        weights.set(word, (weights.get(word) || 0) + weight);
    };
    add(node.querySelector(".finder-title").textContent, 4);
    add(node.querySelector("a").href.split("/").pop().replaceAll("_", " "), 2);
    add(node.querySelector(".finder-claim").textContent, 2);
    add(node.dataset.module + " " + node.dataset.task, 1);
    add(node.dataset.text.replace(/([a-z])([A-Z])|_/g, "$1 $2") + " " + node.dataset.text, 1);
    return { node, weights };
  });

  // Sum over the words asked of the card's weight times how rare the word is.
  const score = (card, asked) => {
    let sum = 0;
    for (const word of asked) {
      const best = (c) =>
        c.weights.get(word) ||
        (word.length > 2 && [...c.weights].find(([w]) => w.startsWith(word))?.[1] / 2) || 0;
      const having = cards.filter((c) => best(c)).length;
      if (having) sum += best(card) * Math.log(1 + cards.length / having);
    }
    return sum;
  };

  const show = () => {
    const asked = Object.fromEntries([...new FormData(form)].filter(([, v]) => v.trim()));
    const terms = words(asked.q || "");
    let found = cards.filter(({ node: { dataset: d } }) =>
      (!asked.domain || d.domain === asked.domain) &&
      (!asked.module || d.module.split(" ").includes(asked.module)) &&
      (!asked.task || d.task === asked.task) &&
      (!asked.level || d.level === asked.level) &&
      (!asked.seconds || (d.seconds && +d.seconds <= +asked.seconds)));
    if (terms.length) {
      const scores = new Map(found.map((card) => [card, score(card, terms)]));
      found = found.filter((card) => scores.get(card)).sort((a, b) => scores.get(b) - scores.get(a));
    }
    list.replaceChildren(...found.map(({ node }) => node));
    form.querySelector("output").textContent = found.length
      ? `${found.length} page${found.length === 1 ? "" : "s"}`
      : "No page: use fewer words, or show all";
    const state = new URLSearchParams(asked).toString();
    history.replaceState(null, "", state ? `#${state}` : location.pathname + location.search);
  };

  const restore = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const field of form.elements) if (field.name) field.value = state.get(field.name) || "";
    show();
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  const asks = () => location.hash.includes("=");
  addEventListener("hashchange", () => asks() && restore());
  if (asks()) restore();
})();
